use proptest::prelude::*;

use super::*;

fn check_name(text: &str, refused_for: Option<&str>) {
    match (text.parse::<TenantName>(), refused_for) {
        (Ok(name), None) => assert_eq!(name.as_str(), text),
        (Err(error), Some(why)) => assert!(error.why.contains(why), "{text:?}: {error}"),
        (got, want) => panic!("{text:?}: got {got:?}, want refusal {want:?}"),
    }
}

#[test]
fn names_are_refused_with_the_rule_they_break() {
    check_name("acme", None);
    check_name("a-1-b", None);
    check_name("", Some("empty"));
    check_name("Acme", Some("lower-case letter"));
    check_name("1a", Some("start with"));
    check_name("a--b", Some("'-' must stand alone"));
    check_name("a-", Some("'-' must stand alone"));
    check_name("../x", Some("start with"));
    check_name("a;id", Some("only lower-case"));
    check_name("a$(x)", Some("only lower-case"));
    check_name("tasks", Some("reserved"));
    check_name(&"a".repeat(31), Some("longer than 30"));
}

#[test]
fn paths_have_exactly_their_parts() {
    let path: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    assert_eq!(path.to_string(), "acme/shop/dev");
    assert!("acme/shop".parse::<EnvironmentPath>().is_err());
    assert!("acme/shop/dev/web".parse::<EnvironmentPath>().is_err());
    assert!("acme//dev".parse::<EnvironmentPath>().is_err());
}

proptest! {
    #[test]
    fn whatever_parses_is_harmless_in_a_path(text in "\\PC{0,40}") {
        if let Ok(name) = text.parse::<ProjectName>() {
            prop_assert!(!name.as_str().contains(['/', '.', ' ', '\0']));
            prop_assert!(!name.as_str().starts_with('-'));
        }
    }
}
