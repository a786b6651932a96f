use slipway_model::push::ImageRef;

use super::*;
use crate::source::{TreeFile, TreeFileKind};

fn tree(files: &[(&str, TreeFileKind, &str)]) -> Tree {
    let entry = |(path, kind, blob): &(&str, TreeFileKind, &str)| {
        (path.as_bytes().to_vec(), TreeFile { kind: *kind, blob: (*blob).to_owned(), size: 1 })
    };
    Tree { files: files.iter().map(entry).collect() }
}

fn recipe(inputs: Inputs) -> Recipe {
    let arguments = vec!["a".to_owned(), "bc".to_owned()];
    Recipe { title: "", script: "x", arguments, inputs, dependencies: "d", changes_tree: false }
}

fn image(digit: char) -> ImageRef {
    let digest = format!("sha256:{}", String::from(digit).repeat(64)).parse().unwrap();
    ImageRef { repository: "stacks/s".to_owned(), digest }
}

#[test]
fn a_key_changes_with_everything_that_goes_in_and_with_nothing_else() {
    use TreeFileKind::{Executable, Regular};
    let files = tree(&[("r.txt", Regular, "1"), ("app.py", Regular, "2")]);
    let lists = || recipe(Inputs::Files(vec!["r.txt".to_owned()]));
    let of = |recipe: &Recipe, build: char, tree: &Tree| {
        key(recipe, &image(build), tree, |path| path != b"ignored")
    };
    let base = of(&lists(), 'a', &files);
    let other_app = tree(&[("r.txt", Regular, "1"), ("app.py", Executable, "3"), ("new", Regular, "4")]);
    assert_eq!(base, of(&lists(), 'a', &other_app));

    let split_otherwise = Recipe { arguments: vec!["ab".to_owned(), "c".to_owned()], ..lists() };
    let whole = recipe(Inputs::Tree);
    let others = [
        of(&lists(), 'b', &files),
        of(&lists(), 'a', &tree(&[("r.txt", Regular, "9")])),
        of(&lists(), 'a', &tree(&[("r.txt", Executable, "1")])),
        of(&Recipe { script: "y", ..lists() }, 'a', &files),
        of(&split_otherwise, 'a', &files),
        of(&whole, 'a', &files),
        of(&whole, 'a', &other_app),
        base,
    ];
    let distinct: std::collections::BTreeSet<_> = others.iter().collect();
    assert_eq!(distinct.len(), others.len());

    let with_ignored = tree(&[("r.txt", Regular, "1"), ("app.py", Regular, "2"), ("ignored", Regular, "5")]);
    assert_eq!(of(&whole, 'a', &files), of(&whole, 'a', &with_ignored));
}
