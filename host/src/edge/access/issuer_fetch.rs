//! Fetches the keys of issuers, and keeps them in the data folder for the next start: an issuer that
//! is down then keeps nobody out whose key is known.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::edge::worker::Edge;
use crate::model::is_loopback_host;
use crate::net::{Body, Pool, Target, collect, decoded};
use crate::protocol::headers;
use crate::protocol::jwk::{PublicKey, key_set};
use crate::protocol::objects::object_only;
use crate::store::DataFolder;

use super::issuer::{Issuer, IssuerSettings};
use super::issuer_keys::IssuerKeys;

/// Most bytes of a document of an issuer.
const MAX_DOCUMENT: usize = 256 * 1024;
/// Longest time for one document.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses after failed attempts: the first, and the longest.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Keeps the keys of all issuers fresh, for as long as the process runs. A reload of the settings may
/// bring other issuers.
pub async fn keep_keys(edge: Arc<Edge>, pool: Pool, folder: DataFolder) {
    let mut replaced = edge.latest.replaced();
    let mut kept: Vec<KeptFresh> = Vec::new();
    loop {
        let now = edge.now();
        let issuers = now.config.issuers.iter().flat_map(|issuers| &issuers.all);
        // Those that are not taken over end.
        let mut before = std::mem::take(&mut kept);
        for issuer in issuers {
            let place = before.iter().position(|kept| Arc::ptr_eq(&kept.keys, &issuer.keys));
            kept.push(match place {
                Some(place) => before.swap_remove(place),
                None => KeptFresh::begin(Arc::clone(issuer), pool.clone(), folder.clone()),
            });
        }
        drop(before);
        drop(now);
        // Cannot fail: the edge has the sender.
        let _ = replaced.changed().await;
    }
}

/// Keys that a task keeps fresh, until this is dropped.
struct KeptFresh {
    keys: Arc<IssuerKeys>,
    task: AbortHandle,
}

impl KeptFresh {
    fn begin(issuer: Arc<Issuer>, pool: Pool, folder: DataFolder) -> Self {
        let keys = Arc::clone(&issuer.keys);
        let keeping = tokio::spawn(async move { keep(&issuer, &pool, &folder).await });
        Self { keys, task: keeping.abort_handle() }
    }
}

impl Drop for KeptFresh {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the last attempt to fetch an issuer's keys has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IssuerState {
    /// It has keys.
    Fine,
    /// It has answered that it has none.
    Keyless,
    /// It has not answered, or not with a set of keys.
    Down,
}

async fn keep(issuer: &Issuer, pool: &Pool, folder: &DataFolder) {
    let settings = &issuer.settings;
    if let Some(keys) = kept(settings, folder).await {
        issuer.keys.remember(keys);
    }
    let mut pause = RETRY;
    let mut state = IssuerState::Fine;
    loop {
        let fetched = fetch(settings, pool).await;
        let now = match &fetched {
            Ok((_, keys)) if keys.is_empty() => IssuerState::Keyless,
            Ok(_) => IssuerState::Fine,
            Err(_) => IssuerState::Down,
        };
        let name = settings.name.as_str();
        if std::mem::replace(&mut state, now) != now {
            match &fetched {
                Ok((_, keys)) if keys.is_empty() => tracing::warn!(
                    issuer = name,
                    "the issuer publishes no key that tokens could be signed with; none of its \
                     tokens counts"
                ),
                Ok(_) => tracing::info!(issuer = name, "the issuer's keys are there again"),
                Err(why) => tracing::warn!(
                    issuer = name,
                    "the issuer's keys cannot be fetched: {why}; those that are known count on"
                ),
            }
        }
        let next = match now {
            IssuerState::Fine => {
                pause = RETRY;
                settings.refresh
            }
            IssuerState::Keyless | IssuerState::Down => {
                let next = pause.min(settings.refresh);
                pause = (pause * 2).min(LONGEST_RETRY);
                next
            }
        };
        match fetched {
            Ok((text, keys)) => {
                let before = issuer.keys.number();
                issuer.keys.tried(Ok(keys));
                if issuer.keys.number() != before {
                    keep_for_next(settings, folder, &text).await;
                }
            }
            Err(why) => issuer.keys.tried(Err(why)),
        }
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = issuer.keys.wanted() => {}
        }
    }
}

/// The issuer's keys, and the text that they stand in. What an issuer that answers does not publish
/// is withdrawn, all of it too.
async fn fetch(settings: &IssuerSettings, pool: &Pool) -> Result<(String, Vec<PublicKey>), String> {
    let url = match &settings.keys_url {
        Some(url) => url.clone(),
        None => discovered(settings, pool).await?,
    };
    let text = document(&url, pool).await?;
    let keys = key_set(text.as_bytes()).map_err(|why| format!("{} {why}", shown(&url)))?;
    Ok((text, keys))
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}
object_only!(Metadata);

