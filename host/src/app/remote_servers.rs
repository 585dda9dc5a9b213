//! Settings of a remote server → how its runner reaches it, and what it gets of a client.

use std::sync::Arc;

use http::HeaderName;

use crate::config::{
    ProxyScheme, ProxySettings, Remote, Server, ServerTls, TokenPlaceSettings, TokenSettings,
    Transport,
};
use crate::model::SUBJECT_TOKEN;
use crate::net::{Proxy, ProxyKind, TargetTls};
use crate::protocol::claim_headers;
use crate::runner::{
    ClientAuth, Exchanges, Recipe, TokenPlace, TokenServer, TokenSource, TokenTerms, Tokens,
    Upstream,
};

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
    names
}

/// Whether the client's own token is exchanged for one of the server's.
#[must_use]
pub fn exchanges(server: &Server) -> bool {
    match &server.transport {
        Some(Transport::Http(remote) | Transport::Sse(remote) | Transport::HttpOrSse(remote)) => {
            remote.tokens.as_ref().is_some_and(|tokens| tokens.exchanges)
        }
        Some(Transport::Stdio { .. }) | None => false,
    }
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
    match Upstream::new(&remote.url, &remote.headers, proxy, tls) {
        Some(upstream) => how(upstream.with_tokens(tokens)),
        None => Recipe::Broken("its url must begin with http:// or https://".into()),
    }
}

fn tokens_by(settings: &TokenSettings) -> Result<TokenSource, String> {
    let place = match &settings.place {
        TokenPlaceSettings::Endpoint(uri) => TokenPlace::Endpoint(uri.clone()),
        TokenPlaceSettings::Issuer(uri) => TokenPlace::Issuer(uri.clone()),
    };
    let server = TokenServer {
        place,
        proxy: settings.proxy.as_ref().map(through),
        tls: settings.tls.as_ref().map(tls_with).transpose()?,
    };
    let posted = |posted| if posted { ClientAuth::Post } else { ClientAuth::Basic };
    let terms = TokenTerms {
        server,
        client_id: settings.client_id.clone(),
        client_secret: settings.client_secret.clone(),
        auth: settings.is_posted.map(posted),
        scope: settings.scope.clone(),
        resource: settings.resource.clone(),
        audience: settings.audience.clone(),
        subject: None,
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
