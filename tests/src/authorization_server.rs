//! An authorization server at which users log in (RFC 6749 §4.1, RFC 7636, RFC 7591, RFC 9207), a guard for
//! a server that takes its tokens, and the browser of a user.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::gateway::Gateway;
use crate::http::{Request, Response};
use crate::scripted::{Asked, Out, Scripted};
use crate::token_server;

const JSON: &str = "Content-Type: application/json";

pub struct AuthorizationServer {
    server: Scripted,
    state: Arc<Mutex<State>>,
    refusals: Arc<Held>,
    tokens: Arc<Held>,
}

/// Whether answers are kept waiting.
#[derive(Default)]
struct Held {
    are_held: Mutex<bool>,
    changed: Condvar,
}

impl Held {
    fn hold(&self, are_held: bool) {
        *self.are_held.lock().unwrap_or_else(PoisonError::into_inner) = are_held;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let mut are_held = self.are_held.lock().unwrap_or_else(PoisonError::into_inner);
        while *are_held {
            are_held = self.changed.wait(are_held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct State {
    /// Who logs in next.
    user: String,
    lifetime: Duration,
    count: usize,
    /// Codes, with the query of the login and its user.
    codes: BTreeMap<String, (BTreeMap<String, String>, String)>,
    /// Access tokens, with their users and ends.
    access: BTreeMap<String, (String, Instant)>,
    /// Refresh tokens, with their users.
    refresh: BTreeMap<String, String>,
    /// Named in answers to browsers in place of its own name.
    other_issuer: Option<String>,
    /// Clients that have registered themselves, and how many of the first are not known any more.
    clients: usize,
    forgotten: usize,
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        self.refusals.hold(false);
        self.tokens.hold(false);
    }
}

impl Default for AuthorizationServer {
    fn default() -> Self {
        Self::start()
    }
}

impl AuthorizationServer {
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            user: "nobody".to_owned(),
            lifetime: Duration::from_secs(600),
            count: 0,
            codes: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            other_issuer: None,
            clients: 0,
            forgotten: 0,
        }));
        let held = Arc::clone(&state);
        let tokens = Arc::<Held>::default();
        let kept = Arc::clone(&tokens);
        let server = Scripted::start(move |asked, out| {
            if asked.path == "/token" {
                kept.wait();
            }
            answer(&mut locked(&held), asked, out);
            None
        });
        Self { server, state, refusals: Arc::default(), tokens }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// Who logs in from now on.
    pub fn set_user(&self, user: &str) {
        user.clone_into(&mut self.state().user);
    }

    /// From now on access tokens are good for so long.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// No access token is good any more.
    pub fn revoke_access(&self) {
        self.state().access.clear();
    }

    /// No refresh token is good any more either.
    pub fn revoke_all(&self) {
        self.state().access.clear();
        self.state().refresh.clear();
    }

    /// A refresh token that was given before.
    pub fn has_given(&self, refresh: &str, user: &str) {
        self.state().refresh.insert(refresh.to_owned(), user.to_owned());
    }

    /// Clients that have registered themselves until now are not known any more.
    pub fn forget_clients(&self) {
        let mut state = self.state();
        state.forgotten = state.clients;
    }

    /// From now on requests for tokens wait, until they are let go.
    pub fn hold_tokens(&self) {
        self.tokens.hold(true);
    }

    pub fn let_tokens_go(&self) {
        self.tokens.hold(false);
    }

    /// From now on guards keep what they refuse waiting, until they are let go.
    pub fn hold_refusals(&self) {
        self.refusals.hold(true);
    }

    pub fn let_refusals_go(&self) {
        self.refusals.hold(false);
    }

    /// Calls itself like this when browsers go back.
    pub fn calls_itself(&self, name: &str) {
        self.state().other_issuer = Some(name.to_owned());
    }

    /// The grants of all requests for tokens so far.
    #[must_use]
    pub fn grants(&self) -> Vec<String> {
        let asked = self.server.all().into_iter().filter(|asked| asked.path == "/token");
        asked.filter_map(|asked| form_of(&asked.body).remove("grant_type")).collect()
    }

