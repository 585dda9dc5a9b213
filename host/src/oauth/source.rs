//! Where the token of a request comes from.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::model::SUBJECT_TOKEN;
use crate::net::Pool;

use super::exchanges::Exchanges;
use super::tokens::{NoToken, Tokens};

/// The tokens that a server gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// One for all: the gateway's own.
    Own(Arc<Tokens>),
    /// Each client's own, in exchange for the token that it came in with.
    Exchanged(Arc<Exchanges>),
}

/// A token that was sent, or is to be. Each call carries one, or none: it is small.
#[derive(Debug, Clone)]
pub struct AccessToken {
    value: Arc<HeaderValue>,
    tokens: Arc<Tokens>,
}

impl TokenSource {
    /// Whether clients' own tokens are exchanged.
    #[must_use]
    pub fn is_exchanged(&self) -> bool {
        matches!(self, Self::Exchanged(_))
    }

    /// The token for a request with these headers of its client.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token(&self, client: &HeaderMap, pool: &Pool) -> Result<AccessToken, NoToken> {
        let tokens = match self {
            Self::Own(tokens) => Arc::clone(tokens),
            Self::Exchanged(exchanges) => {
                let subject = client.get(SUBJECT_TOKEN);
                exchanges.of(subject.ok_or_else(NoToken::without_subject)?)
            }
        };
        let value = tokens.ready(pool).await?;
        Ok(AccessToken { value, tokens })
    }
}

impl AccessToken {
    /// What the `Authorization` header says.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Another one in place of it, which the server has refused; `None` if no other is to be had.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn another(&self, pool: &Pool) -> Result<Option<Self>, NoToken> {
        let value = self.tokens.instead_of(&self.value, pool).await?;
        Ok(value.map(|value| Self { value, tokens: Arc::clone(&self.tokens) }))
    }

    /// The server has let it in.
    pub fn note_accepted(&self) {
        self.tokens.accepted();
    }
}
