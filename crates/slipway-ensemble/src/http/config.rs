//! `/config/…`: the shared settings (EX-04).

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Api;
use super::cluster::result;
use crate::monitor::State as Running;
use crate::settings::Settings;
use crate::shared::{Error, Version};

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
    config.insert("rollInProgress".to_owned(), json!(false));
    config.insert("rollStatus".to_owned(), json!("n/a"));
    config.insert("rollPercentDone".to_owned(), json!(0));
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

/// Replaces the settings by those in force with the fields of the request over them.
pub async fn set(State(api): State<Api>, headers: HeaderMap, Json(change): Json<Value>) -> Response {
    let answer = |status: StatusCode, sentence: &str| {
        (status, Json(result(sentence, status.is_success()))).into_response()
    };
    let (current, version) = match api.shared.load().await {
        Ok(Some((settings, version))) => (settings, Some(version)),
        Ok(None) => ((*api.settings()).clone(), None),
        Err(error) => return answer(StatusCode::SERVICE_UNAVAILABLE, &told(&error)),
    };
    let wanted = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    if wanted.is_some_and(|wanted| wanted != "*" && wanted != etag(version)) {
        return answer(StatusCode::PRECONDITION_FAILED, "Another process has updated the config.");
    }
    let new = match changed(&current, change) {
        Ok(new) => new,
        Err(sentence) => return answer(StatusCode::UNPROCESSABLE_ENTITY, &sentence),
    };
    match api.shared.replace(version, &new).await {
        Ok(_) => {
            api.handle.event("the settings were changed here");
            api.follower.look_now();
            answer(StatusCode::OK, "OK")
        }
        Err(Error::Conflict(_)) => answer(StatusCode::CONFLICT, "Another process has updated the config."),
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, &told(&error)),
    }
}

/// The settings with the fields of a change over them, if they can be.
fn changed(current: &Settings, change: Value) -> Result<Settings, String> {
    let Value::Object(change) = change else { return Err("the settings are not an object".to_owned()) };
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

fn told(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
