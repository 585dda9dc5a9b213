//! Access tokens of a remote server: `oauth`. One in the file is sent as it is; with a client's id and
//! secret, and the place of a token server, tokens are fetched.

use http::Uri;

use crate::config::reader::item::Item;
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::proxy_url::ProxySettings;
use crate::config::reader::urls::url::{self, UrlPurpose};

use super::server_tls::{self, ServerTls};
use crate::config::sections::proxy::{self, OwnProxy};

/// How tokens for a server are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    pub place: TokenPlaceSettings,
    pub client_id: String,
    pub client_secret: Secret,
    /// Whether the secret goes into the body; `None`: as the issuer says, else into a header.
    pub is_posted: Option<bool>,
    /// Empty texts are left out of requests.
    pub scope: String,
    pub resource: String,
    pub audience: String,
    pub proxy: Option<ProxySettings>,
    pub tls: Option<ServerTls>,
    /// Whether each client's own token is exchanged.
    pub exchanges: bool,
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlaceSettings {
    /// The URL that issues them.
    Endpoint(Uri),
    /// One whose metadata names that URL.
    Issuer(Uri),
}

/// The grants, and whether a client's token is exchanged.
const GRANTS: [(&str, bool); 4] = [
    ("client-credentials", false),
    ("client_credentials", false),
    ("token-exchange", true),
    ("urn:ietf:params:oauth:grant-type:token-exchange", true),
];

const AUTH_METHODS: [(&str, bool); 4] = [
    ("basic", false),
    ("client_secret_basic", false),
    ("post", true),
    ("client_secret_post", true),
];

/// A way to read a text of one line, with its variables replaced.
type Line<'l> = &'l mut dyn FnMut(&Item<'_>) -> Option<String>;

/// Whether `oauth` only says whether a client is to ask its user, or says nothing.
pub(in crate::config) fn is_switch(entry: &Section<'_>) -> bool {
    entry.get("oauth").is_some_and(|item| item.is_empty() || item.is_flag())
}

/// Reads the section. `None` after a finding; `Some(None)` if no tokens are fetched.
pub(in crate::config) fn read(
    entry: &Section<'_>,
    line: Line<'_>,
    sources: &Sources<'_>,
    own_proxy: &OwnProxy,
) -> Option<Option<TokenSettings>> {
    if is_switch(entry) {
        return Some(None);
    }
    let section = entry.section("oauth");
    if section.object.is_none() {
        return Some(None);
    }
    let grant = section.choice("grant", "grant", &GRANTS);
    let [token, id, secret, url, issuer] =
        ["accessToken", "clientId", "clientSecret", "tokenUrl", "issuer"]
            .map(|key| text(&section, key, line));
    let (token, id, secret) = (token?, id?, secret?);
    let (url, issuer) = (url?, issuer?);
    let names_place = !url.is_empty() || !issuer.is_empty();
    let is_whole = !id.is_empty() && !secret.is_empty() && names_place;
    if grant.is_none() && !(token.is_empty() && is_whole) {
        tell_of_idle(&section, !token.is_empty());
        return Some(None);
    }
    if let Some(own) = has_authorization(entry) {
        own.warn(
            "is sent, so that no token is fetched for the server",
            "remove it, or the server's \"oauth\"",
        );
        return Some(None);
    }
    if !token.is_empty()
        && let Some(item) = section.get("accessToken")
    {
        item.warn("is not sent: the token that is fetched is", "remove it, or \"grant\"");
    }
    for (key, value) in [("clientId", &id), ("clientSecret", &secret)] {
        if value.is_empty() {
            section.refuse_key(key, "is required to fetch tokens", "give it a value");
        }
    }
    let place = place(&section, &url, &issuer);
    let scope = scope(&section, line);
    let [resource, audience] = ["resource", "audience"].map(|key| text(&section, key, line));
    let is_posted = section.choice("authMethod", "way to show a client's secret", &AUTH_METHODS);
    let tls = match section.get("tls") {
        Some(item) => server_tls::read(&item, line, &sources.secrets).map(Some),
        None => Some(None),
    };
    let place = place?;
    if id.is_empty() || secret.is_empty() {
        return None;
    }
    let (TokenPlaceSettings::Endpoint(uri) | TokenPlaceSettings::Issuer(uri)) = &place;
    let proxy = proxy::proxy_of(uri, own_proxy, sources);
    Some(Some(TokenSettings {
        place,
        client_id: id,
        client_secret: Secret::new(secret),
        is_posted,
        scope: scope?,
        resource: resource?,
        audience: audience?,
        proxy,
        tls: tls?,
        exchanges: grant == Some(true),
    }))
}

/// A text; empty if it is absent. `None` after a finding.
fn text(
    section: &Section<'_>,
    key: &str,
    line: &mut dyn FnMut(&Item<'_>) -> Option<String>,
) -> Option<String> {
    section.get(key).map_or_else(|| Some(String::new()), |item| line(&item))
}

/// The server's own `Authorization` header.
fn has_authorization<'d>(entry: &Section<'d>) -> Option<Item<'d>> {
    let headers = entry.entries("headers").into_iter();
    let mut named = headers.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    named.next().map(|(_, item)| item)
}

