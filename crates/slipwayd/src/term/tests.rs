use super::*;

#[test]
fn the_claim_token_is_shown_to_whoever_looks_on_and_is_in_no_log() {
    let note =
        |is_seen| claim_note("127.0.0.1:7070", "slwo_secret", Path::new("/run/slipway/claim-token"), is_seen);
    assert!(note(true).contains("claim slwo_secret --user NAME"));
    let logged = note(false);
    assert!(!logged.contains("slwo_secret"), "{logged}");
    assert!(logged.contains("claim \"$(cat /run/slipway/claim-token)\" --user NAME"), "{logged}");
}
