use super::*;

#[test]
fn answers_are_read_and_nothing_else() {
    let question = question(7, "files.example").unwrap();
    let header =
        |id: u16, flags: u16, answers: u16| [id, flags, 1, answers, 0, 0].map(u16::to_be_bytes).concat();
    let alias = [&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x'][..]].concat();
    let address = |last: u8| vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, last];
    let message = |id, flags, records: &[Vec<u8>]| {
        [header(id, flags, records.len() as u16), question[12..].to_vec(), records.concat()].concat()
    };
    let read = |message: &[u8]| read(7, &question, message);
    let good = message(7, 0x8180, &[alias, address(1), address(2)]);
    assert_eq!(read(&good), Some(Ok(vec![Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)])));
    assert_eq!(read(&message(7, 0x8183, &[])), Some(Err(3)));
    assert_eq!(read(&message(8, 0x8180, &[address(1)])), None, "another question's");
    assert_eq!(read(&message(7, 0x0100, &[address(1)])), None, "no answer");
    for length in 0..good.len() {
        // Cut anywhere, it is never more than what is there.
        let _ = read(&good[..length]);
    }
    let most: Vec<_> = (0..50).map(address).collect();
    assert_eq!(read(&message(7, 0x8180, &most)).unwrap().unwrap().len(), ADDRESSES_MAX);
    for bad in ["", "a..b", "a b", "ü", &"x".repeat(64), &"x.".repeat(200)] {
        assert!(super::question(1, bad).is_none(), "{bad}");
    }
}
