//! The URL of Redis or Valkey: `redis://user:password@host:6379/0`, or `rediss://` for TLS.

use crate::config::reader::secret::Secret;

use super::proxy_url::{host_and_port, unescaped};

/// The port of a URL without one.
const PORT: u16 = 6379;

/// Where Redis is, and as whom it is used. `Debug` prints no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// A name or an address, an IPv6 one without brackets.
    pub host: String,
    pub port: u16,
    pub is_tls: bool,
    /// The ACL user; without one, Redis takes `default`.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u16,
}

/// For pages and log lines: without user and password.
impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, is_tls, database, .. } = self;
        let scheme = if *is_tls { "rediss" } else { "redis" };
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}/{database}"),
            false => write!(f, "{scheme}://{host}:{port}/{database}"),
        }
    }
}

/// Whether a text is meant to be such a URL.
pub(in crate::config) fn is_redis(text: &str) -> bool {
    scheme_in(text).is_some()
}

/// The Redis that a URL names, or what is wrong with it. The message never repeats the text, which
/// may hold a password.
pub(in crate::config) fn parse(text: &str) -> Result<RedisUrl, &'static str> {
    let (is_tls, rest) = scheme_in(text).ok_or("must begin with redis:// or rediss://")?;
    if rest.contains(['?', '#']) {
        return Err("must not carry a query");
    }
    // A password may have any character; the host has neither of these.
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (place, database) = place.split_once('/').unwrap_or((place, ""));
    let database = match database.trim_end_matches('/') {
        "" => 0,
        number => number.parse().map_err(|_| "names a database that is not a number")?,
    };
    let (host, port) = host_and_port(place)?;
    let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((user, password)) => (filled(user), filled(password)),
        None => (None, None),
    };
    if user.is_some() && password.is_none() {
        return Err("names a user without a password");
    }
    let (port, password) = (port.unwrap_or(PORT), password.map(Secret::new));
    Ok(RedisUrl { host, port, is_tls, user, password, database })
}

/// Whether TLS is meant, and what follows.
fn scheme_in(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => Some((false, rest)),
        "rediss" | "valkeys" => Some((true, rest)),
        _ => None,
    }
}

fn filled(text: &str) -> Option<String> {
    Some(unescaped(text)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_shown_without_its_password() {
        for (text, shown, user, password) in [
            ("redis://h", "redis://h:6379/0", None, None),
            ("rediss://h:1/3", "rediss://h:1/3", None, None),
            ("valkey://[::1]:7/", "redis://[::1]:7/0", None, None),
            ("redis://:p%40w@h", "redis://h:6379/0", None, Some("p@w")),
            ("REDIS://u:p/w:@x@h/1", "redis://h:6379/1", Some("u"), Some("p/w:@x")),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.user.as_deref(), user);
            assert_eq!(url.password.as_ref().map(Secret::expose), password);
            assert!(!format!("{url:?}").contains("p@w"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for (text, problem) in [
            ("http://h", "must begin with redis:// or rediss://"),
            ("redis://", "has no host that can be reached"),
            ("redis://h:0", "has a port that is not a number from 1 to 65535"),
            ("redis://h/x", "names a database that is not a number"),
            ("redis://u@h", "names a user without a password"),
            ("redis://h?db=1", "must not carry a query"),
        ] {
            assert_eq!(parse(text).unwrap_err(), problem, "{text}");
        }
    }
}
