//! Where users log in for a server: the endpoints of its authorization server, and the URL that begins a
//! login.

use std::time::Duration;

use http::Uri;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use crate::net::Pool;

use super::denied::Denied;
use super::login_terms::{LoginPlace, LoginTerms};
use super::metadata;
use super::pkce;
use super::protected_resource::{self, ProtectedResource};
use super::terms::{ClientAuth, Origin};

/// Longest time for all metadata.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of all scopes that a server's metadata may name to be asked for.
const MAX_SCOPES: usize = 1024;

/// An authorization server, as far as logins need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// Its name; `None` where the settings name its endpoints.
    pub issuer: Option<String>,
    pub authorize: Uri,
    pub token: Uri,
    /// Where clients register themselves (RFC 7591).
    pub register: Option<Uri>,
    /// How clients with a secret show it.
    pub auth: ClientAuth,
    /// Whether it takes clients without a secret.
    pub takes_public: bool,
    /// What is asked for; empty for nothing.
    pub scope: String,
    /// Whether its answers carry its name (RFC 9207).
    pub names_itself: bool,
}

/// Finds the authorization server of these terms.
///
/// # Errors
/// Why it is not known, or cannot be used.
pub async fn discover(terms: &LoginTerms, pool: &Pool) -> Result<AuthorizationServer, Denied> {
    let found = tokio::time::timeout(TIMEOUT, found(terms, pool)).await;
    found.unwrap_or_else(|_| {
        let (place, seconds) = (Origin(&terms.server), TIMEOUT.as_secs());
        Err(format!("the metadata of {place} has not come within {seconds} s").into())
    })
}

async fn found(terms: &LoginTerms, pool: &Pool) -> Result<AuthorizationServer, Denied> {
    let of_server = match &terms.place {
        LoginPlace::Endpoints { authorize, token } => {
            return Ok(AuthorizationServer {
                issuer: None,
                authorize: authorize.clone(),
                token: token.clone(),
                register: None,
                auth: terms.auth.unwrap_or(ClientAuth::Basic),
                takes_public: true,
                scope: terms.scope.clone(),
                names_itself: false,
            });
        }
        LoginPlace::Issuer(issuer) => {
            ProtectedResource { issuer: issuer.clone(), scopes: Vec::new() }
        }
        LoginPlace::Discovered => protected_resource::of(&terms.server, &terms.way, pool).await?,
    };
    let found = metadata::of_issuer(&terms.way, pool, &of_server.issuer).await?;
    Ok(judged(terms, &of_server, &found)?)
}

fn judged(
    terms: &LoginTerms,
    of_server: &ProtectedResource,
    found: &Map<String, Value>,
) -> Result<AuthorizationServer, String> {
    let issuer = &of_server.issuer;
    let place = Origin(issuer);
    let url = |name: &str| metadata::named_url(issuer, found, name);
    let needed = |name: &str| {
        url(name).ok_or_else(|| format!("{place} has metadata without a usable {name}"))
    };
    let lists = |name: &str, word: &str| {
        let all = found.get(name).and_then(Value::as_array);
        all.is_some_and(|all| all.iter().any(|one| one == word))
    };
    // A server that does not say so may leave the proof unread (2025-11-25, basic/authorization,
    // "Authorization Code Protection").
    if !lists("code_challenge_methods_supported", "S256") {
        return Err(format!(
            "{place} does not say in its metadata that it checks PKCE (S256), without which codes are \
             not safe; if it does, name \"authorizeUrl\" and \"tokenUrl\""
        ));
    }
    let methods = "token_endpoint_auth_methods_supported";
    let scopes = of_server.scopes.join(" ");
    Ok(AuthorizationServer {
        issuer: found.get("issuer").and_then(Value::as_str).map(str::to_owned),
        authorize: needed("authorization_endpoint")?,
        token: needed("token_endpoint")?,
        register: url("registration_endpoint"),
        auth: terms.auth.unwrap_or_else(|| metadata::offered(found)),
        takes_public: lists(methods, "none"),
        scope: match terms.scope.as_str() {
            "" if scopes.len() <= MAX_SCOPES => scopes,
            own => own.to_owned(),
        },
        names_itself: found.get("authorization_response_iss_parameter_supported")
            == Some(&Value::Bool(true)),
    })
}

