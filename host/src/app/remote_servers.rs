//! Settings of a remote server → how its runner reaches it, and what it gets of a client.

use std::sync::Arc;

use http::HeaderName;

use crate::config::{
    LoginPlaceSettings, LoginSettings, ProxyScheme, ProxySettings, Remote, Server, ServerTls,
    TokenPlaceSettings, TokenSettings, Transport,
};
use crate::model::{SUBJECT_TOKEN, USER_TOKEN};
use crate::net::{Proxy, ProxyKind, TargetTls};
use crate::oauth::{
    ClientAuth, Exchanges, LoginPlace, LoginTerms, TokenPlace, TokenServer, TokenSource,
    TokenTerms, TokenWay, Tokens,
};
use crate::protocol::claim_headers;
use crate::runner::{Recipe, Upstream};

/// What the edge is asked for: the client's headers, and claims of its token.
#[must_use]
pub fn passed_to(server: &Server) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> =
        server.passthrough_headers.iter().map(|name| name.as_str().into()).collect();
    for (asked, _) in claims_for(server) {
        if !names.iter().any(|name| **name == *asked.as_str()) {
            names.push(asked.as_str().into());
        }
    }
    if exchanges(server) {
        names.push(SUBJECT_TOKEN.into());
    }
    if logs_in(server) {
        names.push(USER_TOKEN.into());
    }
    names
}

fn remote(server: &Server) -> Option<&Remote> {
    match &server.transport {
        Some(Transport::Http(remote) | Transport::Sse(remote) | Transport::HttpOrSse(remote)) => {
            Some(remote)
        }
        Some(Transport::Stdio { .. }) | None => None,
    }
}

/// Whether each user logs in at the server.
#[must_use]
pub fn logs_in(server: &Server) -> bool {
    remote(server).is_some_and(|remote| remote.login.is_some())
}

/// Whether the client's own token is exchanged for one of the server's.
#[must_use]
pub fn exchanges(server: &Server) -> bool {
    let tokens = remote(server).and_then(|remote| remote.tokens.as_ref());
    tokens.is_some_and(|tokens| tokens.exchanges)
}

/// How users log in at a server, if they do.
///
/// # Errors
/// If its settings of TLS cannot be used.
pub fn login(server: &Server) -> Result<Option<LoginTerms>, String> {
    let Some(remote) = remote(server) else { return Ok(None) };
    remote.login.as_ref().map(|login| login_by(remote, login)).transpose()
}

fn login_by(remote: &Remote, settings: &LoginSettings) -> Result<LoginTerms, String> {
    let place = match &settings.place {
        LoginPlaceSettings::Discovered => LoginPlace::Discovered,
        LoginPlaceSettings::Issuer(uri) => LoginPlace::Issuer(uri.clone()),
        LoginPlaceSettings::Endpoints { authorize, token } => {
            LoginPlace::Endpoints { authorize: authorize.clone(), token: token.clone() }
        }
    };
    let (id, secret) = (&settings.client_id, &settings.client_secret);
    // Where the server itself says where users log in, it may be reached by its own authorities.
    let own_tls = match settings.place {
        LoginPlaceSettings::Discovered => settings.tls.as_ref().or(remote.tls.as_ref()),
        _ => settings.tls.as_ref(),
    };
    Ok(LoginTerms {
        server: remote.url.clone(),
        place,
        client: (!id.is_empty()).then(|| (id.clone(), secret.clone())),
        auth: settings.is_posted.map(shown),
        scope: settings.scope.clone(),
        resource: settings.resource.clone(),
        audience: settings.audience.clone(),
        way: TokenWay {
            proxy: settings.proxy.as_ref().map(through),
            tls: own_tls.map(tls_with).transpose()?,
        },
    })
}

fn shown(is_posted: bool) -> ClientAuth {
    if is_posted { ClientAuth::Post } else { ClientAuth::Basic }
}

/// The header by which the edge is asked for each claim, and the header that the server gets.
#[must_use]
pub fn claims_for(server: &Server) -> Vec<(HeaderName, HeaderName)> {
    let claim = |(header, claim): &(HeaderName, String)| {
        Some((claim_headers::name_of(claim)?, header.clone()))
    };
    server.claim_headers.iter().filter_map(claim).collect()
}

/// How it is reached by this transport.
#[must_use]
pub fn reached(remote: &Remote, how: fn(Upstream) -> Recipe) -> Recipe {
    let proxy = remote.proxy.as_ref().map(through);
    let tls = match remote.tls.as_ref().map(tls_with).transpose() {
        Ok(tls) => tls,
        Err(why) => return Recipe::Broken(format!("tls: {why}")),
    };
    let tokens = match remote.tokens.as_ref().map(tokens_by).transpose() {
        Ok(tokens) => tokens,
        Err(why) => return Recipe::Broken(format!("oauth.tls: {why}")),
    };
    if let Some(Err(why)) = remote.login.as_ref().map(|login| login_by(remote, login)) {
        return Recipe::Broken(format!("oauth.tls: {why}"));
    }
    match Upstream::new(&remote.url, &remote.headers, proxy, tls) {
        Some(upstream) => how(upstream.with_tokens(tokens).of_users(remote.login.is_some())),
        None => Recipe::Broken("its url must begin with http:// or https://".into()),
    }
}

fn tokens_by(settings: &TokenSettings) -> Result<TokenSource, String> {
    let place = match &settings.place {
        TokenPlaceSettings::Endpoint(uri) => TokenPlace::Endpoint(uri.clone()),
        TokenPlaceSettings::Issuer(uri) => TokenPlace::Issuer(uri.clone()),
    };
    let way = TokenWay {
        proxy: settings.proxy.as_ref().map(through),
        tls: settings.tls.as_ref().map(tls_with).transpose()?,
    };
    let server = TokenServer { place, way };
    let has_secret = !settings.client_secret.expose().is_empty();
    let terms = TokenTerms {
        server,
        client_id: settings.client_id.clone(),
        client_secret: settings.client_secret.clone(),
        auth: match has_secret {
            true => settings.is_posted.map(shown),
            false => Some(ClientAuth::Public),
        },
        scope: settings.scope.clone(),
        resource: settings.resource.clone(),
        audience: settings.audience.clone(),
        subject: None,
        refresh: settings.refresh.clone(),
    };
    Ok(match settings.exchanges {
        true => TokenSource::Exchanged(Exchanges::new(terms)),
        false => TokenSource::Own(Tokens::new(terms)),
    })
}

fn tls_with(settings: &ServerTls) -> Result<TargetTls, String> {
    let identity = settings.identity.as_ref();
    let identity = identity.map(|identity| (&identity.chain[..], &*identity.key));
    TargetTls::new(settings.authorities.as_deref(), identity)
}

fn through(settings: &ProxySettings) -> Proxy {
    let kind = match settings.scheme {
        ProxyScheme::Http => ProxyKind::Http,
        ProxyScheme::Https => ProxyKind::Https,
        ProxyScheme::Socks5 => ProxyKind::Socks5,
    };
    let credentials = settings.credentials.as_ref();
    let credentials = credentials
        .map(|(user, password)| (user.expose().to_owned(), password.expose().to_owned()));
    Proxy::new(kind, (&settings.host, settings.port), credentials, settings.named_by)
}
