//! Push options (`git push -o …`): two words that mean something, and a warning for the rest. They
//! are compared and never interpreted (GitHub CVE-2026-3854).

use slipway_model::push::PushOptions;

/// Reads the options of a push; what is not known comes back as lines for the pusher.
pub(crate) fn read(options: &[String]) -> (PushOptions, Vec<String>) {
    let mut read = PushOptions::default();
    let mut warnings = Vec::new();
    for option in options {
        match option.as_str() {
            "detach" => read.detach = true,
            "no-cache" => read.no_cache = true,
            other => {
                let shown: String = other.chars().take(40).collect();
                warnings.push(format!(
                    "The push option {shown:?} is not known and does nothing; there are detach and no-cache."
                ));
            }
        }
    }
    (read, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options_count_and_others_are_only_mentioned() {
        let options = ["detach", "no-cache=1", "$(id)\nremote: forged\u{1b}[2J", "DETACH"].map(String::from);
        let (read, warnings) = read(&options);
        assert_eq!(read, PushOptions { detach: true, no_cache: false });
        assert_eq!(warnings.len(), 3);
        assert!(warnings.iter().all(|line| !line.contains(|c: char| c.is_control())), "{warnings:?}");
    }
}
