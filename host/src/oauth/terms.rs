//! What tokens of one server are fetched with.

use std::fmt;

use http::Uri;

use crate::config::Secret;
use crate::net::{Proxy, Target, TargetTls};

/// How a client shows its secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In an `Authorization` header.
    Basic,
    /// In the body.
    Post,
    /// It has none: its id stands in the body.
    Public,
}

/// All that decides which token comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    pub server: TokenServer,
    pub client_id: String,
    pub client_secret: Secret,
    /// `None`: as the issuer says, else basic.
    pub auth: Option<ClientAuth>,
    /// Empty texts are left out.
    pub scope: String,
    /// RFC 8707.
    pub resource: String,
    pub audience: String,
    /// The client's own token, for which one is given in exchange (RFC 8693).
    pub subject: Option<Secret>,
    /// The refresh token of the settings, for which tokens are given (RFC 6749 §6).
    pub refresh: Option<Secret>,
}

/// Where tokens come from, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenServer {
    pub place: TokenPlace,
    pub way: TokenWay,
}

/// How a token server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenWay {
    pub proxy: Option<Proxy>,
    pub tls: Option<TargetTls>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// The URL that issues tokens.
    Endpoint(Uri),
    /// One whose metadata names that URL (RFC 8414).
    Issuer(Uri),
}

impl TokenWay {
    /// The target of a URL there; `None` if it is neither `http` nor `https`.
    #[must_use]
    pub fn target(&self, uri: &Uri) -> Option<Target> {
        Target::through(uri, self.proxy.clone(), self.tls.clone())
    }
}

impl TokenServer {
    /// The URL that the settings name.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        match &self.place {
            TokenPlace::Endpoint(uri) | TokenPlace::Issuer(uri) => uri,
        }
    }
}

/// A URL for people: without path and query, which may hold keys.
pub struct Origin<'u>(pub &'u Uri);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host().unwrap_or("");
        write!(f, "{}://{host}", self.0.scheme_str().unwrap_or("http"))?;
        self.0.port_u16().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
