//! Which endpoint a request means.
//!
//! The patterns of a router library do not fit: an id contains slashes and stands in the middle
//! (`/v2/apps/prod/db/main/tasks`), and clients send doubled and trailing slashes (MA-27). So the table
//! below is the routing: the first row that fits is taken, and a handler is found for each
//! [`Endpoint`], because the compiler insists.

use http::Method;

/// Something a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Ping,
    Metrics,
    Info,
    Leader,
    Abdicate,
    Plugins,
    Events,
    State,
    ListApps,
    CreateApp,
    PutApps,
    PatchApps,
    AppsBelow,
    ShowApp,
    PutApp,
    PatchApp,
    DeleteApp,
    RestartApp,
    AppTasks,
    KillAppTasks,
    AppTask,
    KillAppTask,
    AppVersions,
    AppVersion,
    ShowGroup,
    CreateGroup,
    PutGroup,
    PatchGroup,
    DeleteGroup,
    GroupVersions,
    GroupVersion,
    ListTasks,
    KillTasks,
    ListDeployments,
    CancelDeployment,
    Queue,
    ResetDelay,
}

impl Endpoint {
    /// Whether the answer is more than what is stored, so that only somebody can give it who leads or has led.
    pub fn asks_what_runs(self) -> bool {
        use Endpoint::*;
        let of_tasks =
            matches!(self, AppTasks | KillAppTasks | AppTask | KillAppTask | ListTasks | KillTasks);
        of_tasks || matches!(self, State | ListApps | AppsBelow | ShowApp | ShowGroup | Queue | ResetDelay)
    }
}

/// One row: a method, a path, what it is.
#[derive(Debug)]
pub struct Row {
    /// `GET` also answers `HEAD`.
    pub method: Method,
    /// `{x}` stands for one segment, `{x…}` for one or more, or for none in a path that ends with it.
    pub pattern: &'static str,
    /// What it leads to.
    pub endpoint: Endpoint,
    /// For the manual.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that compares the manual with this"))]
    pub does: &'static str,
}

macro_rules! table {
    ($($method:ident $pattern:literal $endpoint:ident $does:literal;)+) => {
        /// Every endpoint, the more particular of two that fit first.
        pub static TABLE: &[Row] = &[
            $(Row { method: Method::$method, pattern: $pattern, endpoint: Endpoint::$endpoint, does: $does }),+
        ];
    };
}

