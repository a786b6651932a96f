//! `cargo xtask rules [--check]`: which test shows which rule.
//!
//! A test that shows MA-38 has `ma_38` in its name, or stands in a range such as `ma_35_to_41`. The table
//! in `docs/rules.md` is made from the names of the tests in the tree and from `rules/titles.txt`; nobody
//! writes it. With `--check`, as part of `cargo xtask test`, it is an error when the page differs from what
//! would be written, so that it cannot name a test that is gone or hide a rule that nobody tests.
//!
//! A function counts when it would be run: it has an attribute that ends in `test`, or stands in
//! `proptest!`, or in a list of `cases!`; and it is not ignored. So does what `trial("…", …)` names. Tests
//! that are older than the numbers stand in `rules/earlier.txt`, and must be there too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::run::root;

mod scan;

const TITLES: &str = include_str!("rules/titles.txt");
const EARLIER: &str = include_str!("rules/earlier.txt");
const PAGE: &str = "docs/rules.md";
/// More names than this only make the table hard to read; the rest is counted.
const NAMES_MAX: usize = 6;

/// `MA`, `ME` or `AU`, and a number.
type Item = (&'static str, u32);

/// A test, as one finds it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// The crate's name.
    place: String,
    name: String,
}

/// Writes the table, or checks it.
pub fn rules(words: &[&str]) -> anyhow::Result<()> {
    let is_check = match words {
        [] => false,
        ["--check"] => true,
        other => bail!("rules takes --check, not {}", other.join(" ")),
    };
    let page = root().join(PAGE);
    let text = render(&titles()?, &tests()?);
    if !is_check {
        fs::write(&page, &text).with_context(|| format!("cannot write {PAGE}"))?;
        println!("wrote {PAGE}");
        return Ok(());
    }
    let committed = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    let Some((line, _)) = text.lines().zip(committed.lines()).enumerate().find(|(_, (a, b))| a != b) else {
        if text == committed {
            return Ok(());
        }
        bail!("{PAGE} has too few or too many lines; write it anew with: cargo xtask rules");
    };
    bail!(
        "{PAGE} does not say which tests there are (line {}); write it anew with: cargo xtask rules",
        line + 1
    )
}

/// The rules by item, in the order of the file.
fn titles() -> anyhow::Result<Vec<(Item, &'static str)>> {
    let mut titles = Vec::new();
    for line in TITLES.lines().filter(|line| !line.starts_with('#')) {
        let parsed = line.split_once(' ').and_then(|(item, title)| Some((item_of(item)?, title)));
        titles.push(parsed.with_context(|| format!("not a rule and its title: {line}"))?);
    }
    Ok(titles)
}

/// All tests that show a rule.
fn tests() -> anyhow::Result<BTreeMap<Item, BTreeSet<Test>>> {
    let mut tests = BTreeSet::new();
    for folder in fs::read_dir(root().join("crates"))? {
        let folder = folder?.path();
        let place = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for name in ["src", "tests"] {
            collect(&folder.join(name), &place, &mut tests)?;
        }
    }
    let mut all: BTreeMap<Item, BTreeSet<Test>> = BTreeMap::new();
    for line in EARLIER.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [item, place, name] = words[..] else { bail!("not a rule, a crate and a test: {line}") };
        let test = Test { place: place.to_owned(), name: name.to_owned() };
        if !tests.contains(&test) {
            bail!("rules/earlier.txt names {name} of {place}, and there is no such test");
        }
        let item = item_of(item).with_context(|| format!("not a rule: {line}"))?;
        all.entry(item).or_default().insert(test);
    }
    for test in tests {
        for item in scan::items(&test.name) {
            all.entry(item).or_default().insert(test.clone());
        }
    }
    Ok(all)
}

/// `MA-38`
fn item_of(text: &'static str) -> Option<Item> {
    let (kind, number) = text.split_once('-')?;
    Some((kind, number.parse().ok()?))
}

fn collect(folder: &Path, place: &str, all: &mut BTreeSet<Test>) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, place, all)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            all.extend(scan::tests(&text).into_iter().map(|name| Test { place: place.to_owned(), name }));
        }
    }
    Ok(())
}

fn render(titles: &[(Item, &str)], tests: &BTreeMap<Item, BTreeSet<Test>>) -> String {
    let shown = titles.iter().filter(|(item, _)| tests.contains_key(item)).count();
    let mut text = format!(
        "# Rules, and the tests that show them\n\n\
         Made by `cargo xtask rules` from the names of the tests; do not edit. `cargo xtask test` fails when \
         this page is not what that would write.\n\n\
         MA are the rules of Marathon, ME those of Mesos, AU those of Aurora that the orchestrator follows. A \
         test that shows MA-38 has `ma_38` in its name: `cargo test --workspace ma_38` runs it; those of \
         slipwayd start real containers and need `cargo xtask test ma_38`.\n\n\
         {shown} of {} rules are shown by a test.\n\n\
         | rule | what it is about | shown by |\n| --- | --- | --- |\n",
        titles.len()
    );
    for ((kind, number), title) in titles {
        let by = tests.get(&(*kind, *number)).map_or("**no test yet**".to_owned(), names);
        text += &format!("| {kind}-{number:02} | {title} | {by} |\n");
    }
    let known: BTreeSet<_> = titles.iter().map(|(item, _)| item).collect();
    let others: Vec<String> = tests
        .iter()
        .filter(|(item, _)| !known.contains(item))
        .map(|((kind, number), tests)| format!("- {kind}-{number:02}: {}\n", names(tests)))
        .collect();
    if !others.is_empty() {
        text += "\nBeyond what was to be shown:\n\n";
        text += &others.concat();
    }
    text
}

fn names(tests: &BTreeSet<Test>) -> String {
    let mut names: Vec<String> =
        tests.iter().take(NAMES_MAX).map(|test| format!("{}: `{}`", test.place, test.name)).collect();
    if tests.len() > NAMES_MAX {
        names.push(format!("and {} more", tests.len() - NAMES_MAX));
    }
    names.join("<br>")
}

#[cfg(test)]
mod tests;
