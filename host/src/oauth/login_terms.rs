//! How users log in for a remote server.

use http::Uri;
use sha2::{Digest as _, Sha256};

use crate::config::Secret;

use super::terms::{ClientAuth, TokenWay};

/// All that decides where users of a server log in, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginTerms {
    /// The server's URL, which the tokens are for (RFC 8707).
    pub server: Uri,
    pub place: LoginPlace,
    /// The gateway's id there, as the operator has registered it; `None`: it registers itself.
    pub client: Option<(String, Option<Secret>)>,
    /// `None`: as the issuer says.
    pub auth: Option<ClientAuth>,
    /// Empty: as the server's metadata says, if it does.
    pub scope: String,
    /// In place of the server's URL.
    pub resource: String,
    pub audience: String,
    pub way: TokenWay,
}

/// Where users log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginPlace {
    /// Where the server's own metadata says (RFC 9728).
    Discovered,
    /// Where the metadata of this issuer says.
    Issuer(Uri),
    Endpoints {
        authorize: Uri,
        token: Uri,
    },
}

impl LoginTerms {
    /// The resource that tokens are asked for.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.resource.as_str() {
            // A URL without a path is written without a slash (2025-11-25, basic/authorization,
            // "Canonical Server URI").
            "" => {
                let whole = self.server.to_string();
                if self.server.path() == "/" {
                    whole.trim_end_matches('/').to_owned()
                } else {
                    whole
                }
            }
            own => own.to_owned(),
        }
    }

    /// What tokens have to have been given under to be sent: a token of another client, issuer or
    /// resource is of no use, or would go where nobody has sent it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let place = match &self.place {
            LoginPlace::Discovered => "discovered".to_owned(),
            LoginPlace::Issuer(issuer) => format!("issuer {issuer}"),
            LoginPlace::Endpoints { authorize, token } => format!("at {authorize} {token}"),
        };
        let client = self.client.as_ref().map_or("", |(id, _)| id);
        let parts = [
            &*self.server.to_string(),
            &*place,
            client,
            &*self.scope,
            &*self.resource(),
            &*self.audience,
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(server: &'static str) -> LoginTerms {
        LoginTerms {
            server: Uri::from_static(server),
            place: LoginPlace::Discovered,
            client: None,
            auth: None,
            scope: String::new(),
            resource: String::new(),
            audience: String::new(),
            way: TokenWay::default(),
        }
    }

    #[test]
    fn the_resource_is_the_servers_url_unless_another_is_named() {
        assert_eq!(terms("https://a.example/mcp").resource(), "https://a.example/mcp");
        assert_eq!(terms("https://a.example").resource(), "https://a.example");
        let named = LoginTerms { resource: "urn:a".to_owned(), ..terms("https://a.example") };
        assert_eq!(named.resource(), "urn:a");
    }

    #[test]
    fn other_terms_have_another_fingerprint() {
        let one = terms("https://a.example/mcp");
        assert_eq!(one.fingerprint(), one.clone().fingerprint());
        let client = |id: &str| Some((id.to_owned(), Some(Secret::new("s"))));
        for other in [
            terms("https://b.example/mcp"),
            LoginTerms { scope: "more".to_owned(), ..one.clone() },
            LoginTerms { client: client("c"), ..one.clone() },
            LoginTerms {
                place: LoginPlace::Issuer(Uri::from_static("https://login.example")),
                ..one.clone()
            },
        ] {
            assert_ne!(one.fingerprint(), other.fingerprint(), "{other:?}");
        }
        // Another secret of the same client changes nothing about tokens that were given.
        let secret = |text: &str| LoginTerms {
            client: Some(("c".to_owned(), Some(Secret::new(text)))),
            ..one.clone()
        };
        assert_eq!(secret("1").fingerprint(), secret("2").fingerprint());
    }
}
