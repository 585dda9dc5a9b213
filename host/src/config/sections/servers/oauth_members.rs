//! Members of `oauth` that every way to a token has: texts, URLs, scopes, TLS with the token server.

use http::Uri;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::url::{self, UrlPurpose};
use crate::config::sections::proxy;

use super::server_tls::{self, ServerTls};

const AUTH_METHODS: [(&str, bool); 4] = [
    ("basic", false),
    ("client_secret_basic", false),
    ("post", true),
    ("client_secret_post", true),
];

/// A way to read a text of one line, with its variables replaced.
pub(super) type Line<'l> = &'l mut dyn FnMut(&Item<'_>) -> Option<String>;

/// Whether a client's secret goes into the body; `None` if nothing is said.
pub(super) fn auth_method(section: &Section<'_>) -> Option<bool> {
    section.choice("authMethod", "way to show a client's secret", &AUTH_METHODS)
}

/// TLS with the token server. `None` after a finding.
pub(super) fn tls(
    section: &Section<'_>,
    line: Line<'_>,
    sources: &Sources<'_>,
) -> Option<Option<ServerTls>> {
    match section.get("tls") {
        Some(item) => server_tls::read(&item, line, &sources.secrets).map(Some),
        None => Some(None),
    }
}

/// A text; empty if it is absent. `None` after a finding.
pub(super) fn text(section: &Section<'_>, key: &str, line: Line<'_>) -> Option<String> {
    section.get(key).map_or_else(|| Some(String::new()), |item| line(&item))
}

/// The URL at this key, which a secret goes to. `None` after a finding.
pub(super) fn url_at(section: &Section<'_>, key: &str, text: &str) -> Option<Uri> {
    let item = section.get(key)?;
    let purpose = if key == "issuer" { UrlPurpose::Base } else { UrlPurpose::Endpoint };
    let uri = url::parse(text, purpose)
        .map_err(|problem| item.refuse(problem, "write it like https://login.example.com/token"))
        .ok()?;
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    if uri.scheme_str() == Some("http") && !proxy::is_loopback(host) {
        item.warn("begins with http://, and the client's secret goes there", "use https://");
    }
    Some(uri)
}

/// `scope`, or `scopes` as a list or a text.
pub(super) fn scope(section: &Section<'_>, line: Line<'_>) -> Option<String> {
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
