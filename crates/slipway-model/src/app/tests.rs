use super::*;

#[test]
fn ma_27_slashes_are_forgiven_and_ids_are_resolved_in_their_group() {
    let check = |base: &str, text: &str, expected: &str| {
        let base: PathId = base.parse().unwrap();
        assert_eq!(base.resolve(text).unwrap().as_str(), expected, "{text} in {base}");
    };
    check("/", "/x", "/x");
    check("/", "//x//y/", "/x/y");
    check("/prod", "db", "/prod/db");
    check("/prod/web", "../db/x", "/prod/db/x");
    check("/prod", "/db", "/db");
    check("/", "", "/");
    for bad in ["A", "-a", "a-", "a_b", "a/../..", "é", "a b", ".a"] {
        assert!(PathId::root().resolve(bad).is_err(), "{bad}");
    }
    assert!(PathId::root().resolve(&"a/".repeat(17)).is_err());
    assert!(PathId::root().resolve(&"a".repeat(255)).is_err());
}

#[test]
fn groups_hold_what_is_below_them() {
    let id = |text: &str| -> PathId { text.parse().unwrap() };
    assert!(id("/a/b").is_within(&id("/a")));
    assert!(id("/a").is_within(&id("/a")));
    assert!(!id("/ab").is_within(&id("/a")));
    assert!(id("/a").is_within(&PathId::root()));
    assert_eq!(id("/a/b").parent(), Some(id("/a")));
    assert_eq!(id("/a").parent(), Some(PathId::root()));
    assert_eq!(PathId::root().parent(), None);
}

#[test]
fn every_app_has_an_environment_of_its_own_with_a_good_name() {
    let tenant: TenantName = "acme".parse().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let long = format!("/{}", "x".repeat(200));
    for id in ["/a", "/a/b", "/a-b", "/a.b", "/1", "/prod/db/main", "/a--b", "/new", &long] {
        let path = environment_of(&tenant, &id.parse().unwrap());
        assert!(path.environment.as_str().len() <= 30, "{path}");
        assert!(seen.insert(path.clone()), "{path}");
        assert_eq!(path.to_string().parse::<EnvironmentPath>().unwrap(), path);
    }
    let main = environment_of(&tenant, &"/prod/db/main".parse().unwrap());
    assert!(main.environment.as_str().starts_with("a-prod-db-main-"), "{main}");
}

#[test]
fn services_of_pushes_have_ids_that_could_be_parsed() {
    let prod: EnvironmentPath = "acme/shop/prod".parse().unwrap();
    let web = pushed_service(&prod, &"web".parse().unwrap());
    assert_eq!(web, "/prod/shop/web".parse().unwrap());
    assert_eq!(web.parent(), Some(pushed_group(&prod)));
}
