//! One issuer of tokens: what the operator says of it, and its keys.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::jwk::Algorithm;

use super::audience::Audience;
use super::issuer_keys::IssuerKeys;

/// What the operator says of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Stands in front of the names of principals.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are; `None`: where its metadata says.
    pub keys_url: Option<String>,
    /// Whom its tokens are for.
    pub audience: Audience,
    /// The claims that name the principal and its groups.
    pub principal_claim: String,
    pub groups_claim: String,
    /// Scopes that every token needs.
    pub scopes: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks may differ.
    pub skew: Duration,
    /// Time between two fetches of its keys.
    pub refresh: Duration,
}

impl IssuerSettings {
    /// Whether its keys are fetched as those of the other one.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        let fetched = |of: &Self| (of.name.clone(), of.issuer.clone(), of.keys_url.clone());
        fetched(self) == fetched(other) && self.refresh == other.refresh
    }
}

/// An issuer, and its keys.
#[derive(Debug)]
pub struct Issuer {
    pub settings: IssuerSettings,
    pub keys: Arc<IssuerKeys>,
    /// Its name in front of principals, by which rules know it.
    pub name: Arc<str>,
}
