use super::*;

fn answer(id: u16, flags: [u8; 2], records: &[&[&str]]) -> Vec<u8> {
    let mut packet = question(id, "_slipway-challenge.www.example.com").unwrap();
    packet[2..4].copy_from_slice(&flags);
    packet[7] = records.len() as u8;
    for strings in records {
        let data: Vec<u8> =
            strings.iter().flat_map(|s| [vec![s.len() as u8], s.as_bytes().to_vec()].concat()).collect();
        packet.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        packet.extend_from_slice(&data);
    }
    packet
}

#[test]
fn texts_are_read_and_nothing_else_believed() {
    let good = answer(7, [0x81, 0x80], &[&["slwd", "_abc"], &["v=spf1"]]);
    assert_eq!(texts(7, &good).unwrap(), ["slwd_abc", "v=spf1"]);
    assert_eq!(texts(8, &good), None, "another id");
    assert_eq!(texts(7, &answer(7, [0x01, 0x00], &[])), None, "a question");
    assert_eq!(texts(7, &answer(7, [0x81, 0x83], &[])).unwrap(), Vec::<String>::new(), "no such name");
    assert_eq!(texts(7, &answer(7, [0x81, 0x82], &[])), None, "a failing server");
}

#[test]
fn damaged_answers_are_no_answers() {
    let good = answer(7, [0x81, 0x80], &[&["text"]]);
    for length in 0..good.len() {
        assert_eq!(texts(7, &good[..length]), None, "cut at {length}");
    }
    for place in 12..good.len() {
        let mut bad = good.clone();
        bad[place] = 0xff;
        // Whatever it says, it ends.
        let _any = texts(7, &bad);
    }
}
