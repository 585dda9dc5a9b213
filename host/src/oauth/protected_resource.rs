//! What a remote server says of its authorization: the metadata of protected resources (RFC 9728), where
//! its challenge or its own URL says that it is (2025-11-25, basic/authorization, "Authorization Server
//! Location").

use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde_json::{Map, Value};

use crate::net::{Body, Pool, Proxy};
use crate::protocol::{headers, jsonrpc};

use super::challenge::WantsToken;
use super::denied::Denied;
use super::metadata::{Document, document};
use super::terms::{Origin, TokenWay};

/// Where a server's users log in, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedResource {
    pub issuer: Uri,
    /// What it lets tokens have; empty if it does not say.
    pub scopes: Vec<String>,
}

/// What the server at this URL says. Without any metadata, its own origin is the issuer, as servers of
/// 2025-03-26 have it. The scopes of its challenge go before those of its metadata (2025-11-25,
/// basic/authorization, "Scope Selection Strategy").
///
/// # Errors
/// If it cannot be asked, or says nothing that can be used.
pub async fn of(server: &Uri, way: &TokenWay, pool: &Pool) -> Result<ProtectedResource, Denied> {
    let (named, scopes) = match challenged(server, way, pool).await? {
        Some(wanted) => (wanted.metadata, wanted.scopes),
        None => (None, Vec::new()),
    };
    let named = named.and_then(|url| url.parse().ok()).filter(|url| is_at_origin(url, server));
    let places = named.into_iter().chain(well_known(server));
    for place in places {
        if let Document::Found(found) = document(way, pool, &place).await? {
            let found = judged(server, &found)?;
            return Ok(match scopes.is_empty() {
                true => found,
                false => ProtectedResource { scopes, ..found },
            });
        }
    }
    let issuer = at_origin(server, "").ok_or_else(|| format!("{} is no URL", Origin(server)))?;
    Ok(ProtectedResource { issuer, scopes })
}

/// Whether a URL that a server names is at its own origin. Another one is not asked: it would be the
/// server that decides which machines the gateway talks to.
fn is_at_origin(url: &Uri, server: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().map(str::to_ascii_lowercase);
        (uri.scheme().cloned(), host, uri.port_u16().unwrap_or(usual))
    };
    origin(url) == origin(server)
}

/// The server's demand for a token. One that has no event stream for GET is asked by a message that
/// does nothing.
async fn challenged(
    server: &Uri,
    way: &TokenWay,
    pool: &Pool,
) -> Result<Option<WantsToken>, Denied> {
    let refused = asked(server, way, pool, Method::GET, Body::Empty).await?;
    if refused.is_some() {
        return Ok(refused);
    }
    let ping = Body::from(jsonrpc::request("1", "ping", "{}"));
    asked(server, way, pool, Method::POST, ping).await
}

