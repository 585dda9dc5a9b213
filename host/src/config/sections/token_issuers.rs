//! `systemConfig.auth.jwt`: the issuers whose tokens let clients in.
//!
//! A mistake refuses the start: what is read wrongly here lets somebody in, or keeps everybody out.

use std::ops::RangeInclusive;
use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::reading::expand_item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};
use crate::config::reader::words::nearest::suggestion;
use crate::model::is_loopback_host;

use super::lists::{names, refuse_unknown};

/// Issuers of one file.
const MAX_ISSUERS: usize = 16;
/// Characters of an issuer's name, which stands in front of principals.
const MAX_NAME: usize = 32;
/// The name of the only issuer, unless it has one.
const NAME: &str = "jwt";
/// What rules and principals call client certificates by, where tokens have the name of their issuer.
pub(super) const CERTIFICATES: &str = "certificate";
/// Algorithms that sign with a private key.
const ALGORITHMS: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"];
/// Milliseconds that the clocks may differ: the default, and the most.
const SKEW_MS: u64 = 60_000;
const SKEWS: RangeInclusive<u64> = 0..=600_000;
/// Milliseconds between two fetches of the keys: the default, and what is useful.
const REFRESH_MS: u64 = 900_000;
const REFRESHES: RangeInclusive<u64> = 1000..=86_400_000;

const MEMBERS: [&str; 10] = [
    "name",
    "issuer",
    "jwksUri",
    "audience",
    "principalClaim",
    "groupsClaim",
    "requiredScopes",
    "algorithms",
    "clockSkew",
    "refreshInterval",
];

/// An issuer of tokens, and what counts of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// Stands in front of the principals, with a colon.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are; `None`: where its metadata says.
    pub jwks_uri: Option<String>,
    /// Whom tokens must be for; never empty.
    pub audience: Vec<String>,
    pub principal_claim: String,
    pub groups_claim: String,
    pub required_scopes: Vec<String>,
    /// Never empty.
    pub algorithms: Vec<String>,
    pub clock_skew: Duration,
    pub refresh: Duration,
}

/// Reads the issuers: an object, or a list of such.
pub(in crate::config) fn read(system: &Section<'_>, sources: &Sources<'_>) -> Vec<TokenIssuer> {
    let Some(item) = system.section("auth").get("jwt") else { return Vec::new() };
    let items = match item.value {
        Value::Array(_) => item.items(),
        Value::BooleanLit(flag) if !flag.value => return Vec::new(),
        _ => vec![item.clone()],
    };
    if items.len() > MAX_ISSUERS {
        item.refuse(format!("has more than {MAX_ISSUERS} issuers"), "leave some out");
        return Vec::new();
    }
    let is_only = items.len() == 1;
    let mut issuers: Vec<TokenIssuer> = Vec::new();
    for item in &items {
        let Some(issuer) = issuer(item, is_only, sources) else { continue };
        if issuers.iter().any(|other| other.name == issuer.name || other.issuer == issuer.issuer) {
            let advice = "give each issuer one entry, with a name of its own";
            item.refuse("has the name or the issuer of an earlier entry", advice);
            continue;
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer(item: &Item<'_>, is_only: bool, sources: &Sources<'_>) -> Option<TokenIssuer> {
    let section = item.section();
    section.object?;
    refuse_unknown(&section, &MEMBERS);
    let name = match section.get("name") {
        Some(item) => name(&item),
        None if is_only => Some(NAME.to_owned()),
        None => {
            section.refuse_key("name", "is missing", "name each issuer where there are several");
            None
        }
    };
    let issuer = match section.get("issuer") {
        Some(item) => own_url(&item, sources),
        None => {
            section.refuse_key("issuer", "is missing", "write the iss of its tokens, a URL");
            None
        }
    };
    let jwks_uri = match section.get("jwksUri") {
        Some(item) => Some(own_url(&item, sources)?),
        None => None,
    };
    let audience = names(&section, "audience", sources)?;
    if audience.as_ref().is_none_or(Vec::is_empty) {
        let advice = "write whom its tokens are for: the aud that names this gateway, or its URL";
        section.refuse_key("audience", "is missing", advice);
        return None;
    }
    let claim = |key: &str, usual: &str| match section.get(key) {
        None => Some(usual.to_owned()),
        Some(item) => {
            let text = item.text()?;
            if text.trim().is_empty() {
                item.refuse("is empty", "name the claim, or leave the key out");
                return None;
            }
            Some(text)
        }
    };
    Some(TokenIssuer {
        principal_claim: claim("principalClaim", "sub")?,
        groups_claim: claim("groupsClaim", "groups")?,
        required_scopes: scopes(&section, sources)?,
        algorithms: algorithms(&section, sources)?,
        clock_skew: Duration::from_millis(section.whole("clockSkew", SKEW_MS, SKEWS)),
        refresh: Duration::from_millis(section.whole("refreshInterval", REFRESH_MS, REFRESHES)),
        name: name?,
        issuer: issuer?,
        jwks_uri,
        audience: audience.unwrap_or_default(),
    })
}

fn name(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text == CERTIFICATES {
        let advice = "choose another name";
        item.refuse("is what the holders of client certificates are called by", advice);
        return None;
    }
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits) {
        return Some(text);
    }
    let advice = format!("use 1 to {MAX_NAME} letters, digits, dots, - and _");
    item.refuse("cannot stand in front of a principal", advice);
    None
}

/// A URL over which keys may come: https, or http on this machine.
fn own_url(item: &Item<'_>, sources: &Sources<'_>) -> Option<String> {
    let text = expand_item(item, &item.text()?, sources)?;
    let problem = match url::parse(&text, UrlPurpose::Endpoint) {
        Err(problem) => problem,
        Ok(uri) if uri.scheme_str() == Some("https") => return Some(text),
        Ok(uri) if uri.host().is_some_and(is_loopback_host) => return Some(text),
        Ok(_) => "is not encrypted: keys that come over it could be anybody's",
    };
    item.refuse(problem, "write an https URL, or an http one on this machine");
    None
}

fn scopes(section: &Section<'_>, sources: &Sources<'_>) -> Option<Vec<String>> {
    let scopes = names(section, "requiredScopes", sources)?.unwrap_or_default();
    // RFC 6749 §3.3.
    let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if let Some(wrong) = scopes.iter().find(|scope| !scope.bytes().all(fits)) {
        let message = format!("{} is not a scope", quote(wrong));
        section.refuse_key("requiredScopes", &message, "write each scope as a text of its own");
        return None;
    }
    Some(scopes)
}

fn algorithms(section: &Section<'_>, sources: &Sources<'_>) -> Option<Vec<String>> {
    let given = names(section, "algorithms", sources)?;
    let Some(given) = given else { return Some(ALGORITHMS.map(str::to_owned).to_vec()) };
    for name in &given {
        if !ALGORITHMS.contains(&name.as_str()) {
            let message = format!("{} is not accepted", quote(name));
            let hint = suggestion(name, &ALGORITHMS);
            let advice = format!("use some of {}{hint}", ALGORITHMS.join(", "));
            section.refuse_key("algorithms", &message, &advice);
            return None;
        }
    }
    if given.is_empty() {
        section.refuse_key("algorithms", "is empty", "name one, or leave the key out");
        return None;
    }
    Some(given)
}
