use std::time::Duration;

use slipway_model::cluster::NodeCertificate;
use slipway_model::unit::Span;

use super::*;

fn identity(name: &str, serial: &str) -> Identity {
    Identity { cluster: "c".into(), role: Role::Node, name: name.into(), serial: serial.into() }
}

fn stored(name: &str, serials: &[&str]) -> NodeIdentity {
    let certificate = |serial: &&str| NodeCertificate {
        serial: (*serial).to_owned(),
        issued_at: Timestamp(0),
        expires_at: Timestamp::from(SystemTime::now()).plus(NODE_LIFETIME),
    };
    NodeIdentity {
        node: name.parse().unwrap(),
        subnet: "10.64.0.0/20".parse().unwrap(),
        address: None,
        router: false,
        attributes: None,
        certificates: serials.iter().map(certificate).collect(),
        joined_at: Timestamp(0),
        revoked_at: None,
    }
}

#[test]
fn a_node_is_let_in_with_a_certificate_that_is_listed() {
    let n1 = stored("n1", &["01", "02"]);
    for serial in ["01", "02"] {
        assert_eq!(admit(&identity("n1", serial), Some(&n1)), Ok(()));
    }
    let check = |stored: Option<&NodeIdentity>, words: &str| {
        let told = admit(&identity("n1", "03"), stored).unwrap_err().to_string();
        assert!(told.contains(words), "{told}");
    };
    check(Some(&n1), "does not count any more");
    check(None, "there is no node n1");
    check(
        Some(&NodeIdentity { revoked_at: Some(Timestamp(0)), ..n1 }),
        "n1 was revoked at 1970-01-01T00:00:00Z",
    );
    let server = Identity { role: Role::Server, ..identity("s1", "04") };
    assert_eq!(admit(&server, None), Ok(()));
}

#[tokio::test]
async fn a_link_is_cut_when_its_node_is_revoked_and_not_before() {
    let admissions = Admissions::default();
    let who = identity("n1", "01");
    assert_eq!(admissions.check(&who, Service::Node), Err(Exclusion::NotReadYet));
    let mut cut = Box::pin(admissions.revoked(&who, Service::Node));
    let mut is_cut = async || {
        tokio::select! {
            biased;
            why = &mut cut => Some(why.to_string()),
            () = tokio::time::sleep(Duration::from_millis(20)) => None,
        }
    };
    assert_eq!(is_cut().await, None, "nothing has been read yet");
    admissions.whole([stored("n1", &["01"]), stored("n2", &["09"])]);
    assert_eq!(admissions.check(&who, Service::Node), Ok(()));
    admissions.put(stored("n1", &["01", "02"]));
    admissions.removed(&"n2".parse().unwrap());
    assert_eq!(is_cut().await, None);
    admissions.put(NodeIdentity { revoked_at: Some(Timestamp(0)), ..stored("n1", &["01"]) });
    assert!(is_cut().await.unwrap().contains("n1 was revoked"));
    // One that begins afterwards ends at once.
    admissions.removed(&"n1".parse().unwrap());
    assert!(matches!(admissions.revoked(&who, Service::Node).await, Exclusion::Unknown { .. }));
    admissions.put(stored("n1", &["05"]));
    assert!(matches!(admissions.revoked(&who, Service::Node).await, Exclusion::NotListed { .. }));
}

#[tokio::test]
async fn only_a_node_that_was_let_in_with_a_router_gets_the_routes() {
    let admissions = Admissions::default();
    let who = identity("n1", "01");
    admissions.put(stored("n1", &["01"]));
    assert_eq!(admissions.check(&who, Service::Registry), Ok(()));
    let told = admissions.check(&who, Service::Routes).unwrap_err().to_string();
    assert!(told.contains("'slipway nodes set n1 --router yes'"), "{told}");
    admissions.put(NodeIdentity { router: true, ..stored("n1", &["01"]) });
    assert_eq!(admissions.check(&who, Service::Routes), Ok(()));
    // Whoever has it is cut off when it is taken away, and keeps the rest.
    let (routes, rest) = (admissions.revoked(&who, Service::Routes), admissions.revoked(&who, Service::Node));
    admissions.put(stored("n1", &["01"]));
    assert!(matches!(routes.await, Exclusion::NoRouter { .. }));
    let rest = tokio::time::timeout(Duration::from_millis(20), rest).await;
    assert!(rest.is_err(), "{rest:?}");
}

#[tokio::test]
async fn a_link_lasts_as_long_as_the_certificate_it_was_opened_with() {
    let admissions = Admissions::default();
    let mut n1 = stored("n1", &["01", "02"]);
    let ends_at = Timestamp::from(SystemTime::now()).plus(Span::from_millis(200));
    n1.certificates[0].expires_at = ends_at;
    admissions.put(n1);
    let old = admissions.revoked(&identity("n1", "01"), Service::Node);
    let new = admissions.revoked(&identity("n1", "02"), Service::Node);
    tokio::select! {
        why = old => assert_eq!(why, Exclusion::Expired { node: "n1".into() }),
        why = new => panic!("the next certificate counts: {why}"),
    }
    assert!(Timestamp::from(SystemTime::now()) >= ends_at, "it was to have its time");
}
