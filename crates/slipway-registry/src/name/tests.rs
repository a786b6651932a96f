use super::*;

fn check<T: FromStr>(good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text:?} should be accepted");
    }
    for text in bad {
        assert!(text.parse::<T>().is_err(), "{text:?} should be refused");
    }
}

#[test]
fn repositories_follow_the_grammar_of_the_specification() {
    let long = "a".repeat(256);
    check::<Repository>(
        &["a", "acme/shop", "stacks/debian-12", "a.b/c__d/e---f/0"],
        &[
            "", "/", "a/", "/a", "a//b", "A/b", "a..b", "a___b", "-a", "a-", "a/../b", "a/.", "a b", "a%2fb",
            &long,
        ],
    );
}

#[test]
fn an_image_is_taken_apart_into_repository_and_reference() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let check = |image: &str, expected: Option<(&str, &str)>| {
        let (repository, reference) = Reference::split(image);
        let reference = reference.map(|reference| reference.to_string()).ok();
        assert_eq!(reference.as_deref().map(|reference| (repository, reference)), expected, "{image:?}");
    };
    check("acme/shop", Some(("acme/shop", "latest")));
    check("acme/shop:v1", Some(("acme/shop", "v1")));
    check(&format!("acme/shop@{digest}"), Some(("acme/shop", &digest)));
    check("shop:", None);
    check("shop@", None);
    check("shop@v1", None);
    check(&format!("shop:v1@{digest}"), Some(("shop:v1", &digest)));
}

#[test]
fn tags_and_references_are_told_apart_by_the_colon() {
    let long = "t".repeat(129);
    check::<Tag>(&["latest", "_x", "V1.2-3_4"], &["", ".a", "-a", "a:b", "a/b", "ä", &long]);
    let digest = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(digest.parse(), Ok(Reference::Digest(_))));
    assert!(matches!("v1".parse(), Ok(Reference::Tag(_))));
    check::<Reference>(&[], &["sha256:00", "md5:00", "sha256:", &digest.to_uppercase()]);
}
