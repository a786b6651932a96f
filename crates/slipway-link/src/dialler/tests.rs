use super::*;
use crate::tests::World;

#[test]
fn f18_the_own_dates_count_by_the_own_clock() {
    let at = Timestamp(1_800_000_000_000);
    let node = World::new().node("n1", at);
    check_dates(&node, at).unwrap();
    check_dates(&node, node.valid_from()).unwrap();
    let check = |now: Timestamp, words: &str| {
        let error = check_dates(&node, now).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(node.expires_at(), "certificate of node n1 expired on 2027-02-14T07:00:00Z");
    check(Timestamp(node.valid_from().0 - 1), "valid from 2027-01-15T07:00:00Z");
    check(Timestamp(at.0 + 63_072_000_000), "by this machine's clock it is 2029-01-14T08:00:00Z");
}
