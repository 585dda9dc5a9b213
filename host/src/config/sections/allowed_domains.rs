//! Where servers behind a URL may be: `mcpSettings.allowedDomains` of LibreChat.

use http::Uri;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

use super::servers::transport::Transport;

/// The domains that are allowed; all, if there is no list.
#[derive(Debug, Default)]
pub(in crate::config) struct AllowedDomains(Option<Vec<AllowedDomain>>);

/// `example.com`, `*.example.com`, `https://example.com`, `https://example.com:8443`.
#[derive(Debug, PartialEq, Eq)]
struct AllowedDomain {
    scheme: Option<String>,
    host: String,
    /// Whether hosts below it are meant too.
    has_below: bool,
    port: Option<u16>,
}

impl AllowedDomain {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_owned()), rest),
            None => (None, &*text),
        };
        let authority = rest.split('/').next()?;
        let (authority, has_below) = match authority.strip_prefix("*.") {
            Some(base) => (base, true),
            None => (authority, false),
        };
        let uri: http::uri::Authority = authority.parse().ok()?;
        let host = uri.host().to_owned();
        let is_plain = !host.is_empty() && !host.contains('*') && !authority.contains('@');
        let port = match authority.strip_prefix(&*host)?.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        };
        is_plain.then_some(Self { scheme, host, has_below, port })
    }

    fn has(&self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default().to_ascii_lowercase();
        let is_below = || host.strip_suffix(&*self.host).is_some_and(|rest| rest.ends_with('.'));
        let usual = if url.scheme_str() == Some("http") { 80 } else { 443 };
        let port = url.port_u16().unwrap_or(usual);
        (host == self.host || self.has_below && is_below())
            && self.scheme.as_deref().is_none_or(|scheme| url.scheme_str() == Some(scheme))
            && self.port.is_none_or(|own| own == port)
    }
}

impl AllowedDomains {
    /// Whether a server may be where it is. A process is nowhere else.
    pub(in crate::config) fn allow(&self, transport: Option<&Transport>) -> bool {
        let remote = match transport {
            Some(
                Transport::Http(remote) | Transport::Sse(remote) | Transport::HttpOrSse(remote),
            ) => remote,
            Some(Transport::Stdio { .. }) | None => return true,
        };
        self.allow_url(&remote.url)
    }

    fn allow_url(&self, url: &Uri) -> bool {
        self.0.as_ref().is_none_or(|domains| domains.iter().any(|domain| domain.has(url)))
    }
}

/// A mistake in the list allows nothing, and stops nothing but what the rest of it does not name. An
/// empty one restricts nothing, as in LibreChat.
pub(in crate::config) fn read(root: &Section<'_>) -> AllowedDomains {
    let settings = root.get("mcpSettings").filter(|item| item.value.as_object().is_some());
    let Some(list) = settings.and_then(|item| item.section().get("allowedDomains")) else {
        return AllowedDomains::default();
    };
    let list = Item { place: list.place.clone().lenient(), ..list };
    if list.is_empty() {
        return AllowedDomains::default();
    }
    let items = if list.is_text() { vec![list] } else { list.items() };
    let domain = |item: &Item<'_>| {
        let parsed = AllowedDomain::parse(&item.text()?);
        if parsed.is_none() {
            let advice = "write it like example.com, *.example.com or https://example.com:8443";
            item.warn("is no domain, and allows nothing", advice);
        }
        parsed
    };
    AllowedDomains(Some(items.iter().filter_map(domain).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_allows_what_its_owner_meant_and_no_more() {
        for (domain, url, expect) in [
            ("example.com", "https://example.com/mcp", true),
            ("Example.COM", "http://EXAMPLE.com:8080/mcp", true),
            ("example.com", "https://a.example.com/mcp", false),
            ("example.com", "https://example.com.evil.org/mcp", false),
            ("*.example.com", "https://a.b.example.com/mcp", true),
            ("*.example.com", "https://example.com/mcp", true),
            ("*.example.com", "https://badexample.com/mcp", false),
            ("https://example.com", "https://example.com/mcp", true),
            ("https://example.com", "http://example.com/mcp", false),
            ("https://example.com:8443", "https://example.com:8443/mcp", true),
            ("https://example.com:8443", "https://example.com/mcp", false),
            ("example.com:443/x", "https://example.com/mcp", true),
            ("[::1]:80", "http://[::1]/mcp", true),
            ("127.0.0.1", "http://127.0.0.1:9/mcp", true),
        ] {
            let domains = AllowedDomains(Some(vec![AllowedDomain::parse(domain).unwrap()]));
            assert_eq!(domains.allow_url(&url.parse().unwrap()), expect, "{domain} {url}");
        }
        for text in ["", "*", "a.*.com", "user@example.com", "example.com:x", "a b"] {
            assert_eq!(AllowedDomain::parse(text), None, "{text}");
        }
    }
}
