//! Files that are served as they are: `index.html` at the top, or in `public`. The server is what the
//! stack has; the choice is left to the image's own shell, because another stack may have another.

use std::collections::BTreeMap;

use super::{Files, Plan};

pub(super) const LOOKS_FOR: &str = "index.html, public/index.html";

pub(super) fn detect(files: &Files) -> Option<Plan> {
    let (root, found) = if files.tree.has("public/index.html") {
        ("/app/public", "public/index.html")
    } else if files.tree.has("index.html") {
        ("/app", "index.html")
    } else {
        return None;
    };
    let command = format!(
        "if command -v busybox >/dev/null; then exec busybox httpd -f -p \"$PORT\" -h {root}; \
         else exec python3 -m http.server \"$PORT\" --directory {root}; fi"
    );
    Some(Plan {
        builder: "static",
        headline: "Static files detected".into(),
        notes: vec![
            format!("Found {found}"),
            format!(
                "{root} is served by busybox httpd, or by Python's http.server where the stack has no busybox"
            ),
        ],
        recipe: None,
        // They are about the site, not part of it.
        left_out: vec![
            "slipway.yaml",
            "Procfile",
            ".slugignore",
            ".gitignore",
            ".gitattributes",
            ".buildpacks",
        ],
        env: Vec::new(),
        process_types: BTreeMap::from([("web".to_owned(), command)]),
    })
}
