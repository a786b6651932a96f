use proptest::prelude::*;

use super::*;

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_secret_is_recognised_and_another_is_not() {
    for public in [&[][..], &["t0123456789abcdef"], &["acme-two", "n0123456789abcdef"]] {
        for _ in 0..200 {
            let text = make(Purpose::Token, public);
            assert_eq!(public_parts(Purpose::Token, &text).unwrap(), public);
            assert_eq!(public_parts(Purpose::Credential, &text), None);
            assert!(matches(&text, &hash(&text)));
            assert!(!matches(&make(Purpose::Token, public), &hash(&text)));
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_looked_at_without_harm(text in ".{0,300}", tail in "slwp_[a-z0-9_-]{0,80}") {
        let _ = public_parts(Purpose::Token, &text);
        let _ = public_parts(Purpose::Token, &tail);
    }

    #[test]
    fn a_typing_error_is_noticed(place in 0usize..60, letter in "[a-z]") {
        let text = make(Purpose::Credential, &[]);
        let mut typed = text.clone();
        let place = place % typed.len();
        typed.replace_range(place..=place, &letter);
        prop_assume!(typed != text);
        prop_assert_eq!(public_parts(Purpose::Credential, &typed), None);
    }
}
