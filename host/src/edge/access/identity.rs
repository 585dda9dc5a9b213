//! Who a caller is beside its principal, as far as the operator's rules and limits ask.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Policy, Principal, Rights, RuleSubject};
use crate::protocol::jwt::TokenClaims;
use crate::sync::Locked;

use super::issuer::Issuer;
use super::rates::Rates;

/// Most sets of rules whose rights are kept. Tokens decide which sets there are.
const MOST_RIGHTS: usize = 4096;

/// What is decided about a caller once, when its credential is read.
#[derive(Debug, Default)]
pub struct CallerIdentity {
    /// The key, or the issuer of the token; `None` without a credential.
    pub key: Option<Arc<str>>,
    /// Which of the operator's limits are for it, by their numbers.
    pub limits: Box<[u16]>,
    /// What it may use; `None` if that is everything.
    pub rights: Option<Arc<Rights>>,
    /// The same, whatever it is; `None` where there is no table. Logs name rules by it.
    pub ruled: Option<Arc<Rights>>,
    /// Whether the credential opens the management API.
    pub manages: bool,
    /// What its token says; `None` if it has none.
    pub token: Option<TokenGrounds>,
}

/// What has let the holder of a token in, to be judged again by newer settings.
#[derive(Debug)]
pub struct TokenGrounds {
    pub issuer: Arc<Issuer>,
    pub groups: Box<[String]>,
    /// What servers may be told of the caller.
    pub claims: TokenClaims,
    /// The paths for which alone the token is; empty if it is for the gateway as a whole.
    pub paths: Box<[String]>,
}

/// The table of rules, and the rights that it has come to so far. Callers with the same rules share
/// their rights, so that catalogs are merged once for all of them.
#[derive(Debug, Default)]
pub struct PolicyTable {
    /// `None`: there is no table, and everything may be used.
    policy: Option<Policy>,
    /// `None`: nothing is counted.
    rates: Option<Arc<Rates>>,
    known: Locked<HashMap<Vec<u16>, Arc<Rights>>>,
}

impl PolicyTable {
    #[must_use]
    pub fn new(policy: Option<Policy>, rates: Option<Arc<Rates>>) -> Self {
        Self { policy, rates, known: Locked::default() }
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Whether nothing is decided by identities.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policy.is_none() && self.rates.is_none()
    }

    /// The identity of a caller. `is_whole` says whether its credential opens the management API
    /// where there is no table.
    #[must_use]
    pub fn identity(
        &self,
        principal: &Principal,
        key: Option<&Arc<str>>,
        groups: &[&str],
        is_whole: bool,
    ) -> CallerIdentity {
        let holder =
            RuleSubject { principal: principal.as_str(), key: key.map(AsRef::as_ref), groups };
        let found = self.policy.as_ref().map(|policy| self.rights(policy, holder));
        let manages = found.as_ref().map_or(is_whole, |rights| rights.manages());
        CallerIdentity {
            key: key.cloned(),
            limits: self
                .rates
                .as_ref()
                .map(|rates| rates.numbers(holder))
                .unwrap_or_default()
                .into(),
            rights: found.clone().filter(|rights| !rights.are_all()),
            ruled: found,
            manages,
            token: None,
        }
    }

    fn rights(&self, policy: &Policy, holder: RuleSubject<'_>) -> Arc<Rights> {
        let numbers = policy.numbers(holder);
        let mut known = self.known.lock();
        if let Some(rights) = known.get(&numbers) {
            return Arc::clone(rights);
        }
        if known.len() >= MOST_RIGHTS {
            known.clear();
        }
        let rights = Arc::new(policy.rights(&numbers));
        known.insert(numbers, Arc::clone(&rights));
        rights
    }
}
