//! Where a user's browser goes to log in, and where it comes back to. Whoever has the URL of an invitation
//! may begin; what ends the login is bound to the browser that began it, so that nobody ends another's.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use url::form_urlencoded;

use crate::edge::access::admit;
use crate::edge::refusal::Refusal;
use crate::edge::session::get_streams::say_lists_changed;
use crate::edge::worker::Worker;
use crate::model::SessionId;
use crate::net::Body;
use crate::protocol::jsonrpc;
use crate::protocol::methods::List;
use crate::protocol::splice;
use crate::streams::Part;

use super::pages::page;
use super::pending::{self, PATIENCE, PendingLogin};
use super::user_tokens::LoggedIn;

/// Where an invitation leads.
pub const LOGIN: &str = "/oauth/login";
/// Where a user comes back to.
pub const CALLBACK: &str = "/oauth/callback";
/// Both, as the list of routes shows them.
pub const ROUTES: [&str; 2] = [LOGIN, CALLBACK];
/// What stands before a login's name in that of its cookie.
const COOKIE: &str = "mooring-login-";
/// Characters of a login's name in that of its cookie.
const COOKIE_NAME: usize = 16;
/// Bytes of a code.
const MAX_CODE: usize = 4096;

/// The answer to a browser, if users log in here and the path is one of theirs. `local` is the address
/// that it came to.
pub async fn answer(
    worker: &Worker,
    request: &Request<Body>,
    (local, is_tls): (IpAddr, bool),
) -> Option<Result<Response<Body>, Refusal>> {
    let config = &worker.edge.config;
    let path = request.uri().path();
    if config.logins.is_empty() || !ROUTES.contains(&path) {
        return None;
    }
    if let Err(refusal) = admit::check_host(config, request.headers(), local) {
        return Some(Err(refusal));
    }
    if request.method() != Method::GET {
        return Some(Err(Refusal::MethodNotAllowed("GET")));
    }
    let query = Query::of(request.uri().query().unwrap_or(""));
    Some(Ok(match path {
        LOGIN => begin(worker, &query, is_tls).await,
        _ => end(worker, &query, request.headers()).await,
    }))
}

/// The parameters of a request. One that is there twice is none.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(key, _)| key == name);
        let (_, value) = named.next()?;
        named.next().is_none().then_some(value.as_str())
    }
}

/// The page from which a user goes on to log in. It says for whom: a link that somebody else has sent
/// would let that one use the server as this user.
async fn begin(worker: &Worker, query: &Query, is_tls: bool) -> Response<Body> {
    let login = match query.get("id") {
        Some(id) => worker.edge.logins.pending.get(id).await,
        None => None,
    };
    let Some(login) = login else { return unknown() };
    let Some(server) = login.server() else { return unknown() };
    let title = format!("Log in at {server}");
    let principal = login.principal();
    let paragraphs = [
        format!(
            "A client of this gateway that is known as \u{201c}{}\u{201d} wants to use the server \
             \u{201c}{server}\u{201d} for you.",
            principal.as_str()
        ),
        "Go on only if you have just asked for this yourself, and if this name is yours: whoever is \
         known by it here can then use the server in your name."
            .to_owned(),
    ];
    let mut response =
        page(StatusCode::OK, &title, &paragraphs, Some((&login.url, "Go on to log in")));
    let base = &worker.edge.config.base_path;
    let is_secure = is_tls || login.redirect.starts_with("https://");
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!(
        "{}={}; Path={base}{CALLBACK}; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
        cookie_name(&login),
        login.cookie,
        PATIENCE.as_secs()
    );
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn cookie_name(login: &PendingLogin) -> String {
    let id = login.id();
    format!("{COOKIE}{}", id.get(..COOKIE_NAME).unwrap_or(&id))
}

/// Whether the browser is the one that was sent to log in.
fn is_same_browser(login: &PendingLogin, headers: &HeaderMap) -> bool {
    let name = cookie_name(login);
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut pairs =
        cookies.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    let expected = crate::config::Secret::new(login.cookie.as_str());
    pairs.any(|pair| {
        let (key, value) = pair.trim().split_once('=').unwrap_or_default();
        key == name && expected.matches(value.as_bytes())
    })
}

/// Takes the user's login up, once.
async fn end(worker: &Worker, query: &Query, headers: &HeaderMap) -> Response<Body> {
    let logins = &worker.edge.logins;
    let state = query.get("state").filter(|state| pending::may_be(state));
    let Some(state) = state else { return unknown() };
    let id = pending::id_of(state);
    let Some(login) = logins.pending.get(&id).await.filter(|login| login.state == state) else {
        return unknown();
    };
    if !is_same_browser(&login, headers) {
        let text = "This browser has not begun the login. Open the link that your client shows, and log \
                    in with the same browser; it has to take cookies.";
        return failed(StatusCode::BAD_REQUEST, text);
    }
    let Some(server) = login.server() else { return unknown() };
    let Some(terms) = worker.edge.config.logins.get(&server).cloned() else { return unknown() };
    // Once, whatever comes of it.
    if !logins.pending.end(&id).await {
        return unknown();
    }
    if let Some(wrong) = wrong_issuer(&login, query.get("iss")) {
        tracing::warn!(server = %server, "a login has come back from another issuer than it was sent to");
        return failed(StatusCode::BAD_REQUEST, wrong);
    }
    let code = query.get("code").filter(|code| (1..=MAX_CODE).contains(&code.len()));
    let Some(code) = code else {
        let said = query.get("error").unwrap_or("it has sent no code");
        let why = query.get("error_description").map_or_else(String::new, |why| format!(": {why}"));
        let text = format!("Where you log in has not let this gateway in ({said}{why}).");
        return failed(StatusCode::OK, &text);
    };
    let pool = worker.link.pool().clone();
    match logins.log_in(login, terms, code.to_owned(), pool).await {
        Ok(logged_in) => {
            let LoggedIn { principal, server, sessions } = logged_in;
            tell(worker, &id, &sessions);
            let text = format!(
                "The client that is known as \u{201c}{}\u{201d} can now use the server \
                 \u{201c}{server}\u{201d} for you. You can close this page and go back to it.",
                principal.as_str()
            );
            page(StatusCode::OK, "You are logged in", &[text], None)
        }
        Err(denied) => {
            tracing::warn!(server = %server, "a login has failed: {}", denied.why);
            let text = format!("No access was given: {}. Begin again in your client.", denied.why);
            failed(StatusCode::BAD_GATEWAY, &text)
        }
    }
}

/// What is wrong with the issuer that an answer names (RFC 9207).
fn wrong_issuer(login: &PendingLogin, named: Option<&str>) -> Option<&'static str> {
    let own = login.issuer.as_deref()?;
    match named {
        Some(named) if named == own => None,
        None if !login.names_itself => None,
        _ => Some("The login has come back from somewhere else than it was sent to."),
    }
}

