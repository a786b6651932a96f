//! `/config/…`: the shared settings (EX-04).

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Api;
use super::cluster::result;
use crate::cause::chain;
use crate::monitor::State as Running;
use crate::settings::{Rolling, Settings};
use crate::shared::{Error, Version};

/// What Exhibitor says to who comes second.
const OTHER_PROCESS: &str = "Another process has updated the config.";

/// The settings in force here, with what this instance makes of them. The ETag is their version: sent
/// back as `If-Match` it keeps two operators from undoing each other's changes.
pub async fn get_state(State(api): State<Api>) -> Response {
    let settings = api.settings();
    let options = api.handle.options();
    let look = api.handle.look().borrow().clone();
    let own = settings.server(&options.hostname);
    let Ok(Value::Object(mut config)) = serde_json::to_value(&*settings) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    config.insert("hostname".to_owned(), json!(options.hostname));
    config.insert("serverId".to_owned(), json!(own.map_or(-1, |server| i32::from(server.id))));
    let shared = api.handle.shared();
    let rolling = shared.rolling.as_ref();
    let status = rolling.map_or_else(|| "n/a".to_owned(), Rolling::status);
    config.insert("rollInProgress".to_owned(), json!(rolling.is_some()));
    config.insert("rollStatus".to_owned(), json!(status));
    config.insert("rollPercentDone".to_owned(), json!(rolling.map_or(0, |rolling| rolling.roll.percent())));
    let state = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "running": look.state >= Running::NotServing,
        "backupActive": settings.backup_period_ms > 0 && api.handle.switches().borrow().backups,
        "standaloneMode": settings.is_standalone(),
        "extraHeadingText": options.heading,
        "nodeMutationsAllowed": false,
        "config": config,
    });
    let version = api.follower.known().and_then(|known| known.current.as_ref().map(|(_, version)| *version));
    ([(header::ETAG, etag(version))], Json(state)).into_response()
}

/// Replaces the settings by those in force with the fields of the request over them. Servers that must
/// be started again for that are so one after the other (EX-11).
pub async fn set(State(api): State<Api>, headers: HeaderMap, Json(change): Json<Value>) -> Response {
    let wanted = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let make = |current: Settings, next: u64| match &current.rolling {
        Some(rolling) => Err((StatusCode::CONFLICT, under_way(rolling))),
        None => changed(&current, change)
            .and_then(|new| one_after_the_other(current, new, next))
            .map_err(|sentence| (StatusCode::UNPROCESSABLE_ENTITY, sentence)),
    };
    replace(&api, wanted, "the settings were changed here", make).await
}

/// Takes a change back that is on its way: those that had their turn get the old settings again, in the
/// same way.
pub async fn roll_back(State(api): State<Api>) -> Response {
    let make = |mut current: Settings, next: u64| {
        let rolling = current.rolling.take().ok_or_else(none_under_way)?;
        Ok(rolling.back(next, current))
    };
    replace(&api, None, "the change on its way was taken back here", make).await
}

/// Puts a change that is on its way in force for all at once. That may cost the quorum for a moment.
pub async fn force(State(api): State<Api>) -> Response {
    let make = |current: Settings, _| {
        let rolling = current.rolling.ok_or_else(none_under_way)?;
        Ok(Settings { rolling: None, ..*rolling.new })
    };
    replace(&api, None, "the change on its way was put in force for all at once here", make).await
}

fn none_under_way() -> (StatusCode, String) {
    (StatusCode::CONFLICT, "No change of the config is on its way.".to_owned())
}

fn under_way(rolling: &Rolling) -> String {
    format!(
        "A change of the config is on its way: {}. Wait, or use config/rollback-rolling or \
         config/force-commit-rolling.",
        rolling.status()
    )
}

/// Replaces the shared settings by what is made of them, knowing the number that they will get.
async fn replace(
    api: &Api,
    wanted: Option<&str>,
    event: &str,
    make: impl FnOnce(Settings, u64) -> Result<Settings, (StatusCode, String)>,
) -> Response {
    let answer = |status: StatusCode, sentence: &str| {
        (status, Json(result(sentence, status.is_success()))).into_response()
    };
    let (current, version) = match api.shared.load().await {
        Ok(Some((settings, version))) => (settings, Some(version)),
        Ok(None) => (Settings::clone(&api.handle.shared()), None),
        Err(error) => return answer(StatusCode::SERVICE_UNAVAILABLE, &chain(&error)),
    };
    if wanted.is_some_and(|wanted| wanted != "*" && wanted != etag(version)) {
        return answer(StatusCode::PRECONDITION_FAILED, OTHER_PROCESS);
    }
    let new = match make(current, version.map_or(0, Version::number) + 1) {
        Ok(new) => new,
        Err((status, sentence)) => return answer(status, &sentence),
    };
    match api.shared.replace(version, &new).await {
        Ok(_) => {
            api.handle.event(event);
            api.follower.look_now();
            answer(StatusCode::OK, "OK")
        }
        Err(Error::Conflict(_)) => answer(StatusCode::CONFLICT, OTHER_PROCESS),
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, &chain(&error)),
    }
}

/// The shared settings by which new ones come into force without costing the quorum.
fn one_after_the_other(current: Settings, new: Settings, next: u64) -> Result<Settings, String> {
    if current.is_standalone() || !current.needs_restart_for(&new) {
        return Ok(new);
    }
    if new.is_standalone() {
        return match current.servers_spec.iter().count() {
            1 => Ok(new),
            _ => Err("serversSpec: each of several servers would go on alone".to_owned()),
        };
    }
    let ports = |settings: &Settings| (settings.client_port, settings.connect_port, settings.election_port);
    if ports(&current) != ports(&new) {
        // They stand in ZooKeeper's own list, which is not written anew, and each server dials the others
        // on the ports that it knows.
        return Err("the ports of an ensemble that exists stay as they are".to_owned());
    }
    Ok(Rolling::begin(next, current, new))
}

/// The settings with the fields of a change over them, if they can be.
fn changed(current: &Settings, change: Value) -> Result<Settings, String> {
    let Value::Object(mut change) = change else { return Err("the settings are not an object".to_owned()) };
    // Only ours to write.
    change.remove("rolling");
    let Ok(Value::Object(mut all)) = serde_json::to_value(current) else {
        return Err("the settings in force cannot be written".to_owned());
    };
    all.extend(change);
    let new: Settings = serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())?;
    new.check().map_err(|error| error.to_string())?;
    Ok(new)
}

fn etag(version: Option<Version>) -> String {
    format!("\"{}\"", version.map_or(0, Version::number))
}
