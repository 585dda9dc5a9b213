//! Access tokens of a remote server: `oauth`. One in the file is sent as it is; with a client's id and
//! secret, and the place of a token server, tokens are fetched; or each user logs in (`login`).

use http::Uri;

use crate::config::reader::item::Item;
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::proxy_url::ProxySettings;

use super::login::{self, LoginSettings};
use super::oauth_members::{Line, auth_method, scope, text, tls, url_at};
use super::server_tls::ServerTls;
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
    /// The refresh token for which tokens are given.
    pub refresh: Option<Secret>,
}

/// Where the tokens of a server come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum OauthSettings {
    Tokens(TokenSettings),
    Login(LoginSettings),
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlaceSettings {
    /// The URL that issues them.
    Endpoint(Uri),
    /// One whose metadata names that URL.
    Issuer(Uri),
}

/// What a token is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    /// The gateway's own id and secret.
    Client,
    /// The client's own token.
    Exchange,
    /// The refresh token in the file.
    Refresh,
    /// The code of a user's login.
    Code,
}

const GRANTS: [(&str, Grant); 8] = [
    ("client-credentials", Grant::Client),
    ("client_credentials", Grant::Client),
    ("token-exchange", Grant::Exchange),
    ("urn:ietf:params:oauth:grant-type:token-exchange", Grant::Exchange),
    ("refresh-token", Grant::Refresh),
    ("refresh_token", Grant::Refresh),
    ("authorization-code", Grant::Code),
    ("authorization_code", Grant::Code),
];

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
) -> Option<Option<OauthSettings>> {
    if is_switch(entry) {
        return Some(None);
    }
    let section = entry.section("oauth");
    if section.object.is_none() {
        return Some(None);
    }
    let grant = section.choice("grant", "grant", &GRANTS);
    let [token, refresh, id, secret, url, issuer] =
        ["accessToken", "refreshToken", "clientId", "clientSecret", "tokenUrl", "issuer"]
            .map(|key| text(&section, key, line));
    let (token, refresh, id, secret) = (token?, refresh?, id?, secret?);
    let (url, issuer) = (url?, issuer?);
    let names_place = !url.is_empty() || !issuer.is_empty();
    // A refresh token outlives the access token that it came with.
    let refreshes = !refresh.is_empty() && !id.is_empty() && names_place;
    let is_whole = !id.is_empty() && !secret.is_empty() && names_place;
    if grant.is_none() && !refreshes && !(token.is_empty() && is_whole) {
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
    let usual = if refreshes { Grant::Refresh } else { Grant::Client };
    let (is_named, grant) = (grant.is_some(), grant.unwrap_or(usual));
    if !token.is_empty()
        && is_named
        && let Some(item) = section.get("accessToken")
    {
        item.warn("is not sent: the token that is fetched is", "remove it, or \"grant\"");
    }
    if grant != Grant::Refresh
        && !refresh.is_empty()
        && let Some(item) = section.get("refreshToken")
    {
        item.warn("is not used by this grant", "remove it, or make \"grant\" \"refresh-token\"");
    }
    if grant == Grant::Code {
        let login = login::read(&section, line, sources, own_proxy, (id, secret));
        return login.map(|login| Some(OauthSettings::Login(login)));
    }
    if let Some(item) = section.get("authorizeUrl").filter(|item| !item.is_empty()) {
        item.warn(
            "is not used: no user logs in",
            "remove it, or make \"grant\" \"authorization-code\"",
        );
    }
    let is_refresh = grant == Grant::Refresh;
    let required = [
        ("clientId", &id, true),
        ("clientSecret", &secret, !is_refresh),
        ("refreshToken", &refresh, is_refresh),
    ];
    let missing =
        required.iter().filter(|(_, value, is_required)| *is_required && value.is_empty());
    let is_missing = missing
        .map(|(key, ..)| section.refuse_key(key, "is required to fetch tokens", "give it a value"))
        .count()
        > 0;
    let place = place(&section, &url, &issuer);
    let scope = scope(&section, line);
    let [resource, audience] = ["resource", "audience"].map(|key| text(&section, key, line));
    let is_posted = auth_method(&section);
    let tls = tls(&section, line, sources);
    let place = place?;
    if is_missing {
        return None;
    }
    let (TokenPlaceSettings::Endpoint(uri) | TokenPlaceSettings::Issuer(uri)) = &place;
    let proxy = proxy::proxy_of(uri, own_proxy, sources);
    Some(Some(OauthSettings::Tokens(TokenSettings {
        place,
        client_id: id,
        client_secret: Secret::new(secret),
        is_posted,
        scope: scope?,
        resource: resource?,
        audience: audience?,
        proxy,
        tls: tls?,
        exchanges: grant == Grant::Exchange,
        refresh: is_refresh.then(|| Secret::new(refresh)),
    })))
}

/// Whether another token than that of the file is sent: a grant is named, or there is a refresh token
/// with all that it takes.
pub(super) fn fetches(entry: &Section<'_>) -> bool {
    let section = entry.section("oauth");
    let has = |key: &str| section.get(key).is_some_and(|item| !item.is_empty());
    let refreshes = has("refreshToken") && has("clientId") && (has("tokenUrl") || has("issuer"));
    section.get("grant").is_some() || refreshes
}

/// The server's own `Authorization` header.
fn has_authorization<'d>(entry: &Section<'d>) -> Option<Item<'d>> {
    let headers = entry.entries("headers").into_iter();
    let mut named = headers.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    named.next().map(|(_, item)| item)
}

/// Says that what is there fetches no token.
fn tell_of_idle(section: &Section<'_>, has_token: bool) {
    let keys = ["clientId", "clientSecret", "refreshToken", "tokenUrl", "issuer"];
    let Some(item) = keys.into_iter().find_map(|key| section.get(key)) else { return };
    match has_token {
        true => item.warn(
            "fetches no token: that of \"accessToken\" is sent, and is not renewed",
            "remove \"accessToken\" to have tokens fetched",
        ),
        false => item.warn(
            "fetches no token: that takes clientId, clientSecret, and tokenUrl or issuer",
            "give the others, an \"accessToken\", or \"grant\": \"authorization-code\" if each user is to \
             log in",
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
    let uri = url_at(section, key, text)?;
    Some(match key {
        "issuer" => TokenPlaceSettings::Issuer(uri),
        _ => TokenPlaceSettings::Endpoint(uri),
    })
}
