//! A token server (RFC 6749 §3.2) that a test plays, with the metadata of an issuer (RFC 8414).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::scripted::{Asked, Out, Scripted};

/// The client that it knows.
pub const CLIENT: &str = "mooring-client";
/// That client's secret, which must show nowhere else.
pub const SECRET: &str = "canary-secret&of the+client";

pub struct TokenServer {
    server: Scripted,
    state: Arc<Mutex<State>>,
}

struct State {
    secret: String,
    /// How long tokens are good for, and whether that is said.
    lifetime: Duration,
    /// Tokens given so far.
    count: usize,
    /// Tokens and their ends.
    issued: BTreeMap<String, Instant>,
    /// Answers every request so, with this status and body.
    instead: Option<(String, String)>,
}

impl TokenServer {
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same, over TLS if there is a configuration for it.
    #[must_use]
    pub fn start_with(tls: Option<ServerConfig>) -> Self {
        let state = Arc::new(Mutex::new(State {
            secret: SECRET.to_owned(),
            lifetime: Duration::from_secs(600),
            count: 0,
            issued: BTreeMap::new(),
            instead: None,
        }));
        let (held, is_tls) = (Arc::clone(&state), tls.is_some());
        let server = Scripted::start_with(tls, move |asked, out| {
            answer(&mut locked(&held), asked, out, is_tls);
            None
        });
        Self { server, state }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// An `oauth` for a client of it.
    #[must_use]
    pub fn oauth(&self) -> Value {
        json!({"clientId": CLIENT, "clientSecret": SECRET, "tokenUrl": self.url("/token")})
    }

    /// All requests so far for a token.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.server.all().into_iter().filter(|asked| asked.path == "/token").collect()
    }

    /// The token that a request wants exchanged.
    #[must_use]
    pub fn subject_of(asked: &Asked) -> Option<String> {
        form_of(&String::from_utf8_lossy(&asked.body)).remove("subject_token")
    }

    /// From now on tokens are good for so long.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// From now on the client has this secret.
    pub fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state().secret);
    }

    /// Answers every request so, until it is told otherwise.
    pub fn set_instead(&self, instead: Option<(&str, &str)>) {
        self.state().instead = instead.map(|(status, body)| (status.to_owned(), body.to_owned()));
    }

    /// No token that was issued is good any more.
    pub fn revoke_all(&self) {
        self.state().issued.clear();
    }

    /// What a server asks that gets a token: whether it is good now.
    pub fn judge(&self) -> impl Fn(&Asked) -> bool + Send + Sync + 'static + use<> {
        let state = Arc::clone(&self.state);
        move |asked| {
            let token = asked.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
            let state = locked(&state);
            token.and_then(|token| state.issued.get(token)).is_some_and(|end| *end > Instant::now())
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(state: &mut State, asked: &Asked, out: Out, is_tls: bool) {
    if let Some((status, body)) = &state.instead {
        return out.reply(status, &["Content-Type: application/json"], body.as_bytes());
    }
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/.well-known/oauth-authorization-server/issuer") => {
            let scheme = if is_tls { "https" } else { "http" };
            let origin = format!("{scheme}://{}", asked.header("host").unwrap_or(""));
            out.json(&json!({
                "issuer": format!("{origin}/issuer"),
                "token_endpoint": format!("{origin}/token"),
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }));
        }
        ("POST", "/token") => give(state, asked, out),
        _ => out.reply("404 Not Found", &[], b""),
    }
}

fn give(state: &mut State, asked: &Asked, out: Out) {
    let body = String::from_utf8_lossy(&asked.body).into_owned();
    let form = form_of(&body);
    let shown = match asked.header("authorization").and_then(|text| text.strip_prefix("Basic ")) {
        Some(basic) => {
            let pair = base64::engine::general_purpose::STANDARD.decode(basic).unwrap_or_default();
            let pair = String::from_utf8_lossy(&pair).into_owned();
            let (id, secret) = pair.split_once(':').unwrap_or((&pair, ""));
            (decoded(id), decoded(secret))
        }
        None => {
            let text = |name: &str| form.get(name).cloned().unwrap_or_default();
            (text("client_id"), text("client_secret"))
        }
    };
    if shown != (CLIENT.to_owned(), state.secret.clone()) {
        let body =
            json!({"error": "invalid_client", "error_description": format!("not {}", shown.1)});
        let body = body.to_string();
        return out.reply("401 Unauthorized", &["Content-Type: application/json"], body.as_bytes());
    }
    let is_exchange = form.contains_key("subject_token");
    let grant = match is_exchange {
        true => "urn:ietf:params:oauth:grant-type:token-exchange",
        false => "client_credentials",
    };
    if form.get("grant_type").map(String::as_str) != Some(grant) {
        let body = json!({"error": "unsupported_grant_type"}).to_string();
        return out.reply("400 Bad Request", &["Content-Type: application/json"], body.as_bytes());
    }
    state.count += 1;
    let token = format!("canary-token-{}", state.count);
    state.issued.insert(token.clone(), Instant::now() + state.lifetime);
    let seconds = state.lifetime.as_secs_f64();
    out.json(&json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds}));
}

/// The members of a form.
pub(crate) fn form_of(body: &str) -> BTreeMap<String, String> {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// What a form means (WHATWG URL, "application/x-www-form-urlencoded").
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("00");
                u8::from_str_radix(digits, 16).unwrap_or(0)
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
