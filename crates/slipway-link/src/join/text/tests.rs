use super::*;

fn token() -> JoinText {
    // A secret whose text has '_' and '-' in it.
    JoinText::new(JoinTokenId::from_random([7; 10]), &"0123456789abcdef".repeat(2), [0xfb; 32])
}

#[test]
fn a_token_is_read_as_it_was_written() {
    let token = token();
    let read: JoinText = token.reveal().parse().unwrap();
    assert_eq!(read, token);
    assert!(token.reveal().starts_with("slwj_j"));
    assert_eq!(read.fingerprint(), "0123456789abcdef".repeat(2));
    assert!(!format!("{token:?}").contains(token.reveal()));
}

#[test]
fn what_was_not_printed_like_that_is_refused_with_the_reason() {
    let token = token();
    let text = token.reveal();
    let check = |text: &str, words: &str| {
        let error = text.parse::<JoinText>().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check("", "as 'slipway nodes token' prints it");
    check(&text.replace("slwj", "slwp"), "as 'slipway nodes token' prints it");
    check(&text[..text.len() - 1], "not complete");
    check(&format!("{text} "), "not complete");
    check(&format!("{text}ä"), "as 'slipway nodes token' prints it");
    for place in 5..text.len() {
        let mut wrong = text.to_owned();
        wrong.replace_range(place..=place, if text.as_bytes()[place] == b'x' { "y" } else { "x" });
        check(&wrong, "");
    }
    check(&"x".repeat(1 << 20), "");
}
