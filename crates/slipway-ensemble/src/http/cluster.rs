//! `/cluster/…`: who the servers are, how they are, and what to do with them (EX-01 to EX-03).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Api, credentials};
use crate::handle::{Switches, What};
use crate::monitor;
use crate::settings::Settings;
use crate::supervisor::{describe, here};

/// How long a server may take to answer a word.
const WORD_PATIENCE: Duration = Duration::from_secs(5);
const FORM: &str = "application/x-www-form-urlencoded";

/// EX-01. Hosts need no escaping: they are letters, digits, dots and dashes.
pub async fn list(State(api): State<Api>, headers: HeaderMap) -> Response {
    let settings = api.settings();
    let mut hosts: Vec<&str> = settings.servers_spec.iter().map(|server| server.host.as_str()).collect();
    if settings.is_standalone() {
        hosts.push(&api.handle.options().hostname);
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accept.contains(FORM) {
        return Json(json!({ "servers": hosts, "port": settings.client_port })).into_response();
    }
    let servers: String = hosts.iter().enumerate().map(|(at, host)| format!("&server{at}={host}")).collect();
    let body = format!("count={}{servers}&port={}", hosts.len(), settings.client_port);
    ([(header::CONTENT_TYPE, FORM)], body).into_response()
}

/// EX-02. An instance that does not answer is down, as far as one can see from here.
pub async fn status(State(api): State<Api>, headers: HeaderMap) -> Json<Value> {
    let settings = api.settings();
    let authorization = credentials(&headers).map(str::to_owned);
    let mut asked = JoinSet::new();
    let alone = settings.is_standalone().then(|| api.handle.options().hostname.clone());
    let hosts = settings.servers_spec.iter().map(|server| server.host.clone()).chain(alone);
    for (at, host) in hosts.enumerate() {
        let (api, authorization) = (api.clone(), authorization.clone());
        asked.spawn(async move {
            let state = match api.is_here(&host) {
                true => Ok(api.state()),
                false => api.others.ask(&host, "state", authorization.as_deref()).await,
            };
            let down = || json!({ "state": monitor::State::Down as u8, "description": describe(monitor::State::Down) });
            let state = state.unwrap_or_else(|_| down());
            let row = json!({
                "hostname": host,
                "code": state["state"],
                "description": state["description"],
                "isLeader": state["isLeader"].as_bool().unwrap_or(false),
            });
            (at, row)
        });
    }
    let mut rows = asked.join_all().await;
    rows.sort_by_key(|(at, _)| *at);
    Json(rows.into_iter().map(|(_, row)| row).collect())
}

/// EX-03.
pub async fn state(State(api): State<Api>) -> Json<Value> {
    Json(api.state())
}

pub async fn state_of(State(api): State<Api>, headers: HeaderMap, Path(host): Path<String>) -> Json<Value> {
    api.of(&host, "state", &headers, async { api.state() }).await
}

pub async fn set(State(api): State<Api>, Path((switch, value)): Path<(String, String)>) -> Json<Value> {
    Json(api.set(&switch, &value))
}

pub async fn set_of(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((switch, value, host)): Path<(String, String, String)>,
) -> Json<Value> {
    // Only what is known goes into another instance's path.
    if let Err(sentence) = switch_of(&switch, &value) {
        return wrapped(Err(sentence));
    }
    api.of(&host, &format!("set/{switch}/{value}"), &headers, async { api.set(&switch, &value) }).await
}

pub async fn restart(State(api): State<Api>) -> Json<Value> {
    Json(api.order(What::Restart).await)
}

pub async fn restart_of(State(api): State<Api>, headers: HeaderMap, Path(host): Path<String>) -> Json<Value> {
    api.of(&host, "restart", &headers, async { api.order(What::Restart).await }).await
}

pub async fn start(State(api): State<Api>) -> Json<Value> {
    Json(api.order(What::Start).await)
}

pub async fn start_of(State(api): State<Api>, headers: HeaderMap, Path(host): Path<String>) -> Json<Value> {
    api.of(&host, "start", &headers, async { api.order(What::Start).await }).await
}

pub async fn stop(State(api): State<Api>) -> Json<Value> {
    Json(api.order(What::Stop).await)
}

pub async fn stop_of(State(api): State<Api>, headers: HeaderMap, Path(host): Path<String>) -> Json<Value> {
    api.of(&host, "stop", &headers, async { api.order(What::Stop).await }).await
}

pub async fn word(State(api): State<Api>, Path(word): Path<String>) -> Json<Value> {
    Json(api.word(&word).await)
}

pub async fn word_of(
    State(api): State<Api>,
    headers: HeaderMap,
    Path((word, host)): Path<(String, String)>,
) -> Json<Value> {
    let word = word.to_ascii_lowercase();
    if !crate::zoo_cfg::WORDS.contains(&word.as_str()) {
        return wrapped(Err(format!("{word:?} is not one of the words that are allowed")));
    }
    api.of(&host, &format!("4ltr/{word}"), &headers, async { api.word(&word).await }).await
}

pub async fn log(State(api): State<Api>) -> Json<Value> {
    Json(api.log())
}

pub async fn log_of(State(api): State<Api>, headers: HeaderMap, Path(host): Path<String>) -> Json<Value> {
    api.of(&host, "log", &headers, async { api.log() }).await
}

impl Api {
    pub(super) fn settings(&self) -> std::sync::Arc<Settings> {
        std::sync::Arc::clone(&self.handle.settings().borrow())
    }

    fn is_here(&self, host: &str) -> bool {
        host == "localhost" || host == self.handle.options().hostname
    }

    /// The answer of the instance on that host, in Exhibitor's wrapping. Only hosts of the list are
    /// asked, so that nobody has us send credentials elsewhere.
    async fn of(
        &self,
        host: &str,
        path: &str,
        headers: &HeaderMap,
        here: impl Future<Output = Value>,
    ) -> Json<Value> {
        if self.is_here(host) {
            return wrapped(Ok(here.await));
        }
        if self.settings().server(host).is_none() {
            return wrapped(Err(format!("{host} is not among the servers")));
        }
        wrapped(self.others.ask(host, path, credentials(headers)).await)
    }

    fn state(&self) -> Value {
        let look = self.handle.look().borrow().clone();
        let switches = *self.handle.switches().borrow();
        json!({
            "switches": switches,
            "state": look.state as u8,
            "description": describe(look.state),
            "isLeader": look.is_leader(),
        })
    }

    fn set(&self, switch: &str, value: &str) -> Value {
        match switch_of(switch, value) {
            Ok((switch, value)) => {
                self.handle.switch(|switches| *switch(switches) = value);
                result("OK", true)
            }
            Err(sentence) => result(&sentence, false),
        }
    }

    async fn order(&self, what: What) -> Value {
        match self.handle.order(what).await {
            Ok(()) => result("OK", true),
            Err(sentence) => result(&sentence, false),
        }
    }

    async fn word(&self, word: &str) -> Value {
        let word = word.to_ascii_lowercase();
        let server = here(&self.settings(), self.handle.options());
        let answer = match server {
            Ok(server) => server.ask_here(&word, WORD_PATIENCE).await.map_err(|error| error.to_string()),
            Err(sentence) => Err(sentence),
        };
        Value::String(answer.unwrap_or_else(|sentence| sentence))
    }

    /// The events, a line each, oldest first (EX-15).
    fn log(&self) -> Value {
        let line = |event: crate::handle::Event| {
            let since = event.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("{} {}\n", time(since.as_secs()), event.sentence)
        };
        Value::String(self.handle.events().into_iter().map(line).collect())
    }
}

type Switch = fn(&mut Switches) -> &mut bool;

fn switch_of(switch: &str, value: &str) -> Result<(Switch, bool), String> {
    let value = value.parse().map_err(|_| format!("{value:?} is neither true nor false"))?;
    let switch: Switch = match switch.to_ascii_lowercase().as_str() {
        "restarts" => |switches| &mut switches.restarts,
        "cleanup" => |switches| &mut switches.cleanup,
        "backups" => |switches| &mut switches.backups,
        _ => return Err("Not found".to_owned()),
    };
    Ok((switch, value))
}

/// Exhibitor's own results.
pub(super) fn result(message: &str, succeeded: bool) -> Value {
    json!({ "message": message, "succeeded": succeeded })
}

fn wrapped(answer: Result<Value, String>) -> Json<Value> {
    Json(match answer {
        Ok(response) => json!({ "response": response, "errorMessage": "", "success": true }),
        Err(sentence) => json!({ "response": {}, "errorMessage": sentence, "success": false }),
    })
}

/// Seconds since 1970 as `2026-01-31T12:00:00Z`. Days are counted from the first of March of year 0,
/// because then a leap day is the last of its year.
pub(crate) fn time(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[test]
fn ex_15_events_have_readable_times() {
    assert_eq!(time(0), "1970-01-01T00:00:00Z");
    assert_eq!(time(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(time(1_767_225_599), "2025-12-31T23:59:59Z");
}
