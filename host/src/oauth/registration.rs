//! The gateway registers itself as a client where users log in (RFC 7591).

use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::config::Secret;
use crate::net::{Pool, collect};
use crate::protocol::headers;

use super::authorization::AuthorizationServer;
use super::denied::Denied;
use super::terms::{ClientAuth, Origin, TokenWay};
use super::token_request::{MAX_ANSWER, posted, said};
use super::user_grant::UserClient;

/// Longest time for a registration.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an id, and of a secret.
const MAX_TEXT: usize = 4096;
const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);

/// Registers the gateway, whose logins come back to this URL.
///
/// # Errors
/// If the server takes no registrations, or not this one.
pub async fn register(
    at: &AuthorizationServer,
    redirect: &str,
    way: &TokenWay,
    pool: &Pool,
) -> Result<UserClient, Denied> {
    let Some(uri) = &at.register else {
        let place = Origin(&at.authorize);
        return Err(format!(
            "{place} lets no client register itself: give a \"clientId\" that is registered there \
             with the redirect URI {redirect}"
        )
        .into());
    };
    let asked = asked(at, redirect).to_string();
    let registered = async {
        let response = posted(way, uri, (JSON, asked), None, pool).await?;
        let status = response.status();
        let body = collect(response.into_body(), MAX_ANSWER).await;
        let body =
            body.map_err(|error| format!("{} answers {status}, but {error}", Origin(uri)))?;
        judged(uri, status, &serde_json::from_slice(&body).unwrap_or_default())
    };
    let registered = tokio::time::timeout(TIMEOUT, registered).await;
    let place = Origin(uri);
    registered.unwrap_or_else(|_| {
        Err(format!("{place} does not answer within {} s", TIMEOUT.as_secs()).into())
    })
}

fn asked(at: &AuthorizationServer, redirect: &str) -> Value {
    let method = match (at.takes_public, at.auth) {
        // A secret that is given to whoever asks protects nothing.
        (true, _) | (_, ClientAuth::Public) => "none",
        (false, ClientAuth::Post) => "client_secret_post",
        (false, ClientAuth::Basic) => "client_secret_basic",
    };
    let mut asked = json!({
        "client_name": "Mooring",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    });
    if !at.scope.is_empty() {
        asked["scope"] = at.scope.clone().into();
    }
    asked
}

fn judged(
    uri: &Uri,
    status: StatusCode,
    answer: &Map<String, Value>,
) -> Result<UserClient, Denied> {
    let place = Origin(uri);
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let id = text("client_id").filter(|id| (1..=MAX_TEXT).contains(&id.len()));
    let Some(id) = id.filter(|_| status.is_success()) else {
        let said = said(&[], answer);
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        return Err(
            format!("{place} has not registered the gateway: it answers {status}{said}").into()
        );
    };
    let secret = text("client_secret").filter(|secret| (1..=MAX_TEXT).contains(&secret.len()));
    let auth = match (secret, text("token_endpoint_auth_method")) {
        (None, _) | (_, Some("none")) => ClientAuth::Public,
        (Some(_), Some("client_secret_post")) => ClientAuth::Post,
        (Some(_), _) => ClientAuth::Basic,
    };
    Ok(UserClient { id: id.to_owned(), secret: secret.map(Secret::new), auth })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_says_how_the_gateway_shows_itself() {
        let uri = Uri::from_static("https://login.example/r");
        let of = |status: u16, answer: Value| {
            judged(&uri, StatusCode::from_u16(status).unwrap(), answer.as_object().unwrap())
        };
        for (answer, auth) in [
            (json!({"client_id": "c"}), ClientAuth::Public),
            (json!({"client_id": "c", "client_secret": "canary"}), ClientAuth::Basic),
            (
                json!({"client_id": "c", "client_secret": "canary",
                    "token_endpoint_auth_method": "client_secret_post"}),
                ClientAuth::Post,
            ),
        ] {
            let client = of(201, answer).unwrap();
            assert_eq!((client.id.as_str(), client.auth), ("c", auth));
            assert!(!format!("{client:?}").contains("canary"));
        }
        let refused = of(400, json!({"error": "invalid_redirect_uri"})).unwrap_err();
        assert!(refused.why.contains("400 Bad Request (invalid_redirect_uri)"), "{refused:?}");
        assert!(of(200, json!({"client_id": ""})).is_err());
    }
}
