use super::*;
use crate::join::key_and_request;
use crate::tests::now;

fn authority() -> Authority {
    Authority::create("cluster-aaaaaaaaaaaaaaaa").unwrap().0
}

#[test]
fn an_authority_is_the_same_when_it_is_opened_again() {
    let (made, key) = Authority::create("cluster-aaaaaaaaaaaaaaaa").unwrap();
    let opened = Authority::open("cluster-aaaaaaaaaaaaaaaa", made.certificate(), &key).unwrap();
    assert_eq!(opened.fingerprint(), made.fingerprint());
    assert_eq!(opened.fingerprint().len(), 32);
    assert_ne!(opened.fingerprint(), authority().fingerprint());
    let credentials = opened.server_credentials("s1", now()).unwrap();
    assert_eq!(credentials.authority_fingerprint(), made.fingerprint());
    assert!(!format!("{made:?}").contains("PRIVATE"));
    Authority::open("x", made.certificate(), "no key").unwrap_err();
    Authority::open("x", "no certificate", &key).unwrap_err();
}

#[test]
fn certificates_of_nodes_last_thirty_days_and_are_due_after_twenty() {
    let authority = authority();
    let at = Timestamp(1_800_000_000_000);
    let (key, request) = key_and_request().unwrap();
    let issued = authority.issue(&request, Role::Node, "n1", NODE_LIFETIME, at).unwrap();
    let credentials = Credentials::new(&issued.chain, &key.serialize_pem()).unwrap();
    assert_eq!(credentials.identity().serial, issued.serial);
    assert_eq!(credentials.valid_from(), Timestamp(at.0 - 3_600_000));
    assert_eq!(credentials.expires_at(), issued.expires_at);
    assert_eq!(issued.expires_at.since(credentials.valid_from()), Span::from_secs(30 * 86_400));
    assert_eq!(credentials.renew_at().since(credentials.valid_from()), Span::from_secs(20 * 86_400));
    let other = authority.issue(&request, Role::Node, "n1", NODE_LIFETIME, at).unwrap();
    assert_ne!(other.serial, issued.serial);
}

#[test]
fn a_request_decides_nothing_but_the_key() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::default();
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wish.subject_alt_names = vec![SanType::URI("slipway://x/server/s1".try_into().unwrap())];
    let request = wish.serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.issue(&request, Role::Node, "n1", NODE_LIFETIME, now()).unwrap();
    let credentials = Credentials::new(&issued.chain, &key.serialize_pem()).unwrap();
    let Identity { cluster, role, name, .. } = credentials.identity();
    assert_eq!((cluster.as_str(), *role, name.as_str()), ("cluster-aaaaaaaaaaaaaaaa", Role::Node, "n1"));
    let der = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
}

#[test]
fn what_is_no_request_gets_no_certificate() {
    let authority = authority();
    let (_, good) = key_and_request().unwrap();
    // The last character before the padding of the signature.
    let mut broken = good.clone();
    let place = good.find("-----END").unwrap() - 8;
    let other = if good.as_bytes()[place] == b'A' { "B" } else { "A" };
    broken.replace_range(place..=place, other);
    for request in ["", "x", authority.certificate(), &broken, &"x".repeat(1 << 20)] {
        authority.issue(request, Role::Node, "n1", NODE_LIFETIME, now()).unwrap_err();
    }
    authority.issue(&good, Role::Node, "n1", NODE_LIFETIME, now()).unwrap();
}
