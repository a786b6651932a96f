use super::*;

fn route(service: &str) -> Route {
    Route::new(format!("t/p/e/{service}").parse().expect("a path"), Vec::new())
}

fn table(generation: u64, hosts: &[(&str, &str)]) -> RouteTable {
    RouteTable {
        generation,
        routes: hosts.iter().map(|(host, service)| ((*host).to_owned(), route(service))).collect(),
    }
}

fn whole(generation: u64, hosts: &[(&str, &str)]) -> RouteUpdate {
    RouteUpdate::Whole { table: table(generation, hosts) }
}

#[test]
fn a_whole_table_is_taken_as_the_difference_to_what_is_there() {
    let mut have = table(3, &[("a", "x"), ("b", "x"), ("c", "x")]);
    let change =
        apply(&mut have, whole(5, &[("a", "x"), ("b", "y"), ("D", "x")]), false).expect("it is taken");
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["b", "d"]);
    assert_eq!(change.remove, ["c"]);
    assert_eq!(have, table(5, &[("a", "x"), ("b", "y"), ("d", "x")]));
}

#[test]
fn changes_follow_one_another() {
    let mut have = table(3, &[("a", "x"), ("b", "x")]);
    let set = table(0, &[("c", "x")]).routes;
    let update = |after, generation| RouteUpdate::Change {
        after,
        generation,
        set: set.clone(),
        remove: vec!["a".to_owned(), "z".to_owned()],
    };
    assert_eq!(apply(&mut have, update(2, 4), false), Err(Refused::Gap { after: 2, have: 3 }));
    assert_eq!(apply(&mut have, update(3, 3), false), Err(Refused::Regression { generation: 3, have: 3 }));
    let change = apply(&mut have, update(3, 7), false).expect("it is taken");
    assert_eq!(change.remove, ["a"]);
    assert_eq!(have, table(7, &[("b", "x"), ("c", "x")]));
}

#[test]
fn what_leads_back_or_knows_nothing_is_refused() {
    let good = table(3, &[("a", "x")]);
    let mut have = good.clone();
    assert_eq!(apply(&mut have, whole(2, &[]), false), Err(Refused::Regression { generation: 2, have: 3 }));
    assert_eq!(apply(&mut have, whole(0, &[]), true), Err(Refused::NothingKnown));
    assert_eq!(have, good);
    // A new leader may count anew.
    assert!(apply(&mut have, whole(1, &[("a", "x")]), true).is_ok_and(|change| change == Change::default()));
    assert_eq!(have.generation, 1);
}