/// Where the issuer says that its keys are. It may publish this as an OpenID provider, or as an
/// OAuth 2.0 server (RFC 8414).
async fn discovered(settings: &IssuerSettings, pool: &Pool) -> Result<String, String> {
    let mut first = None;
    for url in metadata_urls(&settings.issuer) {
        let found = document(&url, pool).await.and_then(|text| {
            let metadata: Metadata = serde_json::from_str(&text)
                .map_err(|_| format!("{url} is not the metadata of an issuer"))?;
            // Another issuer's keys would let its tokens in (RFC 8414 §3.3).
            if metadata.issuer != settings.issuer {
                return Err(format!("{url} is the metadata of another issuer"));
            }
            let keys = metadata.jwks_uri.ok_or_else(|| format!("{url} has no jwks_uri"))?;
            target(&keys).map(|_| keys)
        });
        match found {
            Ok(keys) => return Ok(keys),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or_else(|| "it has no URL".to_owned()))
}

/// OpenID Connect Discovery §4.1, and RFC 8414 §3.1, which inserts its path before that of the issuer.
fn metadata_urls(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let mut urls = vec![format!("{issuer}/.well-known/openid-configuration")];
    if let Some((scheme, rest)) = issuer.split_once("://") {
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        urls.push(format!("{scheme}://{host}/.well-known/oauth-authorization-server{path}"));
    }
    urls
}

/// Where to connect for a URL. Keys that came over a readable connection could be anybody's.
fn target(url: &str) -> Result<(Target, Uri), String> {
    let wrong = || format!("{} is neither an https URL nor one of this machine", shown(url));
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let is_safe = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => uri.host().is_some_and(is_loopback_host),
        _ => false,
    };
    let target = Target::of(&uri).filter(|_| is_safe).ok_or_else(wrong)?;
    let path = uri.path_and_query().cloned().ok_or_else(wrong)?;
    Ok((target, Uri::from(path)))
}

/// The URL for people, without its query, which may hold a key.
fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    url.chars().take(end.min(200)).collect()
}

async fn document(url: &str, pool: &Pool) -> Result<String, String> {
    match tokio::time::timeout(TIMEOUT, read(url, pool)).await {
        Ok(read) => read,
        Err(_) => Err(format!("{} has not answered within {} s", shown(url), TIMEOUT.as_secs())),
    }
}

async fn read(url: &str, pool: &Pool) -> Result<String, String> {
    let (target, uri) = target(url)?;
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() = uri;
    let json = header::HeaderValue::from_static(headers::JSON);
    request.headers_mut().insert(header::ACCEPT, json);
    let place = shown(url);
    let response = pool.send(&target, request).await.map_err(|why| format!("{place}: {why}"))?;
    if response.status() != StatusCode::OK {
        return Err(format!("{place} has answered {}", response.status()));
    }
    let body = decoded(response, Some(MAX_DOCUMENT)).into_body();
    let bytes = collect(body, MAX_DOCUMENT).await.map_err(|why| format!("{place}: {why}"))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| format!("{place} is not a text"))
}

fn file(settings: &IssuerSettings) -> String {
    format!("issuer-keys-{}", settings.name)
}

/// The keys that an earlier start has kept. Those of another issuer that had the name are not these.
async fn kept(settings: &IssuerSettings, folder: &DataFolder) -> Option<Vec<PublicKey>> {
    let (folder, file) = (folder.clone(), file(settings));
    let text = tokio::task::spawn_blocking(move || folder.read(&file)).await.ok()??;
    let kept: Value = serde_json::from_slice(&text).ok()?;
    let is_same = kept.get("issuer")?.as_str()? == settings.issuer;
    let keys = kept.get("keys")?.as_str().filter(|_| is_same)?;
    key_set(keys.as_bytes()).ok().filter(|keys| !keys.is_empty())
}

async fn keep_for_next(settings: &IssuerSettings, folder: &DataFolder, keys: &str) {
    let text = json!({"issuer": settings.issuer, "keys": keys}).to_string();
    let (folder, file) = (folder.clone(), file(settings));
    // The folder logs a failure, once in a while; the keys are fetched at the next start too.
    let _ = tokio::task::spawn_blocking(move || folder.write(&file, text.as_bytes())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_where_both_standards_say() {
        assert_eq!(
            metadata_urls("https://idp.example/realms/a/"),
            [
                "https://idp.example/realms/a/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/realms/a",
            ]
        );
        assert_eq!(
            metadata_urls("https://idp.example")[1],
            "https://idp.example/.well-known/oauth-authorization-server"
        );
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for url in [
            "https://idp.example/keys?x",
            "http://127.0.0.1:1/k",
            "http://[::1]:1/",
            "http://localhost",
        ] {
            assert!(target(url).is_ok(), "{url}");
        }
        for url in
            ["http://idp.example/keys", "http://localhost.evil/", "file:///etc/passwd", "", "/keys"]
        {
            assert!(target(url).is_err(), "{url}");
        }
        assert_eq!(shown("https://idp.example/keys?key=secret"), "https://idp.example/keys");
    }
}
