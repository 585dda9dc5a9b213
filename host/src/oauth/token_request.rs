//! One request to a token server, and what it says. Its answer is hostile: bounded, read as JSON alone,
//! and of its words only those are told that hold no secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;

use crate::config::Secret;
use crate::model::visible::visible;
use crate::net::{Body, Pool, Proxy, collect};
use crate::protocol::headers;

use super::denied::Denied;
use super::terms::{Origin, TokenWay};

/// Bytes of an answer.
pub const MAX_ANSWER: usize = 64 << 10;
/// Characters that are told of an error's code and of its description.
const MAX_CODE: usize = 64;
const MAX_DESCRIPTION: usize = 200;
/// The errors of a code or refresh token that is not good (any more), and of a client that is unknown.
const INVALID_GRANT: &str = "invalid_grant";
const INVALID_CLIENT: &str = "invalid_client";

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);

/// What is asked, and where.
pub struct TokenRequest<'a> {
    pub way: &'a TokenWay,
    pub uri: &'a Uri,
    pub form: String,
    pub authorization: Option<HeaderValue>,
    /// What nothing that is told of the answer may hold.
    pub secrets: Vec<String>,
}

impl TokenRequest<'_> {
    /// The answer, if it has a token.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn answer(self, pool: &Pool) -> Result<Map<String, Value>, Denied> {
        let Self { way, uri, form, authorization, secrets } = self;
        let place = Origin(uri);
        let response = posted(way, uri, (FORM, form), authorization, pool).await?;
        judged(&secrets, &place, response).await
    }
}

/// The response to a body of this type.
///
/// # Errors
/// If there is none.
pub async fn posted(
    way: &TokenWay,
    uri: &Uri,
    (kind, body): (HeaderValue, String),
    authorization: Option<HeaderValue>,
    pool: &Pool,
) -> Result<Response<Body>, Denied> {
    let place = Origin(uri);
    let target = way.target(uri).ok_or_else(|| format!("{place} is no place of tokens"))?;
    let path = uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    let mut request = Request::new(Body::from(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = match target.forwarder() {
        Some(_) => uri.clone(),
        None => path,
    };
    let sent = request.headers_mut();
    sent.insert(header::CONTENT_TYPE, kind);
    sent.insert(header::ACCEPT, JSON);
    if let Some(value) = authorization {
        sent.insert(header::AUTHORIZATION, value);
    }
    if let Some(value) = target.forwarder().and_then(Proxy::authorization) {
        sent.insert(header::PROXY_AUTHORIZATION, value);
    }
    let response = pool.send(&target, request).await;
    Ok(response.map_err(|failure| format!("{place} is not reached: {failure}"))?)
}

/// A client's id and secret as a header. Both parts are encoded as in a form first (RFC 6749 §2.3.1).
///
/// # Errors
/// If they cannot be sent.
pub fn basic(id: &str, secret: &str) -> Result<HeaderValue, Denied> {
    let value = HeaderValue::from_str(&format!("Basic {}", pair(id, secret)));
    let mut value = value.map_err(|_| "its credentials cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

fn pair(id: &str, secret: &str) -> String {
    STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)))
}

/// A secret as it is sent: itself, encoded, and with a client's id.
#[must_use]
pub fn as_sent(id: &str, secret: Option<&Secret>) -> Vec<String> {
    let secret = secret.map_or("", Secret::expose);
    if secret.is_empty() {
        return Vec::new();
    }
    vec![secret.to_owned(), encoded(secret), pair(id, secret)]
}

/// The answer of a response, if it has a token.
///
/// # Errors
/// What it says instead.
pub async fn judged(
    secrets: &[String],
    place: &Origin<'_>,
    response: Response<Body>,
) -> Result<Map<String, Value>, Denied> {
    let (status, after) = (response.status(), headers::retry_after(response.headers()));
    let denied = |why: String| Denied { after, ..format!("{place} {why}").into() };
    if status.is_redirection() {
        return Err(denied(format!("redirects elsewhere ({status}), which is not followed")));
    }
    let body = collect(response.into_body(), MAX_ANSWER).await;
    let body = body.map_err(|error| denied(format!("answers {status}, but {error}")))?;
    let answer: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let answer = answer.unwrap_or_default();
    if status == StatusCode::OK && answer.contains_key("access_token") {
        return Ok(answer);
    }
    let said = said(secrets, &answer);
    let why = match (status, said.is_empty()) {
        (StatusCode::OK, true) => "answers without an access_token".to_owned(),
        (_, true) => format!("answers {status}"),
        (_, false) => format!("answers {status} ({said})"),
    };
    let is = |code: &str| answer.get("error").and_then(Value::as_str) == Some(code);
    let (is_of_grant, is_of_client) = (is(INVALID_GRANT), is(INVALID_CLIENT));
    Err(Denied { is_of_grant, is_of_client, ..denied(why) })
}

/// The words of an error (RFC 6749 §5.2), without any that hold a secret.
#[must_use]
pub fn said(secrets: &[String], answer: &Map<String, Value>) -> String {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").trim();
    let is_of_code = |c: &char| c.is_ascii_alphanumeric() || "_-. ".contains(*c);
    let holds_none = |text: &str| secrets.iter().all(|secret| !text.contains(secret));
    let code: String = text("error").chars().filter(is_of_code).take(MAX_CODE).collect();
    let code = Some(code).filter(|code| holds_none(code)).unwrap_or_default();
    let description = Some(text("error_description")).filter(|text| holds_none(text));
    let description: String =
        description.unwrap_or_default().chars().take(MAX_DESCRIPTION).collect();
    match (code.is_empty(), description.is_empty()) {
        (true, true) => String::new(),
        (false, true) => code,
        (true, false) => visible(&description, MAX_DESCRIPTION * 4).to_string(),
        (false, false) => format!("{code}: {}", visible(&description, MAX_DESCRIPTION * 4)),
    }
}
