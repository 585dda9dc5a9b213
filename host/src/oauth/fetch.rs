//! One of the gateway's own tokens, or of those that it exchanges: what is asked, and the token of an
//! answer.

use std::time::Duration;

use http::{HeaderValue, Uri};
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use crate::config::Secret;
use crate::net::Pool;

use super::denied::Denied;
use super::metadata::{self, Endpoint};
use super::terms::{ClientAuth, Origin, TokenTerms};
use super::token_request::{self, TokenRequest, basic};

/// Longest time for all of it, metadata included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a token. A header of more is refused by most servers.
const MAX_TOKEN: usize = 16 << 10;
/// The time that a token is taken to be good for, where its server does not say; a refused one is
/// replaced before.
const USUAL_LIFETIME: Duration = Duration::from_secs(3600);
/// Bounds of what a server may say.
const LIFETIMES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30 * 24 * 3600)];

/// RFC 8693 §2.1 and §3.
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token as it is sent, and how long it is good for.
#[derive(Debug, Clone)]
pub struct Granted {
    pub value: HeaderValue,
    pub lifetime: Duration,
    /// With which another one can be had.
    pub refresh: Option<Secret>,
}

/// Fetches a token.
///
/// # Errors
/// Why there is none.
pub async fn fetch(terms: &TokenTerms, pool: &Pool) -> Result<Granted, Denied> {
    let fetched = tokio::time::timeout(TIMEOUT, fetched(terms, pool)).await;
    fetched.unwrap_or_else(|_| {
        let place = Origin(terms.server.uri());
        Err(format!("{place} does not answer within {} s", TIMEOUT.as_secs()).into())
    })
}

async fn fetched(terms: &TokenTerms, pool: &Pool) -> Result<Granted, Denied> {
    let Endpoint { uri, auth } = metadata::endpoint(terms, pool).await?;
    let request = TokenRequest {
        way: &terms.server.way,
        uri: &uri,
        form: form(terms, auth),
        authorization: match auth {
            ClientAuth::Basic => Some(basic(&terms.client_id, terms.client_secret.expose())?),
            ClientAuth::Post | ClientAuth::Public => None,
        },
        secrets: sent(terms),
    };
    granted(&uri, &request.answer(pool).await?)
}

/// The body of the request.
fn form(terms: &TokenTerms, auth: ClientAuth) -> String {
    let mut form = Serializer::new(String::new());
    match (&terms.subject, &terms.refresh) {
        (None, None) => {
            form.append_pair("grant_type", "client_credentials");
        }
        (None, Some(refresh)) => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", refresh.expose());
        }
        (Some(subject), _) => {
            form.append_pair("grant_type", EXCHANGE);
            form.append_pair("subject_token", subject.expose());
            form.append_pair("subject_token_type", ACCESS_TOKEN);
            form.append_pair("requested_token_type", ACCESS_TOKEN);
        }
    }
    let optional =
        [("scope", &terms.scope), ("resource", &terms.resource), ("audience", &terms.audience)];
    for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
        form.append_pair(name, value);
    }
    if auth != ClientAuth::Basic {
        form.append_pair("client_id", &terms.client_id);
    }
    if auth == ClientAuth::Post {
        form.append_pair("client_secret", terms.client_secret.expose());
    }
    form.finish()
}

/// The token of an answer.
///
/// # Errors
/// If it cannot be sent.
pub fn granted(uri: &Uri, answer: &Map<String, Value>) -> Result<Granted, Denied> {
    let denied = |why: &str| Denied::from(format!("{} {why}", Origin(uri)));
    if let Some(kind) = answer.get("token_type")
        && !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(denied("gives a token that is not of the type Bearer"));
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("");
    let value = bearer(text("access_token"));
    let value = value.ok_or_else(|| denied("gives a token that cannot be sent in a header"))?;
    let refresh = Some(text("refresh_token")).filter(|token| is_token(token)).map(Secret::new);
    Ok(Granted { value, lifetime: lifetime(answer.get("expires_in")), refresh })
}

/// The header's value for an access token; `None` if it cannot be sent.
#[must_use]
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value).filter(|_| is_token(token))
}

