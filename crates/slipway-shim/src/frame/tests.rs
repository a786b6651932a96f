use super::*;

#[test]
fn frames_survive_any_cutting() {
    let frames = [
        Frame::Stdin(b"ls\n".to_vec()),
        Frame::Resize { columns: 120, rows: 40 },
        Frame::Stdout(vec![7; PAYLOAD_BYTES_MAX]),
        Frame::Stderr(Vec::new()),
        Frame::StdinEnd,
        Frame::Exit(b"{}".to_vec()),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    for step in [1, 3, 4096, bytes.len()] {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, frames, "in pieces of {step}");
    }
}

#[test]
fn what_is_not_a_frame_is_refused() {
    for bytes in
        [&[0, 0xff, 0xff, 0xff, 0xff][..], &[9, 0, 0, 0, 0], &[3, 0, 0, 0, 1, 5], &[4, 0, 0, 0, 1, 5]]
    {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        assert!(decoder.next_frame().is_err(), "{bytes:?}");
    }
}
