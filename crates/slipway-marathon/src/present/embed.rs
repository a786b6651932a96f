//! What an answer shall have beside the definition (MA-02, MA-11).

/// Of an app. A word may have one of the prefixes `apps.`, `app.` and `group.apps.`, or none; an unknown
/// one says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of six, each asked for by its name")]
pub struct AppEmbed {
    /// The tasks.
    pub tasks: bool,
    /// How many of each kind.
    pub counts: bool,
    /// The ids of deployments that have it.
    pub deployments: bool,
    /// What readiness checks said.
    pub readiness: bool,
    /// The last end that was a failure.
    pub last_task_failure: bool,
    /// Counts and ages by version.
    pub task_stats: bool,
}

impl AppEmbed {
    /// What the values of `embed` say.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().fold(Self::default(), Self::with)
    }

    /// For lists: counts and deployments are always there (MA-01).
    pub fn in_list(self) -> Self {
        Self { counts: true, deployments: true, ..self }
    }

    /// For one app: that, tasks and the last failure (MA-05).
    pub fn of_one(self) -> Self {
        Self { tasks: true, last_task_failure: true, ..self.in_list() }
    }

    fn with(mut self, word: &str) -> Self {
        let prefixes = ["group.apps.", "apps.", "app."];
        let word = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix)).unwrap_or(word);
        match word {
            "tasks" => (self.tasks, self.deployments) = (true, true),
            "failures" => (self.tasks, self.last_task_failure, self.deployments) = (true, true, true),
            "counts" => self.counts = true,
            "deployments" => self.deployments = true,
            "readiness" => self.readiness = true,
            "lastTaskFailure" => self.last_task_failure = true,
            "taskStats" => self.task_stats = true,
            _ => {}
        }
        self
    }
}

/// Of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEmbed {
    /// The groups in it.
    pub groups: bool,
    /// The apps in it.
    pub apps: bool,
    /// The pods in it, of which there are none.
    pub pods: bool,
    /// What of the apps.
    pub app: AppEmbed,
}

impl GroupEmbed {
    /// What the values of `embed` say. None: everything but what is said of apps.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let words: Vec<&str> = words.into_iter().collect();
        let all = words.is_empty();
        let has = |word: &str| all || words.contains(&word);
        let of_apps = words.iter().copied().filter(|word| word.starts_with("group.apps."));
        let app = AppEmbed::of(of_apps);
        let names_app = app != AppEmbed::default();
        Self {
            groups: has("group.groups"),
            // Upstream shows no apps to somebody who only asks for their tasks, which nobody can want.
            apps: has("group.apps") || names_app,
            pods: has("group.pods"),
            app,
        }
    }
}
