use super::*;

#[test]
fn a_buildpack_comes_from_git_an_archive_or_the_tree() {
    let check = |text: &str, expected: &str| {
        let said = PackSource::parse(text).map_or_else(|e| e.to_string(), |source| format!("{source:?}"));
        assert!(said.starts_with(expected), "{text}: {said}");
    };
    check("https://git.example/p.git#v1", r#"Git { url: "https://git.example/p.git", reference: "v1" }"#);
    check("https://git.example/p", r#"Git { url: "https://git.example/p", reference: "" }"#);
    check("https://host.example/p.tgz", r#"Tarball { url: "https://host.example/p.tgz" }"#);
    check("./packs//own/", r#"Path("packs/own")"#);
    for bad in [
        "http://host/p.git",
        "../pack",
        "./../pack",
        "./",
        "https://h/p.git#--upload-pack=x",
        "/pack",
        "https://h/ p",
        "https://me:secret@h/p.git",
        "https:///p.git",
        "git@h:p",
    ] {
        check(bad, &format!("{bad:?} is not a buildpack"));
    }
}
