use proptest::prelude::*;

use super::*;

fn labels() -> BTreeMap<String, String> {
    let pairs = [("env", "prod"), ("tier", "web"), ("a b", "x,y"), ("empty", "")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn check(selector: &str, expected: bool) {
    let selector_read: LabelSelector = selector.parse().unwrap();
    assert_eq!(selector_read.selects(&labels()), expected, "{selector}");
}

#[test]
fn ma_01_label_selectors() {
    check("", true);
    check("env", true);
    check("nope", false);
    check("env==prod", true);
    check(" env == prod , tier == web ", true);
    check("env==prod,tier==db", false);
    check("env!=prod", false);
    check("env!=dev", true);
    // A label that is not there is not different either.
    check("nope!=x", false);
    check("env in (dev, prod)", true);
    check("env in(dev)", false);
    check("env notin (dev,test)", true);
    check("env notin (prod)", false);
    check("nope notin (prod)", false);
    check("env in ()", false);
    check(r"a\ b==x\,y", true);
    check("empty", true);
    // A label may be named like an operator.
    check("in", false);
    check("notin in (x)", false);
}

#[test]
fn ma_01_what_is_no_selector_is_refused_in_words() {
    for bad in ["==", "env=prod", "env in dev", "env in (dev", "env==prod,", ",", "env prod", "a\\", "(a)"] {
        let error = bad.parse::<LabelSelector>().unwrap_err();
        assert_eq!(error.status(), 422, "{bad}");
        assert!(error.to_string().starts_with("Can not parse label selector"), "{error}");
    }
    let many = vec!["a"; 1000].join(",");
    assert!(many.parse::<LabelSelector>().is_err());
}

#[test]
fn ma_01_id_and_cmd_are_parts_without_regard_to_case() {
    let selects = |id, cmd| {
        let selector = Selector::new(id, cmd, None).unwrap();
        selector.selects_parts("/prod/Db/main", Some("Sleep 100"), &labels())
    };
    assert!(selects(Some("DB/"), None));
    assert!(selects(None, Some("sLEEP")));
    assert!(selects(Some("main"), Some("100")));
    assert!(!selects(Some("main"), Some("101")));
    assert!(!selects(Some("dev"), None));
    let by_cmd = Selector::new(None, Some("x"), None).unwrap();
    assert!(!by_cmd.selects_parts("/x", None, &labels()));
    let all = Selector::new(None, None, None).unwrap();
    assert!(all.selects_parts("/x", None, &labels()));
}

proptest! {
    #[test]
    fn escaped_text_selects_itself(name in "\\PC{1,20}", value in "\\PC{1,20}") {
        let escape = |text: &str| text.chars().flat_map(|c| ['\\', c]).collect::<String>();
        let selector: LabelSelector = format!("{}=={}", escape(&name), escape(&value)).parse().unwrap();
        prop_assert!(selector.selects(&[(name, value)].into()));
    }

    #[test]
    fn no_text_breaks_the_reader(text in "[a(),=!\\\\ int]{0,40}") {
        let _ = text.parse::<LabelSelector>();
    }
}