/// Says that what is there fetches no token.
fn tell_of_idle(section: &Section<'_>, has_token: bool) {
    let keys = ["clientId", "clientSecret", "tokenUrl", "issuer"];
    let Some(item) = keys.into_iter().find_map(|key| section.get(key)) else { return };
    match has_token {
        true => item.warn(
            "fetches no token: that of \"accessToken\" is sent, and is not renewed",
            "remove \"accessToken\" to have tokens fetched",
        ),
        false => item.warn(
            "fetches no token: that takes clientId, clientSecret, and tokenUrl or issuer",
            "give the others, or an \"accessToken\"",
        ),
    }
}

fn place(section: &Section<'_>, url: &str, issuer: &str) -> Option<TokenPlaceSettings> {
    let (key, text) = match (url.is_empty(), issuer.is_empty()) {
        (true, true) => {
            let advice = "name the token server, or its issuer";
            section.refuse_key("tokenUrl", "is required to fetch tokens", advice);
            return None;
        }
        (false, _) => ("tokenUrl", url),
        (true, false) => ("issuer", issuer),
    };
    if !url.is_empty()
        && let Some(item) = section.get("issuer").filter(|_| !issuer.is_empty())
    {
        item.warn("is not asked, since \"tokenUrl\" is given", "remove one of them");
    }
    let item = section.get(key)?;
    let purpose = if key == "issuer" { UrlPurpose::Base } else { UrlPurpose::Endpoint };
    let uri = url::parse(text, purpose)
        .map_err(|problem| item.refuse(problem, "write it like https://login.example.com/token"))
        .ok()?;
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    if uri.scheme_str() == Some("http") && !proxy::is_loopback(host) {
        item.warn("begins with http://, and the client's secret goes there", "use https://");
    }
    Some(match key {
        "issuer" => TokenPlaceSettings::Issuer(uri),
        _ => TokenPlaceSettings::Endpoint(uri),
    })
}

/// `scope`, or `scopes` as a list or a text.
fn scope(
    section: &Section<'_>,
    line: &mut dyn FnMut(&Item<'_>) -> Option<String>,
) -> Option<String> {
    let one = text(section, "scope", line)?;
    match section.get("scopes") {
        Some(_) if !one.is_empty() => Some(one),
        Some(item) if item.is_list() => {
            let words: Vec<_> = item.items().iter().map(&mut *line).collect();
            Some(words.into_iter().collect::<Option<Vec<_>>>()?.join(" "))
        }
        Some(item) => line(&item),
        None => Some(one),
    }
}
