//! The URL of a proxy, which may carry user and password, and may lack its scheme.

use crate::config::reader::secret::Secret;

/// Ports of proxies whose URL has none, as curl has them.
const PORT: u16 = 1080;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyScheme {
    Http,
    /// HTTP over TLS.
    Https,
    Socks5,
}

/// A proxy. `Debug` prints no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    pub scheme: ProxyScheme,
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
    /// User and password, as they are: no escapes.
    pub credentials: Option<(Secret, Secret)>,
    /// Where it is set, for errors: a variable, or the server's own `proxy`.
    pub named_by: &'static str,
}

/// The proxy that a URL names, or what is wrong with it. The message never repeats the text, which
/// may hold a password.
pub(in crate::config) fn parse(
    text: &str,
    named_by: &'static str,
) -> Result<ProxySettings, &'static str> {
    let text = with_scheme(text.trim());
    let (scheme, rest) = text.split_once("://").ok_or("is not a URL")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => ProxyScheme::Http,
        "https" => ProxyScheme::Https,
        "socks5" | "socks5h" | "socks" => ProxyScheme::Socks5,
        "socks4" | "socks4a" => return Err("names a SOCKS4 proxy, which is not supported"),
        _ => return Err("must begin with http://, https:// or socks5://"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, authority),
    };
    let (host, port) = host_and_port(place)?;
    let port = match (port, scheme) {
        (Some(port), _) => port,
        (None, ProxyScheme::Http) => 80,
        (None, ProxyScheme::Https) => 443,
        (None, ProxyScheme::Socks5) => PORT,
    };
    let credentials = user.map(|user| {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        (Secret::new(unescaped(user)), Secret::new(unescaped(password)))
    });
    Ok(ProxySettings { scheme, host, port, credentials, named_by })
}

/// The text as a URL: many variables hold only host and port.
pub(in crate::config) fn with_scheme(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

pub(in crate::config) fn host_and_port(place: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("has an address without ]")?;
            (host, rest.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err("has no host that can be reached");
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("has a port that is not a number from 1 to 65535"),
        },
    };
    Ok((host.to_owned(), port))
}

/// Replaces `%41` by the byte that it stands for. What is no such escape, or no text afterwards,
/// stays as it is.
pub(in crate::config) fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let escape = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape.filter(|_| *byte == b'%') {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// The text as a part of a URL: all but letters and digits as escapes.
pub(in crate::config) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_or_without_scheme_port_and_credentials() {
        let read = |text: &str| {
            let proxy = parse(text, "X")?;
            let said = proxy
                .credentials
                .map(|(user, password)| format!("{}:{}", user.expose(), password.expose()));
            Ok::<_, &str>((proxy.scheme, format!("{}:{}", proxy.host, proxy.port), said))
        };
        let (http, some) = (ProxyScheme::Http, |text: &str| Some(text.to_owned()));
        for (text, expect) in [
            ("http://p:3128", (http, "p:3128", None)),
            ("p:3128", (http, "p:3128", None)),
            ("HTTP://p/", (http, "p:80", None)),
            ("https://p", (ProxyScheme::Https, "p:443", None)),
            ("socks5h://p", (ProxyScheme::Socks5, "p:1080", None)),
            ("http://[fd00::1]:81", (http, "fd00::1:81", None)),
            ("http://u:a%40b%3A%2f@p:1", (http, "p:1", some("u:a@b:/"))),
            ("u:p@w@p:1", (http, "p:1", some("u:p@w"))),
            ("http://u@p", (http, "p:80", some("u:"))),
            ("http://u:%zz%e2%82@p", (http, "p:80", some("u:%zz%e2%82"))),
        ] {
            let (scheme, place, said) = expect;
            assert_eq!(read(text), Ok((scheme, place.to_owned(), said)), "{text}");
        }
        for text in ["ftp://p", "socks4://p:1", "http://", "http://p:0", "http://p:x", "http://a b"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(unescaped(&escaped("p@ß:%")), "p@ß:%");
    }
}
