//! Documents for programs: the schema of the settings, and the description of this API. Neither says
//! anything of this gateway, so that an editor, which has no key, can read them.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::config;
use crate::protocol::headers;

use super::extract::SiteCaller;

/// The description of the API, without its version.
const OPENAPI: &str = include_str!("openapi.json");

pub async fn schema(_: SiteCaller) -> Response {
    json(config::schema_text())
}

pub async fn openapi(_: SiteCaller) -> Response {
    json(described())
}

fn described() -> String {
    OPENAPI.replacen("\"VERSION\"", &format!("\"{}\"", env!("CARGO_PKG_VERSION")), 1)
}

fn json(text: String) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(headers::JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use crate::admin::routes::{ApiDoor, ApiRoute, ROUTES};

    use super::*;

    /// Path and method of every route, from the table that the router is made of.
    fn routes() -> BTreeSet<(String, String)> {
        let named = |route: &ApiRoute| (route.path.to_owned(), route.method.to_lowercase());
        ROUTES.iter().map(named).collect()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document: Value = serde_json::from_str(&described()).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described.insert((path.clone(), method.clone()));
                let named: BTreeSet<&str> = operation["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|parameter| parameter["in"] == "path")
                    .map(|parameter| parameter["name"].as_str().unwrap())
                    .collect();
                let parts = path.split('/').filter_map(|part| part.strip_prefix('{'));
                let parts: BTreeSet<&str> = parts.map(|part| part.trim_end_matches('}')).collect();
                assert_eq!(named, parts, "{method} {path}");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
                assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()));
            }
        }
        assert!(described.len() > 15);
        assert_eq!(described, routes());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    /// What needs no key says so, and only that.
    #[test]
    fn references_lead_somewhere_and_keys_are_named() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        for (at, start) in OPENAPI.match_indices("\"#/") {
            let rest = &OPENAPI[at + start.len()..];
            let place = format!("/{}", rest.split_once('"').unwrap().0);
            assert!(document.pointer(&place).is_some(), "{place}");
        }
        for route in &ROUTES {
            let operation = &document["paths"][route.path][route.method.to_lowercase()];
            let needed = match route.door {
                ApiDoor::Probe | ApiDoor::Site => json!([]),
                ApiDoor::Manager | ApiDoor::Coordinator => json!([{"key": []}]),
                ApiDoor::Node => json!([{"proof": []}]),
            };
            assert_eq!(operation["security"], needed, "{} {}", route.method, route.path);
        }
    }
}
