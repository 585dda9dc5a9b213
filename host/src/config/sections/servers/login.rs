//! Users who log in at a remote server: `oauth` with `"grant": "authorization-code"`.

use http::Uri;

use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::proxy_url::ProxySettings;
use crate::config::sections::proxy::{self, OwnProxy};

use super::oauth_members::{self, Line};
use super::server_tls::ServerTls;

/// How users log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    pub place: LoginPlaceSettings,
    /// Empty: the gateway registers itself.
    pub client_id: String,
    /// `None`: a client without one.
    pub client_secret: Option<Secret>,
    /// Whether the secret goes into the body; `None`: as the issuer says, else into a header.
    pub is_posted: Option<bool>,
    /// Empty texts are left to what the server says, or out of requests.
    pub scope: String,
    pub resource: String,
    pub audience: String,
    /// That of the server, where it says itself where users log in.
    pub proxy: Option<ProxySettings>,
    pub tls: Option<ServerTls>,
}

/// Where users log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginPlaceSettings {
    /// Where the server itself says.
    Discovered,
    /// Where an issuer's metadata says.
    Issuer(Uri),
    Endpoints {
        authorize: Uri,
        token: Uri,
    },
}

/// Reads the section, whose client has this id and secret. `None` after a finding.
pub(super) fn read(
    section: &Section<'_>,
    line: Line<'_>,
    sources: &Sources<'_>,
    own_proxy: &OwnProxy,
    (client_id, secret): (String, String),
) -> Option<LoginSettings> {
    let [authorize, token, issuer] =
        ["authorizeUrl", "tokenUrl", "issuer"].map(|key| oauth_members::text(section, key, line));
    let place = place(section, &authorize?, &token?, &issuer?, !client_id.is_empty());
    let scope = oauth_members::scope(section, line);
    let [resource, audience] =
        ["resource", "audience"].map(|key| oauth_members::text(section, key, line));
    let is_posted = oauth_members::auth_method(section);
    let tls = oauth_members::tls(section, line, sources);
    if client_id.is_empty()
        && !secret.is_empty()
        && let Some(item) = section.get("clientSecret")
    {
        item.refuse("is a secret of no client", "give the \"clientId\" too, or remove it");
        return None;
    }
    let place = place?;
    let named = match &place {
        LoginPlaceSettings::Discovered => None,
        LoginPlaceSettings::Issuer(uri) | LoginPlaceSettings::Endpoints { token: uri, .. } => {
            Some(uri)
        }
    };
    let proxy = named.and_then(|uri| proxy::proxy_of(uri, own_proxy, sources));
    Some(LoginSettings {
        place,
        client_id,
        client_secret: (!secret.is_empty()).then(|| Secret::new(secret)),
        is_posted,
        scope: scope?,
        resource: resource?,
        audience: audience?,
        proxy,
        tls: tls?,
    })
}

fn place(
    section: &Section<'_>,
    authorize: &str,
    token: &str,
    issuer: &str,
    has_client: bool,
) -> Option<LoginPlaceSettings> {
    if authorize.is_empty() && token.is_empty() {
        return match issuer.is_empty() {
            true => Some(LoginPlaceSettings::Discovered),
            false => {
                oauth_members::url_at(section, "issuer", issuer).map(LoginPlaceSettings::Issuer)
            }
        };
    }
    for (key, text) in [("authorizeUrl", authorize), ("tokenUrl", token)] {
        if text.is_empty() {
            let advice = "name both, or neither to have them found";
            section.refuse_key(key, "is missing beside the other URL of a login", advice);
            return None;
        }
    }
    if !has_client {
        let advice = "give the id of a client that is registered there";
        section.refuse_key("clientId", "is required where the URLs of a login are named", advice);
        return None;
    }
    if let Some(item) = section.get("issuer").filter(|_| !issuer.is_empty()) {
        item.warn("is not asked, since the URLs of a login are given", "remove one of them");
    }
    let authorize = oauth_members::url_at(section, "authorizeUrl", authorize)?;
    let token = oauth_members::url_at(section, "tokenUrl", token)?;
    Some(LoginPlaceSettings::Endpoints { authorize, token })
}
