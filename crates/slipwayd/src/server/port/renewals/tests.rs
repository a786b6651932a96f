use super::*;

#[test]
fn a_node_renews_once_in_a_while_and_keeps_no_other_from_it() {
    let renewals = Renewals::default();
    let start = Instant::now();
    assert_eq!(renewals.begin("n1", start), Ok(()));
    assert_eq!(renewals.begin("n1", start + Duration::from_secs(10)), Err(Duration::from_secs(20)));
    assert_eq!(renewals.begin("n2", start + Duration::from_secs(10)), Ok(()));
    // To ask in vain does not prolong it, and who is not waited for is forgotten.
    assert_eq!(renewals.begin("n1", start + PAUSE), Ok(()));
    assert_eq!(renewals.begun.lock().unwrap().len(), 2);
    assert_eq!(renewals.begin("n3", start + 3 * PAUSE), Ok(()));
    assert_eq!(renewals.begun.lock().unwrap().len(), 1);
}
