//! Who may come in, decided as MCPHub decides it for `/mcp`.

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::config::reader::headers;
use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

use super::bearer_keys::{self, BearerKey, Keys};
use super::foreign_locks;
use super::token_issuers::{CERTIFICATES, TokenIssuer};

/// What is said where all keys of a file are without a value.
const NONE_IN_FORCE: &str = "no key of the file is in force: the gateway locks itself with a key of its own, generated-key in \
     the data folder";

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Nothing.
    Open,
    /// One of these keys; there is at least one.
    Keys(Vec<BearerKey>),
    /// A token of one of the issuers; there is no key.
    Tokens,
    /// A key that the gateway makes by itself: the file tells of a lock, and names no key that is in
    /// force.
    Generated,
}

impl Lock {
    /// The keys of the file.
    #[must_use]
    pub fn keys(&self) -> &[BearerKey] {
        match self {
            Self::Keys(keys) => keys,
            Self::Open | Self::Tokens | Self::Generated => &[],
        }
    }
}

/// Reads the lock. A node that serves no client of its own has one only if its file names keys.
pub(super) fn read(
    root: &Section<'_>,
    sources: &Sources<'_>,
    serves_clients: bool,
    issuers: &[TokenIssuer],
) -> Lock {
    let asked_for_tokens = root.section("systemConfig").section("auth").get("jwt");
    let root = root.clone().lenient_unless(!sources.allow_open);
    foreign_locks::refuse(&root, sources);
    let routing = root.section("systemConfig").section("routing");
    let asks = routing.get("enableBearerAuth");
    let asked = asks.as_ref().and_then(Item::flag);
    if let (Some(asks), Some(false)) = (asks, asked) {
        if !issuers.is_empty() {
            // Whoever names issuers relies on them.
            let asks = Item {
                place: asked_for_tokens.map_or(asks.place.clone(), |jwt| jwt.place),
                ..asks.clone()
            };
            asks.refuse(
                "is without effect beside \"enableBearerAuth\": false, which lets everybody in",
                "remove one of the two",
            );
        }
        if serves_clients {
            warn_of_open(&asks, &root);
        }
        return Lock::Open;
    }
    let Keys { in_force, without_value } = bearer_keys::read(&root, &routing, sources);
    if !in_force.is_empty() {
        warn_of_idle_locks(&root);
        refuse_names_of_others(&root, &in_force, issuers);
        return Lock::Keys(in_force);
    }
    if !issuers.is_empty() {
        warn_of_idle_locks(&root);
        return Lock::Tokens;
    }
    if root.notes.has_errors() {
        // A key may be among what cannot be read; the gateway does not start.
        return Lock::Generated;
    }
    if let Some(first) = without_value.first().filter(|_| !sources.allow_open) {
        first.warn(NONE_IN_FORCE, "put a value into the variable");
        return Lock::Generated;
    }
    let traces = foreign_locks::traces_without_key(&root);
    let Some(first) = traces.first().filter(|_| serves_clients) else { return Lock::Open };
    let named = names(&traces);
    if sources.allow_open {
        let message = format!("no key is named, and {named} keep no client out");
        first.warn(message, "the gateway is open because of --allow-open");
        return Lock::Open;
    }
    first.warn(
        format!(
            "the file tells of a lock that Mooring does not have ({named}) and names no key: the \
             gateway locks itself with a key of its own, generated-key in the data folder"
        ),
        "put a key of yours into bearerKeys or routing.bearerAuthKey, or open the gateway with \
         \"enableBearerAuth\": false in systemConfig.routing",
    );
    Lock::Generated
}

/// Whether the settings name an authority of clients. What has a wrong form is told by its own reader.
pub(in crate::config) fn takes_certificates(system: &Section<'_>) -> bool {
    let tls = object_in(system, "listen").and_then(|listen| object_in(&listen, "tls"));
    tls.is_some_and(|tls| tls.get("clientCa").is_some())
}

fn object_in<'d>(section: &Section<'d>, key: &str) -> Option<Section<'d>> {
    let item = section.get(key)?;
    item.value.as_object().map(|_| item.section())
}

/// A key must not be called as another credential is: its holder would have that one's sessions, or
/// rules could not tell the two apart.
fn refuse_names_of_others(root: &Section<'_>, keys: &[BearerKey], issuers: &[TokenIssuer]) {
    let by_certificate = takes_certificates(&root.section("systemConfig"));
    let issuers = issuers.iter().map(|issuer| (issuer.name.as_str(), "token"));
    let certificates = by_certificate.then_some((CERTIFICATES, "client certificate"));
    let others: Vec<(&str, &str)> = issuers.chain(certificates).collect();
    let Some(list) = root.get("bearerKeys") else { return };
    for key in keys {
        let rest_of = |other: &str| key.name.strip_prefix(other);
        let is_like = |(other, _): &&(&str, &str)| {
            rest_of(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        if let Some((_, what)) = others.iter().find(is_like) {
            let name = quote(&key.name);
            let message =
                format!("has the key {name}, which is called like the holder of a {what}");
            list.refuse(message, "give the key another name");
        }
    }
}

/// The header that carries the key; `Authorization` unless the file names another.
pub(super) fn header(root: &Section<'_>, sources: &Sources<'_>) -> HeaderName {
    let root = root.clone().lenient_unless(!sources.allow_open);
    let routing = root.section("systemConfig").section("routing");
    let Some(item) = routing.get("bearerAuthHeaderName") else { return AUTHORIZATION };
    let Some(text) = item.text() else { return AUTHORIZATION };
    let name = text.trim();
    if name.is_empty() || name.eq_ignore_ascii_case(AUTHORIZATION.as_str()) {
        return AUTHORIZATION;
    }
    let checked = headers::check_affinity(name).and_then(|()| headers::parse(name));
    checked.unwrap_or_else(|problem| {
        item.refuse(problem, "name a header that only carries the key, such as X-Api-Key");
        AUTHORIZATION
    })
}

fn warn_of_open(asks: &Item<'_>, root: &Section<'_>) {
    let mut idle = foreign_locks::traces(root);
    idle.extend(root.get("bearerKeys").filter(|item| !bearer_keys::is_empty_list(item)));
    let idle = match idle.as_slice() {
        [] => String::new(),
        idle => format!(", and {} keep no client out", names(idle)),
    };
    asks.warn(
        format!("is false: every program that reaches the port may use all servers{idle}"),
        "set it to true and name a key to lock the gateway",
    );
}

/// Warns once of all accounts that a file with keys names too.
fn warn_of_idle_locks(root: &Section<'_>) {
    let traces = foreign_locks::traces(root);
    let Some(first) = traces.first().filter(|_| traces.iter().any(is_filled)) else { return };
    let named = names(&traces);
    first.warn(
        format!("accounts of MCPHub, which Mooring does not have ({named})"),
        "clients come in by the keys of the file alone",
    );
}

fn is_filled(item: &Item<'_>) -> bool {
    item.value.as_array().is_none_or(|array| !array.elements.is_empty())
}

fn names(items: &[Item<'_>]) -> String {
    let names: Vec<&str> = items.iter().map(|item| item.place.path.as_str()).collect();
    names.join(", ")
}