async fn asked(
    server: &Uri,
    way: &TokenWay,
    pool: &Pool,
    method: Method,
    body: Body,
) -> Result<Option<WantsToken>, Denied> {
    let place = Origin(server);
    let target = way.target(server).ok_or_else(|| format!("{place} is no URL of a server"))?;
    let mut request = Request::new(body);
    if method == Method::POST {
        let json = HeaderValue::from_static(headers::JSON);
        request.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    *request.method_mut() = method;
    *request.uri_mut() = match target.forwarder() {
        Some(_) => server.clone(),
        None => server.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
    };
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    request.headers_mut().insert(header::ACCEPT, accept);
    if let Some(value) = target.forwarder().and_then(Proxy::authorization) {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
    }
    let response = pool.send(&target, request).await;
    let response = response.map_err(|failure| format!("{place} is not reached: {failure}"))?;
    Ok(WantsToken::of(&response).filter(|_| response.status() == StatusCode::UNAUTHORIZED))
}

/// Where the metadata of a URL may be (RFC 9728 §3.1): behind its path, and at its root.
fn well_known(server: &Uri) -> Vec<Uri> {
    const ROOT: &str = "/.well-known/oauth-protected-resource";
    let path = server.path().trim_end_matches('/');
    let paths = [format!("{ROOT}{path}"), ROOT.to_owned()];
    let places = paths.iter().take(if path.is_empty() { 1 } else { 2 });
    places.filter_map(|path| at_origin(server, path)).collect()
}

fn at_origin(server: &Uri, path: &str) -> Option<Uri> {
    let builder = Uri::builder().scheme(server.scheme()?.clone());
    let path = if path.is_empty() { "/" } else { path };
    builder.authority(server.authority()?.clone()).path_and_query(path).build().ok()
}

fn judged(server: &Uri, found: &Map<String, Value>) -> Result<ProtectedResource, String> {
    let place = Origin(server);
    let text = |name: &str| found.get(name).and_then(Value::as_str);
    let is_its = |named: &str| {
        let whole = server.to_string();
        let (named, whole) = (named.trim_end_matches('/'), whole.trim_end_matches('/'));
        // That of the root stands for all below it.
        named == whole || whole.strip_prefix(named).is_some_and(|rest| rest.starts_with(['/', '?']))
    };
    if !text("resource").is_some_and(is_its) {
        return Err(format!("{place} has metadata of another resource"));
    }
    let all = |name: &str| found.get(name).and_then(Value::as_array).into_iter().flatten();
    let usable = |uri: &Uri| {
        let is_safe = match server.scheme_str() {
            Some("https") => uri.scheme_str() == Some("https"),
            _ => matches!(uri.scheme_str(), Some("http" | "https")),
        };
        is_safe && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    let issuers = all("authorization_servers").filter_map(Value::as_str);
    let issuer = issuers.filter_map(|issuer| issuer.parse().ok()).find(usable);
    let issuer = issuer
        .ok_or_else(|| format!("{place} has metadata without a usable authorization server"))?;
    let scopes = all("scopes_supported").filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(ProtectedResource { issuer, scopes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_looked_for_behind_the_path_and_at_the_root() {
        let places = |server| -> Vec<String> {
            well_known(&Uri::from_static(server)).iter().map(ToString::to_string).collect()
        };
        let root = "https://a.example/.well-known/oauth-protected-resource";
        assert_eq!(places("https://a.example/v1/mcp"), [&*format!("{root}/v1/mcp"), root]);
        assert_eq!(places("https://a.example"), [root]);
    }

    #[test]
    fn a_place_is_at_the_servers_origin_however_that_is_written() {
        let is_at = |url: &str| {
            is_at_origin(&url.parse().unwrap(), &Uri::from_static("https://a.example/mcp"))
        };
        assert!(is_at("https://a.example/x") && is_at("https://A.example:443/x"));
        for other in ["http://a.example/x", "https://a.example:444/x", "https://b.example/x"] {
            assert!(!is_at(other), "{other}");
        }
    }

    #[test]
    fn only_metadata_of_the_server_itself_counts() {
        let of = |found: Value| {
            judged(&Uri::from_static("https://a.example/mcp"), found.as_object().unwrap())
        };
        for resource in ["https://a.example/mcp", "https://a.example/mcp/", "https://a.example"] {
            let found = of(json!({"resource": resource, "scopes_supported": ["read", 1],
                "authorization_servers": ["http://plain.example", "https://login.example/t"]}));
            let found = found.unwrap();
            assert_eq!(found.issuer, "https://login.example/t");
            assert_eq!(found.scopes, ["read"]);
        }
        for (found, why) in [
            (json!({"authorization_servers": ["https://l.example"]}), "another resource"),
            (
                json!({"resource": "https://a.example/mc", "authorization_servers": ["https://l.example"]}),
                "another resource",
            ),
            (
                json!({"resource": "https://evil.example/mcp", "authorization_servers": ["https://l.example"]}),
                "another resource",
            ),
            (json!({"resource": "https://a.example/mcp"}), "usable authorization server"),
            (
                json!({"resource": "https://a.example/mcp", "authorization_servers": ["http://l.example"]}),
                "usable authorization server",
            ),
        ] {
            assert!(of(found).unwrap_err().contains(why), "{why}");
        }
    }
}
