use super::*;

fn check_items(name: &str, expected: &[Item]) {
    assert_eq!(scan::items(name), expected, "{name}");
}

#[test]
fn a_name_names_its_rules() {
    check_items("ma_38_group_by_fills_groups", &[("MA", 38)]);
    check_items("ma_37_unique_and_ma_38_group_by", &[("MA", 37), ("MA", 38)]);
    check_items("ma_48_to_50_worked", &[("MA", 48), ("MA", 49), ("MA", 50)]);
    check_items("a_drain_me_10_au_07", &[("ME", 10), ("AU", 7)]);
    check_items("ma_9_is_not_written_so", &[]);
    check_items("schema_38_is_none", &[]);
    check_items("tell_me_10", &[("ME", 10)]);
}

#[test]
fn only_what_runs_counts() {
    let text = r#"
fn ma_01_is_a_helper() {}

#[test]
fn ma_02_is_a_test() {
    body();
}

/// Words.
#[tokio::test(start_paused = true)]
// Why.
async fn ma_03_is_one_too() {}

#[test]
#[ignore = "slow"]
fn ma_04_is_not_run() {}

proptest! {
    fn ma_05_is_drawn(x in 0..9) {
        helper(x);
    }
}

fn ma_06_comes_after() {}

pub fn cases() -> Vec<Case> {
    cases![ma_07_is_listed, other,]
}

fn ma_07_is_listed(server: &Server) {}

#[cfg(test)]
fn ma_08_is_only_compiled() {}

pub fn trials() -> Vec<Trial> {
    vec![
        trial("ma_10_is_a_trial", its_function),
    ]
}

#[expect(dead_code, reason = "a test of attributes")]
#[test]
fn ma_09_is_not_a_helper() {}
"#;
    let names = [
        "ma_02_is_a_test",
        "ma_03_is_one_too",
        "ma_05_is_drawn",
        "ma_07_is_listed",
        "ma_10_is_a_trial",
        "ma_09_is_not_a_helper",
    ];
    assert_eq!(scan::tests(text), names);
}

#[test]
fn the_page_names_tests_and_gaps() {
    let titles = [(("MA", 1), "first"), (("MA", 2), "second")];
    let test = |name: &str| Test { place: "plan".into(), name: name.into() };
    let tests =
        [(("MA", 2), [test("ma_02_b"), test("ma_02_a")].into()), (("ME", 4), [test("me_04_x")].into())];
    let page = render(&titles, &tests.into());
    for line in [
        "1 of 2 rules are shown by a test.",
        "| MA-01 | first | **no test yet** |",
        "| MA-02 | second | plan: `ma_02_a`<br>plan: `ma_02_b` |",
        "- ME-04: plan: `me_04_x`",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[test]
fn titles_are_in_order_and_unique() {
    let titles = titles().unwrap();
    let rank = |item: &Item| (["MA", "ME", "AU"].iter().position(|kind| *kind == item.0), item.1);
    assert!(titles.windows(2).all(|pair| rank(&pair[0].0) < rank(&pair[1].0)));
    assert!(titles.len() > 90, "{}", titles.len());
}
