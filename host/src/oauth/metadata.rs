//! Where an issuer has its tokens, and how clients show their secrets there: its metadata (RFC 8414,
//! and that of OpenID Connect, which many have alone).

use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde_json::{Map, Value};

use crate::net::{Body, Pool, Proxy, collect};
use crate::protocol::headers;

use super::denied::Denied;
use super::terms::{ClientAuth, Origin, TokenPlace, TokenTerms, TokenWay};

const JSON: HeaderValue = HeaderValue::from_static(headers::JSON);
/// Bytes of an issuer's metadata.
const MAX_METADATA: usize = 256 << 10;

/// Where tokens are asked for, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub uri: Uri,
    pub auth: ClientAuth,
}

/// The endpoint of these terms. An issuer is asked each time: that is seldom, and it may move.
///
/// # Errors
/// Why it is not known.
pub async fn endpoint(terms: &TokenTerms, pool: &Pool) -> Result<Endpoint, Denied> {
    let issuer = match &terms.server.place {
        TokenPlace::Endpoint(uri) => {
            let auth = terms.auth.unwrap_or(ClientAuth::Basic);
            return Ok(Endpoint { uri: uri.clone(), auth });
        }
        TokenPlace::Issuer(issuer) => issuer,
    };
    let found = of_issuer(&terms.server.way, pool, issuer).await?;
    Ok(endpoint_in(terms, issuer, &found)?)
}

/// Where an issuer's metadata may be (2025-11-25, basic/authorization, "Authorization Server Metadata
/// Discovery"): where it has a path, that of OpenID Connect is found in two ways.
fn places(issuer: &Uri) -> Vec<Uri> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    let place = |path: String| {
        let builder = Uri::builder().scheme(issuer.scheme()?.clone());
        builder.authority(issuer.authority()?.clone()).path_and_query(path).build().ok()
    };
    paths.into_iter().filter_map(place).collect()
}

/// What is at a place where metadata may be.
pub enum Document {
    Found(Map<String, Value>),
    /// It is not there: what came instead, behind "it".
    Absent(String),
}

/// A document of metadata, or what came in its place: many sites have a page for every path.
///
/// # Errors
/// If the place cannot be asked now: whether it is there is not known.
pub async fn document(way: &TokenWay, pool: &Pool, uri: &Uri) -> Result<Document, Denied> {
    let place = Origin(uri);
    let target = way.target(uri).ok_or_else(|| format!("{place} is no issuer"))?;
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = match target.forwarder() {
        Some(_) => uri.clone(),
        None => uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
    };
    request.headers_mut().insert(header::ACCEPT, JSON);
    if let Some(value) = target.forwarder().and_then(Proxy::authorization) {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
    }
    let response = pool.send(&target, request).await;
    let response = response.map_err(|failure| format!("{place} is not reached: {failure}"))?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        let after = headers::retry_after(response.headers());
        let why = format!("{place} answers {status} where its metadata may be");
        return Err(Denied { after, ..why.into() });
    }
    if status != StatusCode::OK {
        return Ok(Document::Absent(format!("answers {status}")));
    }
    let body = collect(response.into_body(), MAX_METADATA).await;
    let body = body.map_err(|error| format!("{place} has metadata that is not read: {error}"))?;
    Ok(match serde_json::from_slice(&body) {
        Ok(found) => Document::Found(found),
        Err(_) => Document::Absent("answers what is not a JSON object".to_owned()),
    })
}

/// The metadata of an issuer, which must be its own: another one's would send secrets and users to
/// where nobody has said (RFC 8414 §3.3).
///
/// # Errors
/// Why there is none.
pub async fn of_issuer(
    way: &TokenWay,
    pool: &Pool,
    issuer: &Uri,
) -> Result<Map<String, Value>, Denied> {
    let mut instead = String::new();
    for uri in places(issuer) {
        match document(way, pool, &uri).await? {
            Document::Found(found) => {
                is_of(issuer, &found)?;
                return Ok(found);
            }
            Document::Absent(what) => instead = what,
        }
    }
    Err(format!("{} has no metadata of an issuer: it {instead}", Origin(issuer)).into())
}

fn is_of(issuer: &Uri, found: &Map<String, Value>) -> Result<(), String> {
    let named = found.get("issuer").and_then(Value::as_str);
    let same = |one: &str| one.trim_end_matches('/') == issuer.to_string().trim_end_matches('/');
    match named.is_some_and(same) {
        true => Ok(()),
        false => Err(format!("{} has metadata of another issuer", Origin(issuer))),
    }
}