table! {
    GET "/ping" Ping "`pong`";
    GET "/metrics" Metrics "figures for Prometheus";
    GET "/metrics/prometheus" Metrics "the same";
    GET "/v2/info" Info "version, leader, configuration (MA-20)";
    GET "/v2/leader" Leader "who leads (MA-20)";
    DELETE "/v2/leader" Abdicate "operators: another server leads (MA-20)";
    GET "/v2/plugins" Plugins "none (MA-23)";
    GET "/v2/events" Events "what happens, as server-sent events (MA-19)";
    GET "/state" State "nodes and instances, as a Mesos master would list them (ME-21)";
    GET "/v2/apps" ListApps "apps by `cmd`, `id`, `label` (MA-01)";
    POST "/v2/apps" CreateApp "make one (MA-03)";
    PUT "/v2/apps" PutApps "make or change several (MA-04)";
    PATCH "/v2/apps" PatchApps "change several (MA-04)";
    GET "/v2/apps/{id…}/versions/{version}" AppVersion "an app as it was (MA-10)";
    GET "/v2/apps/{id…}/versions" AppVersions "the versions that are kept (MA-10)";
    GET "/v2/apps/{id…}/tasks/{task}" AppTask "one task of an app (MA-09)";
    DELETE "/v2/apps/{id…}/tasks/{task}" KillAppTask "kill it; with `scale` one copy less (MA-09)";
    GET "/v2/apps/{id…}/tasks" AppTasks "tasks of an app (MA-09)";
    DELETE "/v2/apps/{id…}/tasks" KillAppTasks "kill them, by `host` or all (MA-09)";
    POST "/v2/apps/{id…}/restart" RestartApp "replace all copies (MA-08)";
    GET "/v2/apps/{id…}/*" AppsBelow "the apps of a group (MA-05)";
    GET "/v2/apps/*" AppsBelow "all apps (MA-05)";
    GET "/v2/apps/{id…}" ShowApp "one app (MA-05)";
    PUT "/v2/apps/{id…}" PutApp "make, change or roll back (MA-06)";
    PATCH "/v2/apps/{id…}" PatchApp "change (MA-06)";
    DELETE "/v2/apps/{id…}" DeleteApp "remove (MA-07)";
    GET "/v2/groups/{id…}/versions/{version}" GroupVersion "a group as it was (MA-12)";
    GET "/v2/groups/{id…}/versions" GroupVersions "the versions of a group (MA-12)";
    GET "/v2/groups/versions/{version}" GroupVersion "everything as it was (MA-12)";
    GET "/v2/groups/versions" GroupVersions "the versions of everything (MA-12)";
    GET "/v2/groups/{id…}" ShowGroup "a group, or everything (MA-11)";
    POST "/v2/groups/{id…}" CreateGroup "make a group (MA-12)";
    PUT "/v2/groups/{id…}" PutGroup "make, change, scale or roll back a group; `dryRun` (MA-12)";
    PATCH "/v2/groups/{id…}" PatchGroup "set `enforceRole` (MA-12)";
    DELETE "/v2/groups/{id…}" DeleteGroup "remove a group (MA-12)";
    GET "/v2/tasks" ListTasks "tasks by `status` (MA-13)";
    POST "/v2/tasks/delete" KillTasks "kill tasks (MA-14)";
    GET "/v2/deployments" ListDeployments "deployments under way (MA-15)";
    DELETE "/v2/deployments/{deployment}" CancelDeployment "undo it, or with `force` stop it (MA-16)";
    GET "/v2/queue" Queue "what waits, and why (MA-17)";
    DELETE "/v2/queue/{id…}/delay" ResetDelay "wait no longer after failures (MA-18)";
}

/// What a path was found to mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This, with the texts for the `{…}` of its pattern in their order.
    Endpoint(Endpoint, Vec<String>),
    /// The path is known, with these methods.
    OtherMethods(Vec<Method>),
    /// Nothing.
    Nothing,
}

/// Looks a request up.
pub fn find(method: &Method, path: &str) -> Found {
    let Some(path) = decoded(path) else { return Found::Nothing };
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for row in TABLE {
        let Some(texts) = fits(row.pattern, &segments) else { continue };
        if row.method == *method {
            return Found::Endpoint(row.endpoint, texts);
        }
        if !others.contains(&row.method) {
            others.push(row.method.clone());
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// True for paths that are this API's to refuse.
pub fn is_ours(path: &str) -> bool {
    let first = path.split('/').find(|segment| !segment.is_empty());
    matches!(first, Some("v2" | "ping" | "metrics" | "state"))
}

fn fits(pattern: &str, segments: &[&str]) -> Option<Vec<String>> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let long = parts.iter().position(|part| part.ends_with("…}"));
    let Some(long) = long else {
        if parts.len() != segments.len() {
            return None;
        }
        return fit_each(&parts, segments);
    };
    let after = parts.len() - long - 1;
    // `/v2/groups/{id…}` is also `/v2/groups`; an id between other parts has at least one segment.
    let least = usize::from(after > 0 || parts[1] == "apps");
    if segments.len() < long + least + after {
        return None;
    }
    let (front, rest) = segments.split_at(long);
    let (middle, back) = rest.split_at(rest.len() - after);
    let mut texts = fit_each(&parts[..long], front)?;
    texts.push(format!("/{}", middle.join("/")));
    texts.extend(fit_each(&parts[long + 1..], back)?);
    Some(texts)
}

fn fit_each(parts: &[&str], segments: &[&str]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for (part, segment) in parts.iter().zip(segments) {
        if part.starts_with('{') {
            texts.push((*segment).to_owned());
        } else if part != segment {
            return None;
        }
    }
    Some(texts)
}

/// With `%2F` and the like resolved: some clients encode the slashes of an id. `None` when what comes out
/// is no text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
