use super::*;

fn id(digit: char) -> CommitId {
    digit.to_string().repeat(40).parse().unwrap()
}

fn with(refs: &[(&str, char)]) -> State {
    State { refs: refs.iter().map(|(name, at)| ((*name).to_owned(), id(*at))).collect(), ..State::default() }
}

#[test]
fn an_update_is_refused_when_the_ref_is_not_as_the_pusher_saw_it_or_another_is_in_the_way() {
    let state = with(&[("refs/heads/a", '1'), ("refs/heads/b/c", '2')]);
    let check = |name: &str, old: char, new: char, fault: Option<&str>| {
        let update = Update { name: name.to_owned(), old: id(old), new: id(new) };
        assert_eq!(state.fault_of(&update), fault, "{name} {old} {new}");
    };
    check("refs/heads/a", '1', '3', None);
    check("refs/heads/a", '1', '0', None);
    check("refs/heads/a", '2', '3', Some("fetch first"));
    check("refs/heads/a", '0', '3', Some("fetch first"));
    check("refs/heads/new", '0', '3', None);
    check("refs/heads/new", '1', '3', Some("fetch first"));
    let in_the_way = Some("a branch or tag of this name is in the way");
    check("refs/heads/a/x", '0', '3', in_the_way);
    check("refs/heads/b", '0', '3', in_the_way);
    check("refs/heads/bc", '0', '3', None);
}

#[test]
fn a_change_moves_refs_and_adds_each_pack_once() {
    let pack =
        |name: &str| Pack { name: name.to_owned(), bytes: 1, sha256: String::new(), replaces: Vec::new() };
    let change = Change {
        refs: vec![("refs/x".to_owned(), Some(id('2'))), ("refs/gone".to_owned(), None)],
        heads: vec![("h".to_owned(), Some("refs/x".to_owned()))],
        packs: vec![pack("p"), pack("p")],
        shallow: vec![id('3')],
    };
    let before = with(&[("refs/x", '1'), ("refs/gone", '1'), ("refs/stays", '1')]);
    let after = before.after(&change);
    assert_eq!(after.refs, with(&[("refs/x", '2'), ("refs/stays", '1')]).refs);
    assert_eq!((after.packs.len(), after.heads.len(), after.shallow.len()), (1, 1, 1));
    assert!(after.after(&change).says_the_same(&after));
    let without = after.after(&after.without(&["refs/x".to_owned(), "h".to_owned()]));
    assert_eq!(without.refs, with(&[("refs/stays", '1')]).refs);
    assert!(without.heads.is_empty());
}

#[test]
fn names_sort_as_numbers_do() {
    for number in [0, 9, 10, u64::MAX] {
        assert_eq!(number_of(&name_of(number)), Some(number));
    }
    assert!(name_of(9) < name_of(10));
    assert_eq!(number_of("x"), None);
    assert_eq!(number_of("+0000000000000000001"), None);
}