/// Without any character that could end the header, or that a server would not expect in it.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Some servers write the number as a text.
fn lifetime(said: Option<&Value>) -> Duration {
    let seconds = match said {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let [least, most] = LIFETIMES;
    match seconds.filter(|seconds: &f64| seconds.is_finite()) {
        Some(seconds) => {
            Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(most).clamp(least, most)
        }
        None => USUAL_LIFETIME,
    }
}

/// The secrets, as they were sent: themselves, encoded, and with the id.
fn sent(terms: &TokenTerms) -> Vec<String> {
    let mut sent = token_request::as_sent(&terms.client_id, Some(&terms.client_secret));
    for secret in terms.subject.iter().chain(&terms.refresh) {
        sent.extend(token_request::as_sent("", Some(secret)));
    }
    sent
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use http::Response;
    use serde_json::json;

    use crate::net::Body;
    use crate::oauth::token_request::{MAX_ANSWER, judged};

    use super::super::terms::{TokenPlace, TokenServer, TokenWay};
    use super::*;

    fn terms() -> TokenTerms {
        TokenTerms {
            server: TokenServer {
                place: TokenPlace::Endpoint(Uri::from_static("https://login.example/token?k=v")),
                way: TokenWay::default(),
            },
            client_id: "id:1".to_owned(),
            client_secret: Secret::new("s3cr&t +/"),
            auth: None,
            scope: "read write".to_owned(),
            resource: String::new(),
            audience: "https://api.example/".to_owned(),
            subject: None,
            refresh: None,
        }
    }

    async fn judged_as(status: u16, body: &str) -> Result<Granted, Denied> {
        let response = Response::builder().status(status).header("retry-after", "7");
        let response = response.body(Body::from(Bytes::from(body.to_owned()))).unwrap();
        let terms = terms();
        let uri = terms.server.uri();
        granted(uri, &judged(&sent(&terms), &Origin(uri), response).await?)
    }

    #[test]
    fn the_request_is_a_form_with_the_secret_where_it_is_to_be() {
        let common =
            "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fapi.example%2F";
        assert_eq!(form(&terms(), ClientAuth::Basic), common);
        let with = format!("{common}&client_id=id%3A1&client_secret=s3cr%26t+%2B%2F");
        assert_eq!(form(&terms(), ClientAuth::Post), with);
        let subject = Some(Secret::new("a.b=c"));
        let exchange = form(&TokenTerms { subject, ..terms() }, ClientAuth::Basic);
        let begin = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
                     &subject_token=a.b%3Dc&subject_token_type=urn%3A";
        assert!(exchange.starts_with(begin), "{exchange}");
        let header = basic(&terms().client_id, terms().client_secret.expose()).unwrap();
        assert!(header.is_sensitive());
        let text = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        assert_eq!(STANDARD.decode(text).unwrap(), b"id%3A1:s3cr%26t+%2B%2F");
    }

    #[tokio::test]
    async fn a_token_is_taken_only_if_it_can_be_sent() {
        let good = json!({"access_token": "a.b-c_~+/==", "token_type": "bearer", "expires_in": 60});
        let granted = judged_as(200, &good.to_string()).await.unwrap();
        assert_eq!(granted.value, "Bearer a.b-c_~+/==");
        assert!(granted.value.is_sensitive());
        assert_eq!(granted.lifetime, Duration::from_secs(60));
        for (body, why) in [
            (json!({"access_token": "a\r\nX-Evil: 1"}), "cannot be sent in a header"),
            (json!({"access_token": "a b"}), "cannot be sent in a header"),
            (json!({"access_token": "ä"}), "cannot be sent in a header"),
            (json!({"access_token": ""}), "cannot be sent in a header"),
            (json!({"access_token": 5}), "cannot be sent in a header"),
            (json!({"access_token": "x".repeat(MAX_TOKEN + 1)}), "cannot be sent in a header"),
            (json!({"access_token": "a", "token_type": "DPoP"}), "not of the type Bearer"),
            (json!({"token_type": "bearer"}), "answers without an access_token"),
            (json!(["access_token"]), "answers without an access_token"),
            (json!({"access_token": "x".repeat(MAX_ANSWER)}), "larger than"),
        ] {
            let denied = judged_as(200, &body.to_string()).await.unwrap_err();
            assert!(denied.why.starts_with("https://login.example "), "{denied:?}");
            assert!(denied.why.contains(why), "{denied:?}");
        }
        assert!(judged_as(200, "not json").await.unwrap_err().why.contains("without an"));
        assert!(judged_as(302, "").await.unwrap_err().why.contains("not followed"));
    }

    #[test]
    fn lifetimes_are_read_in_all_spellings_and_bounded() {
        let second = Duration::from_secs(1);
        for (said, expect) in [
            (json!(60), 60 * second),
            (json!("60"), 60 * second),
            (json!(59.5), Duration::from_millis(59_500)),
            (json!(0), second),
            (json!(-5), second),
            (json!(1e300), LIFETIMES[1]),
            (json!(u64::MAX), LIFETIMES[1]),
            (json!(null), USUAL_LIFETIME),
            (json!("soon"), USUAL_LIFETIME),
            (json!("NaN"), USUAL_LIFETIME),
        ] {
            assert_eq!(lifetime(Some(&said)), expect, "{said}");
        }
        assert_eq!(lifetime(None), USUAL_LIFETIME);
    }

    #[tokio::test]
    async fn an_error_is_told_without_what_was_sent() {
        let denied = |status: u16, body: Value| async move {
            judged_as(status, &body.to_string()).await.unwrap_err()
        };
        let plain = json!({"error": "invalid_client", "error_description": "no such\r\nclient"});
        let told = denied(401, plain).await;
        assert!(told.why.starts_with(
            "https://login.example answers 401 Unauthorized (invalid_client: no such"
        ));
        assert!(!told.why.contains('\n'), "{told:?}");
        assert_eq!(told.after, Some(Duration::from_secs(7)));
        for echo in ["s3cr&t +/", "got s3cr%26t+%2B%2F", "Basic aWQlM0ExOnMzY3IlMjZ0KyUyQiUyRg=="] {
            let told = denied(400, json!({"error": "e", "error_description": echo})).await;
            assert_eq!(told.why, "https://login.example answers 400 Bad Request (e)");
        }
        assert_eq!(
            denied(503, json!({})).await.why,
            "https://login.example answers 503 Service Unavailable"
        );
        let long =
            denied(400, json!({"error": "x".repeat(9999), "error_description": "y".repeat(9999)}));
        assert!(long.await.why.len() < 400);
    }
}
