//! The OpenAPI 3.1 document of `/v1`, made from [`crate::endpoint`]. A copy is committed as
//! `docs/openapi.json`; a test compares the two.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::endpoint::{self, Endpoint, Need};
use crate::error::ErrorBody;

/// The whole document.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for endpoint in endpoint::all() {
        let takes = endpoint.takes.map(|schema| schema(&mut generator));
        let gives = endpoint.gives.map(|schema| schema(&mut generator));
        let mut operation = json!({
            "summary": endpoint.summary,
            "operationId": operation_id(&endpoint),
            "parameters": parameters(endpoint.path),
            "security": security(endpoint.need),
            "responses": {
                "200": match gives {
                    Some(schema) => json!({
                        "description": "Done",
                        "content": { "application/json": { "schema": schema } },
                    }),
                    None => json!({ "description": "A stream" }),
                },
                "default": {
                    "description": "Refused",
                    "content": { "application/json": { "schema": error } },
                },
            },
        });
        if let Some(schema) = takes {
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Slipway",
            "version": "1",
            "description": "Errors have one shape; decide by `code`, show `message`.",
            "license": { "name": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.trim_start_matches("/v1/").replace(['{', '}'], "").replace('/', "-");
    format!("{}-{words}", endpoint.method.as_str().to_lowercase())
}

fn parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::Login | Need::Tenant(_) | Need::Operator => json!([{ "token": [] }]),
    }
}

#[cfg(test)]
mod tests;