/// What a login is bound to.
pub struct LoginRequest<'a> {
    pub client: &'a str,
    pub redirect: &'a str,
    pub state: &'a str,
    pub verifier: &'a str,
    /// What is asked for beside the usual.
    pub more_scopes: &'a [String],
}

impl AuthorizationServer {
    /// The URL at which a user begins a login.
    #[must_use]
    pub fn login_url(&self, terms: &LoginTerms, login: &LoginRequest<'_>) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("response_type", "code");
        query.append_pair("client_id", login.client);
        query.append_pair("redirect_uri", login.redirect);
        query.append_pair("state", login.state);
        query.append_pair("code_challenge", &pkce::challenge(login.verifier));
        query.append_pair("code_challenge_method", "S256");
        query.append_pair("resource", &terms.resource());
        let scope = union(&self.scope, login.more_scopes);
        let optional = [("scope", &scope), ("audience", &terms.audience)];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        let separator = if self.authorize.query().is_some() { '&' } else { '?' };
        format!("{}{separator}{}", self.authorize, query.finish())
    }
}

/// All of these scopes, each once.
fn union(usual: &str, more: &[String]) -> String {
    let usual: Vec<&str> = usual.split_ascii_whitespace().collect();
    let more = more.iter().map(String::as_str).filter(|scope| !usual.contains(scope));
    let all: Vec<&str> = usual.iter().copied().chain(more).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::terms::TokenWay;
    use super::*;

    fn terms() -> LoginTerms {
        LoginTerms {
            server: Uri::from_static("https://a.example/mcp"),
            place: LoginPlace::Discovered,
            client: None,
            auth: None,
            scope: String::new(),
            resource: String::new(),
            audience: String::new(),
            way: TokenWay::default(),
        }
    }

    fn good() -> Value {
        json!({
            "issuer": "https://login.example", "authorization_endpoint": "https://login.example/a?x=1",
            "token_endpoint": "https://login.example/t", "registration_endpoint": "https://login.example/r",
            "code_challenge_methods_supported": ["plain", "S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        })
    }

    fn of(found: &Value) -> Result<AuthorizationServer, String> {
        let scopes = vec!["read".to_owned(), "write".to_owned()];
        let issuer = Uri::from_static("https://login.example");
        judged(&terms(), &ProtectedResource { issuer, scopes }, found.as_object().unwrap())
    }

    #[test]
    fn metadata_has_to_name_all_that_a_safe_login_takes() {
        let server = of(&good()).unwrap();
        assert!(server.takes_public && server.auth == ClientAuth::Post && !server.names_itself);
        assert_eq!(server.scope, "read write");
        for (name, value, why) in [
            ("authorization_endpoint", json!("http://login.example/a"), "authorization_endpoint"),
            ("token_endpoint", json!(1), "token_endpoint"),
            ("code_challenge_methods_supported", json!(["plain"]), "PKCE"),
            ("code_challenge_methods_supported", Value::Null, "PKCE"),
        ] {
            let mut found = good();
            found[name] = value;
            assert!(of(&found).unwrap_err().contains(why), "{name}");
        }
    }

    #[test]
    fn a_login_is_asked_for_with_all_that_binds_it() {
        let login = LoginRequest {
            client: "c&1",
            redirect: "https://gw.example/oauth/callback",
            state: "s",
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            more_scopes: &[],
        };
        let url = of(&good()).unwrap().login_url(&terms(), &login);
        let expect = "https://login.example/a?x=1&response_type=code&client_id=c%261\
                      &redirect_uri=https%3A%2F%2Fgw.example%2Foauth%2Fcallback&state=s\
                      &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
                      &code_challenge_method=S256&resource=https%3A%2F%2Fa.example%2Fmcp\
                      &scope=read+write";
        assert_eq!(url, expect);
        let more_scopes = ["write", "admin"].map(str::to_owned);
        let more = LoginRequest { more_scopes: &more_scopes, ..login };
        let url = of(&good()).unwrap().login_url(&terms(), &more);
        assert!(url.ends_with("&scope=read+write+admin"), "{url}");
    }
}
