//! What a classic buildpack's `bin/release` prints: YAML with `default_process_types`. Untrusted
//! output of a sandbox, so it goes through the same narrow door as a manifest. `addons` and
//! `config_vars` mean nothing here and are passed over.

use std::collections::BTreeMap;

use super::ManifestError;
use super::tree;
use super::value::{map, text, wanted};

/// The process types that a buildpack proposes, by name.
///
/// # Errors
/// When the text is not YAML, or a process type is not one line of text. The place counts from the
/// first line of the buildpack's output.
pub fn default_process_types(bytes: &[u8]) -> Result<BTreeMap<String, String>, ManifestError> {
    let root = tree::read(bytes)?;
    let mut types = BTreeMap::new();
    for (key, node) in map(&root, wanted("bin/release", "default_process_types: { web: … }"))? {
        if key.text != "default_process_types" {
            continue;
        }
        for (name, command) in map(node, wanted("default_process_types", "{ web: bin/server }"))? {
            let command = text(command, wanted(&name.text, "bin/server"))?;
            types.insert(name.text.clone(), command.to_owned());
        }
    }
    Ok(types)
}
