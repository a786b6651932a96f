use super::*;

fn check(patterns: &str, path: &str, excluded: bool) {
    assert_eq!(
        SlugIgnore::parse(patterns.as_bytes()).excludes(path.as_bytes()),
        excluded,
        "{patterns:?} on {path:?}"
    );
}

#[test]
fn patterns_mean_what_they_mean_to_git() {
    check("*.psd", "art/logo.psd", true);
    check("*.psd", "art/logo.psd.txt", false);
    check("/*.md", "README.md", true);
    check("/*.md", "docs/README.md", false);
    check("test/", "test/unit/a.py", true);
    check("test/", "src/test/a.py", true);
    check("test/", "src/test", false);
    check("/test", "src/test/a.py", false);
    check("docs/*.txt", "docs/a.txt", true);
    check("docs/*.txt", "docs/sub/a.txt", false);
    check("docs/**", "docs/sub/a.txt", true);
    check("**/fixtures", "a/b/fixtures/x", true);
    check("a/**/z", "a/b/c/z", true);
    check("a/**/z", "a/z", true);
    check("a/**/z", "a/b/zz", false);
    check("a/**/z", "a/bz", false);
    check("te?t", "test", true);
    check("a?b", "a/b", false);
    check("# comment\n\n!keep\n  spaced  \r\n", "spaced", true);
    check("", "anything", false);
    check("/", "anything", false);
}

#[test]
fn no_pattern_is_slow() {
    let pattern = "*a".repeat(200);
    check(&pattern, &"a".repeat(2000), true);
    check(&format!("{pattern}b"), &"a".repeat(2000), false);
    check(&"**/".repeat(100), &"a/".repeat(1000), true);
}