    /// The scopes that users were asked for, login by login.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let asked = self.server.all().into_iter();
        let queries = asked.filter_map(|asked| {
            asked.path.strip_prefix("/authorize?").map(|query| form_of(query.as_bytes()))
        });
        queries.map(|mut query| query.remove("scope").unwrap_or_default()).collect()
    }

    /// How often a client has registered itself.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.server.all().iter().filter(|asked| asked.path == "/register").count()
    }

    /// Lets in what has a good token, and tells others where the metadata is, which it answers too.
    pub fn guard(&self) -> impl Fn(&Asked, Out) -> Option<Out> + Send + Sync + 'static + use<> {
        let (state, issuer) = (Arc::clone(&self.state), self.url(""));
        let refusals = Arc::clone(&self.refusals);
        move |asked, out| {
            let own = format!("http://{}", asked.header("host").unwrap_or(""));
            let metadata = "/.well-known/oauth-protected-resource/mcp";
            if asked.path == metadata {
                out.json(&json!({
                    "resource": format!("{own}/mcp"), "authorization_servers": [issuer],
                    "scopes_supported": ["mcp.call"],
                }));
                return None;
            }
            // The lock is let go before anything waits.
            let is_known = locked(&state).user_of(asked).is_some();
            if is_known {
                return Some(out);
            }
            refusals.wait();
            let challenge =
                format!("WWW-Authenticate: Bearer resource_metadata=\"{own}{metadata}\"");
            out.reply("401 Unauthorized", &[&challenge], b"no");
            None
        }
    }

    /// The user whose token a request has.
    #[must_use]
    pub fn user_of(&self, asked: &Asked) -> Option<String> {
        let token = asked.header("authorization")?.strip_prefix("Bearer ")?;
        self.state().access.get(token).map(|(user, _)| user.clone())
    }

    /// Has a user open the URL of an invitation, go on from the gateway's page, log in, and come back.
    /// Returns the last page.
    #[track_caller]
    pub fn log_in(&self, gateway: &Gateway, user: &str, url: &str) -> Response {
        let (cookie, back) = self.come_back(gateway, user, url);
        Request::get(&back).header("Cookie", &cookie).send(gateway.address())
    }

    /// The same, up to where the browser is sent back: its cookie, and the target.
    #[track_caller]
    pub fn come_back(&self, gateway: &Gateway, user: &str, url: &str) -> (String, String) {
        self.set_user(user);
        let page = Request::get(target(url)).send(gateway.address()).expect(200);
        let cookie = page.header("set-cookie").expect("a cookie").to_owned();
        let cookie = cookie.split(';').next().unwrap_or("").to_owned();
        let text = page.text();
        let link = text.split("href=\"").nth(1).and_then(|rest| rest.split('"').next());
        let link = link.unwrap_or_else(|| panic!("no link: {text}")).replace("&amp;", "&");
        assert!(link.starts_with(&self.url("/authorize?")), "{link}");
        let sent = Request::get(target(&link)).send(self.server.address()).expect(302);
        let back = sent.header("location").expect("where to go back to").to_owned();
        (cookie, target(&back).to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// Path and query of a URL.
#[must_use]
pub fn target(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or_else(|| panic!("no URL: {url}"));
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn user_of(&self, asked: &Asked) -> Option<&str> {
        let token = asked.header("authorization")?.strip_prefix("Bearer ")?;
        let (user, end) = self.access.get(token)?;
        (*end > Instant::now()).then_some(user)
    }

    fn give(&mut self, user: &str, out: Out) {
        self.count += 1;
        let (access, refresh) =
            (format!("canary-access-{}", self.count), format!("canary-refresh-{}", self.count));
        self.access.insert(access.clone(), (user.to_owned(), Instant::now() + self.lifetime));
        self.refresh.insert(refresh.clone(), user.to_owned());
        out.json(&json!({
            "access_token": access, "token_type": "Bearer", "refresh_token": refresh,
            "expires_in": self.lifetime.as_secs_f64(),
        }));
    }
}

fn answer(state: &mut State, asked: &Asked, out: Out) {
    let own = format!("http://{}", asked.header("host").unwrap_or(""));
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    match (asked.method.as_str(), path) {
        ("GET", "/.well-known/oauth-authorization-server") => out.json(&json!({
            "issuer": own, "authorization_endpoint": format!("{own}/authorize"),
            "token_endpoint": format!("{own}/token"),
            "registration_endpoint": format!("{own}/register"),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": true,
        })),
        ("POST", "/register") => {
            state.clients += 1;
            let id = format!("registered-{}", state.clients);
            let body = json!({"client_id": id, "token_endpoint_auth_method": "none"}).to_string();
            out.reply("201 Created", &[JSON], body.as_bytes());
        }
        ("GET", "/authorize") => {
            let login = form_of(query.as_bytes());
            let code = format!("code-{}", state.codes.len() + 1);
            let issuer = state.other_issuer.clone().unwrap_or(own);
            let back = format!(
                "Location: {}?code={code}&state={}&iss={}",
                login["redirect_uri"],
                login["state"],
                issuer.replace(':', "%3A").replace('/', "%2F"),
            );
            let user = state.user.clone();
            state.codes.insert(code, (login, user));
            out.reply("302 Found", &[&back], b"");
        }
        ("POST", "/token") => token(state, asked, out),
        _ => out.reply("404 Not Found", &[], b""),
    }
}

fn token(state: &mut State, asked: &Asked, out: Out) {
    let form = form_of(&asked.body);
    let text = |name: &str| form.get(name).map_or("", String::as_str);
    let registered = text("client_id").strip_prefix("registered-");
    let number: Option<usize> = registered.and_then(|number| number.parse().ok());
    if number.is_some_and(|number| number <= state.forgotten) {
        let body = json!({"error": "invalid_client"}).to_string();
        return out.reply("401 Unauthorized", &[JSON], body.as_bytes());
    }
    let user = match text("grant_type") {
        "authorization_code" => state.codes.remove(text("code")).and_then(|(login, user)| {
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier")));
            let same = |name: &str| login.get(name).map(String::as_str) == Some(text(name));
            let is_bound = login["code_challenge"] == challenge
                && login["code_challenge_method"] == "S256"
                && same("redirect_uri")
                && same("resource");
            is_bound.then_some(user)
        }),
        // Each is good once.
        "refresh_token" => state.refresh.remove(text("refresh_token")),
        _ => None,
    };
    match user {
        Some(user) => state.give(&user, out),
        None => {
            let body = json!({"error": "invalid_grant"}).to_string();
            out.reply("400 Bad Request", &[JSON], body.as_bytes());
        }
    }
}

fn form_of(body: &[u8]) -> BTreeMap<String, String> {
    token_server::form_of(&String::from_utf8_lossy(body))
}

/// The URL that an error asks its client to open, and the id of what is asked.
#[must_use]
#[track_caller]
pub fn invited(answer: &Value) -> (String, String) {
    assert_eq!(answer["error"]["code"], -32042, "{answer}");
    let asked = &answer["error"]["data"]["elicitations"][0];
    assert_eq!(asked["mode"], "url", "{answer}");
    let text = |name: &str| asked[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (text("url"), text("elicitationId"))
}
