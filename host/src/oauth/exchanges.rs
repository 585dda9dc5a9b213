//! Tokens of which each client has its own: what it came in with is exchanged (RFC 8693). Each inbound
//! token is exchanged once, and again before the outcome expires.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use crate::config::Secret;
use crate::sync::Locked;

use super::terms::TokenTerms;
use super::tokens::Tokens;

/// Most inbound tokens whose outcomes are kept; then the one that was used longest ago gives way.
const MOST: usize = 4096;

/// The exchanges for one server under the same settings.
pub struct Exchanges {
    terms: TokenTerms,
    known: Locked<Known>,
}

#[derive(Default)]
struct Known {
    /// By the digest of the inbound token, which itself is in what fetches alone.
    tokens: HashMap<[u8; 32], (Arc<Tokens>, u64)>,
    /// Counts uses.
    clock: u64,
}

impl PartialEq for Exchanges {
    fn eq(&self, other: &Self) -> bool {
        self.terms == other.terms
    }
}

impl Eq for Exchanges {}

impl fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exchanges").field(&self.terms).finish()
    }
}

impl Exchanges {
    #[must_use]
    pub fn new(terms: TokenTerms) -> Arc<Self> {
        Arc::new(Self { terms, known: Locked::default() })
    }

    /// What a client's token is exchanged for.
    #[must_use]
    pub fn of(&self, subject: &HeaderValue) -> Arc<Tokens> {
        let digest: [u8; 32] = Sha256::digest(subject.as_bytes()).into();
        let mut known = self.known.lock();
        known.clock += 1;
        let now = known.clock;
        if let Some((tokens, used)) = known.tokens.get_mut(&digest) {
            *used = now;
            return Arc::clone(tokens);
        }
        if known.tokens.len() >= MOST {
            let oldest = known.tokens.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(digest, _)| *digest);
            oldest.and_then(|digest| known.tokens.remove(&digest));
        }
        let subject = subject.to_str().unwrap_or_default().to_owned();
        let terms = TokenTerms { subject: Some(Secret::new(subject)), ..self.terms.clone() };
        let tokens = Tokens::new(terms);
        known.tokens.insert(digest, (Arc::clone(&tokens), now));
        tokens
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::super::terms::{TokenPlace, TokenServer, TokenWay};
    use super::*;

    #[test]
    fn each_inbound_token_has_its_own_and_they_are_bounded() {
        let server = TokenServer {
            place: TokenPlace::Endpoint(Uri::from_static("https://login.example/t")),
            way: TokenWay::default(),
        };
        let exchanges = Exchanges::new(TokenTerms {
            server,
            client_id: "id".to_owned(),
            client_secret: Secret::new("secret"),
            auth: None,
            scope: String::new(),
            resource: String::new(),
            audience: String::new(),
            subject: None,
            refresh: None,
        });
        let of = |token: &str| exchanges.of(&HeaderValue::from_str(token).unwrap());
        let (ann, ben) = (of("canary-ann"), of("canary-ben"));
        assert!(Arc::ptr_eq(&ann, &of("canary-ann")) && !Arc::ptr_eq(&ann, &ben));
        assert!(!format!("{ann:?}{exchanges:?}").contains("canary"));
        for number in 0..MOST {
            of("canary-ann");
            of(&format!("token-{number}"));
        }
        assert_eq!(exchanges.known.lock().tokens.len(), MOST);
        assert!(Arc::ptr_eq(&ann, &of("canary-ann")), "it was used all the time");
        assert!(!Arc::ptr_eq(&ben, &of("canary-ben")), "it has given way");
    }
}