/// The URL that an issuer's metadata names, if it can be used: an `https` issuer may name only `https`.
#[must_use]
pub fn named_url(issuer: &Uri, found: &Map<String, Value>, name: &str) -> Option<Uri> {
    let uri: Uri = found.get(name)?.as_str()?.parse().ok()?;
    let is_safe = match issuer.scheme_str() {
        Some("https") => uri.scheme_str() == Some("https"),
        _ => matches!(uri.scheme_str(), Some("http" | "https")),
    };
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_safe && is_plain).then_some(uri)
}

/// The endpoint that a document names.
fn endpoint_in(
    terms: &TokenTerms,
    issuer: &Uri,
    found: &Map<String, Value>,
) -> Result<Endpoint, String> {
    let uri = named_url(issuer, found, "token_endpoint").ok_or_else(|| {
        format!("{} has metadata without a usable token_endpoint", Origin(issuer))
    })?;
    let auth = terms.auth.unwrap_or_else(|| offered(found));
    Ok(Endpoint { uri, auth })
}

/// How the issuer lets clients show their secrets; without a word, by a header.
#[must_use]
pub fn offered(found: &Map<String, Value>) -> ClientAuth {
    let methods = found.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let has = |name: &str| methods.is_some_and(|all| all.iter().any(|method| method == name));
    match has("client_secret_post") && !has("client_secret_basic") {
        true => ClientAuth::Post,
        false => ClientAuth::Basic,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::terms::TokenServer;
    use super::*;
    use crate::config::Secret;

    fn terms(issuer: &'static str) -> TokenTerms {
        TokenTerms {
            server: TokenServer {
                place: TokenPlace::Issuer(Uri::from_static(issuer)),
                way: TokenWay::default(),
            },
            client_id: "id".to_owned(),
            client_secret: Secret::new("secret"),
            auth: None,
            scope: String::new(),
            resource: String::new(),
            audience: String::new(),
            subject: None,
            refresh: None,
        }
    }

    #[test]
    fn metadata_is_looked_for_as_both_standards_say() {
        let places = |issuer| -> Vec<String> {
            places(&Uri::from_static(issuer)).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            places("https://login.example"),
            [
                "https://login.example/.well-known/oauth-authorization-server",
                "https://login.example/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://login.example:8443/realms/a/"),
            [
                "https://login.example:8443/.well-known/oauth-authorization-server/realms/a",
                "https://login.example:8443/.well-known/openid-configuration/realms/a",
                "https://login.example:8443/realms/a/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn only_the_issuers_own_metadata_counts() {
        let of = |found: Value| {
            let issuer = "https://login.example/a";
            let (found, uri) = (found.as_object().unwrap().clone(), Uri::from_static(issuer));
            is_of(&uri, &found).and_then(|()| endpoint_in(&terms(issuer), &uri, &found))
        };
        let good = of(json!({"issuer": "https://login.example/a/",
            "token_endpoint": "https://tokens.example/t"}));
        let expect = Uri::from_static("https://tokens.example/t");
        assert_eq!(good, Ok(Endpoint { uri: expect, auth: ClientAuth::Basic }));
        let post = of(json!({"issuer": "https://login.example/a",
            "token_endpoint": "https://tokens.example/t",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "none"]}));
        assert_eq!(post.unwrap().auth, ClientAuth::Post);
        for (found, why) in [
            (json!({"token_endpoint": "https://tokens.example/t"}), "another issuer"),
            (
                json!({"issuer": "https://evil.example", "token_endpoint": "https://tokens.example/t"}),
                "another issuer",
            ),
            (json!({"issuer": "https://login.example/a"}), "usable token_endpoint"),
            (
                json!({"issuer": "https://login.example/a", "token_endpoint": "http://tokens.example/t"}),
                "usable token_endpoint",
            ),
            (
                json!({"issuer": "https://login.example/a", "token_endpoint": "https://a@tokens.example/t"}),
                "usable token_endpoint",
            ),
            (
                json!({"issuer": "https://login.example/a", "token_endpoint": "/relative"}),
                "usable token_endpoint",
            ),
        ] {
            assert!(of(found).unwrap_err().contains(why), "{why}");
        }
    }
}
