//! Which refs a push may change, and which change deploys. A function of what is asked.

use slipway_model::id::CommitId;
use slipway_model::name::EnvironmentPath;

use crate::push_request::REF_BYTES_MAX;

/// One line of what a push asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefUpdate {
    /// What the ref was, as the client was told.
    pub(crate) old: CommitId,
    /// What it shall be; all zeros to delete it.
    pub(crate) new: CommitId,
    /// Its full name.
    pub(crate) name: String,
}

impl RefUpdate {
    /// Reads `old new name`.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut parts = line.splitn(3, ' ');
        let update = Self {
            old: parts.next()?.parse().ok()?,
            new: parts.next()?.parse().ok()?,
            name: parts.next()?.to_owned(),
        };
        Some(update)
    }

    /// The name without `refs/heads/`, when it is a branch.
    pub(crate) fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }
}

/// What a push that keeps the rules comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The update of the branch that deploys.
    pub(crate) deploy: Option<RefUpdate>,
    /// What to tell the pusher about the others.
    pub(crate) notices: Vec<String>,
}

/// Decides on all updates of a push; one that breaks a rule refuses the whole push, in words.
pub(crate) fn decide(
    updates: &[RefUpdate],
    environment: &EnvironmentPath,
    deploy_branch: &str,
) -> Result<Decision, Vec<String>> {
    let mut decision = Decision { deploy: None, notices: Vec::new() };
    let mut tags = false;
    for update in updates {
        if let Some(fault) = fault_of(&update.name) {
            return Err(vec![format!("{:?} is refused: {fault}", shortened(&update.name))]);
        }
        match update.branch() {
            Some(branch) if branch == deploy_branch && update.new.is_zero() => {
                return Err(vec![
                    format!("{branch} cannot be deleted: it is the branch that {environment} runs."),
                    format!("To stop the program, scale it to 0: slipway scale -e {environment} web=0"),
                ]);
            }
            Some(branch) if branch == deploy_branch => decision.deploy = Some(update.clone()),
            Some(branch) if update.new.is_zero() => decision.notices.push(format!("{branch} is deleted.")),
            Some(branch) => decision.notices.push(format!(
                "{branch} is stored and deploys nothing: {environment} runs {deploy_branch}. \
                 To deploy it: git push <remote> {branch}:{deploy_branch}"
            )),
            None => tags = true,
        }
    }
    if tags {
        decision.notices.push("Tags are stored and deploy nothing.".into());
    }
    Ok(decision)
}

/// git lets a ref name hold nearly anything. Ours end up in argument lists, log lines and other
/// people's scripts, so they hold what names of branches really hold (N19).
fn fault_of(name: &str) -> Option<&'static str> {
    let Some(rest) = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")) else {
        return Some("only branches (refs/heads/…) and tags (refs/tags/…) can be pushed");
    };
    if name.len() > REF_BYTES_MAX {
        return Some("the name is longer than 255 bytes");
    }
    if !rest.chars().all(|c| c.is_alphanumeric() || "._-/+@#=".contains(c)) {
        return Some("a branch or tag is named with letters, digits and . _ - / + @ # =");
    }
    if rest.split('/').any(|part| part.is_empty() || part.starts_with(['-', '.']) || part.ends_with(".lock"))
    {
        return Some("no part of a name may be empty, begin with - or ., or end in .lock");
    }
    (rest.contains("..") || rest.ends_with('.') || rest == "HEAD")
        .then_some("it is not a name that git allows")
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0000000000000000000000000000000000000000";
    const ONE: &str = "1111111111111111111111111111111111111111";

    fn decided(updates: &[(&str, &str)]) -> Result<Decision, Vec<String>> {
        let updates: Vec<_> = updates
            .iter()
            .map(|(new, name)| RefUpdate::parse(format!("{ONE} {new} {name}").as_bytes()).unwrap())
            .collect();
        decide(&updates, &"acme/shop/dev".parse().unwrap(), "main")
    }

    #[test]
    fn the_deploying_branch_deploys_and_the_others_are_explained() {
        let decision = decided(&[
            (ONE, "refs/heads/main"),
            (ONE, "refs/heads/fix/über-1"),
            (ONE, "refs/tags/v1.0"),
            (ZERO, "refs/heads/old"),
        ])
        .unwrap();
        assert_eq!(decision.deploy.unwrap().branch(), Some("main"));
        assert_eq!(
            decision.notices,
            [
                "fix/über-1 is stored and deploys nothing: acme/shop/dev runs main. To deploy it: git push <remote> fix/über-1:main",
                "old is deleted.",
                "Tags are stored and deploy nothing.",
            ]
        );
    }

    #[test]
    fn deleting_the_deploying_branch_is_refused() {
        assert!(decided(&[(ZERO, "refs/heads/main")]).unwrap_err()[0].contains("cannot be deleted"));
    }

    #[test]
    fn odd_names_are_refused() {
        for name in [
            "refs/heads/-h",
            "refs/heads/--exec=x",
            "refs/heads/../x",
            "refs/heads/a..b",
            "refs/heads/x;id",
            "refs/heads/$(id)",
            "refs/heads/`id`",
            "refs/heads/a b",
            "refs/heads/a\nb",
            "refs/heads/a/-b",
            "refs/heads/",
            "refs/heads//a",
            "refs/heads/a.lock",
            "refs/heads/HEAD",
            "refs/tags/-v",
            "refs/notes/x",
            "refs/slipway/builds/dev/1",
            "refs/namespaces/prod/refs/heads/main",
            "HEAD",
            "main",
            "refs/heads/a|b",
            "refs/heads/{a}",
            "refs/heads/a'b",
            "refs/heads/a\u{202e}b",
            "refs/heads/a.",
        ] {
            assert!(decided(&[(ONE, name)]).is_err(), "{name:?}");
        }
        assert!(decided(&[(ONE, &format!("refs/heads/{}", "x".repeat(300)))]).is_err());
    }
}