fn unknown() -> Response<Body> {
    let text = "This login is not known here: it has expired, or was used already. Send your request \
                again in your client, and open the link that it shows then.";
    failed(StatusCode::NOT_FOUND, text)
}

fn failed(status: StatusCode, text: &str) -> Response<Body> {
    page(status, "You are not logged in", &[text.to_owned()], None)
}

/// Tells the sessions that have asked for the login: their clients may send their requests again, and
/// list the server's tools.
pub fn tell(worker: &Worker, id: &str, sessions: &[SessionId]) {
    let params = format!("{{\"elicitationId\":{}}}", splice::quoted(id));
    let told = jsonrpc::notification_with("notifications/elicitation/complete", &params);
    for session in sessions {
        if let Some(own) = worker.edge.streams.get(*session) {
            own.stream.put(told.clone(), Part::Notice);
            say_lists_changed(&own.stream, &List::NOTIFIED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ClientAuth;
    use crate::oauth::user_grant::UserClient;

    fn login(issuer: Option<&str>, names_itself: bool) -> PendingLogin {
        let client = UserClient { id: "c".into(), secret: None, auth: ClientAuth::Public };
        let mut login =
            PendingLogin::new("s".into(), "v".into(), "c00kie".into(), (&client).into());
        login.issuer = issuer.map(str::to_owned);
        login.names_itself = names_itself;
        login
    }

    #[test]
    fn an_answer_of_another_issuer_ends_no_login() {
        let own = "https://login.example";
        for (issuer, names_itself, named, is_good) in [
            (Some(own), true, Some(own), true),
            (Some(own), false, Some(own), true),
            (Some(own), false, None, true),
            (Some(own), true, None, false),
            (Some(own), false, Some("https://evil.example"), false),
            (None, false, Some("https://evil.example"), true),
        ] {
            let wrong = wrong_issuer(&login(issuer, names_itself), named);
            assert_eq!(wrong.is_none(), is_good, "{issuer:?} {names_itself} {named:?}");
        }
    }

    #[test]
    fn only_the_browser_that_began_ends_a_login() {
        let login = login(None, false);
        let name = cookie_name(&login);
        let is_it = |cookie: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&cookie).unwrap());
            is_same_browser(&login, &headers)
        };
        assert!(is_it(format!("a=b; {name}=c00kie")));
        assert!(!is_it(format!("{name}=other")) && !is_it(format!("x{name}=c00kie")));
        assert!(!is_same_browser(&login, &HeaderMap::new()));
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_none() {
        let query = Query::of("state=a&code=x&code=y&error=b%20c");
        assert_eq!((query.get("state"), query.get("code")), (Some("a"), None));
        assert_eq!(query.get("error"), Some("b c"));
    }
}
