//! The issuers whose tokens let clients in, and what becomes of a token (RFC 9068 §4).
//!
//! A token is verified once, and remembered by its digest: looking for it compares nothing that a
//! stranger could find out byte by byte. It is verified again when its issuer's keys have changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::model::Principal;
use crate::protocol::jwt::{MAX_TOKEN, SignedToken, TokenClaims, Unreadable};
use crate::sync::Locked;

use super::identity::{CallerIdentity, PolicyTable, TokenGrounds};
use super::issuer::{Issuer, IssuerSettings};
use super::issuer_keys::{IssuerKeys, KnownKeys};
use super::token_refusal::TokenFault;

/// Most tokens that are remembered; then all are forgotten, and verified again when they come.
const MOST_REMEMBERED: usize = 16 * 1024;
/// Most bytes of a principal's name behind that of its issuer. It goes along with every message.
const MAX_SUBJECT: usize = 256;
/// Most groups of a token, and bytes of one. To leave some out could leave a rule out that denies.
const MAX_GROUPS: usize = 256;
const MAX_GROUP: usize = 256;

/// All issuers.
#[derive(Debug)]
pub struct Issuers {
    pub all: Vec<Arc<Issuer>>,
    policy: Arc<PolicyTable>,
    remembered: Locked<HashMap<[u8; 32], Arc<TokenHolder>>>,
}

/// The holder of a token that was accepted.
#[derive(Debug)]
pub struct TokenHolder {
    pub principal: Principal,
    pub identity: Arc<CallerIdentity>,
    /// Its issuer, by its place; and the number of the keys that it was verified with.
    issuer: usize,
    keys: u64,
    /// From when to when it counts, in seconds since 1970; the clocks' difference is in it already.
    from: f64,
    until: f64,
    /// Whether it has the scopes that it needs.
    has_scopes: bool,
}

impl Issuers {
    /// Issuers whose settings are those of before keep the keys that are known of them.
    #[must_use]
    pub fn new(all: Vec<IssuerSettings>, policy: Arc<PolicyTable>, before: Option<&Self>) -> Self {
        let known = before.map(|before| &before.all[..]).unwrap_or_default();
        let issuer = |settings: IssuerSettings| {
            if let Some(same) = known.iter().find(|known| known.settings == settings) {
                return Arc::clone(same);
            }
            // Those that wait for a token to be verified go on with the same keys.
            let keys = known.iter().find(|known| known.settings.has_keys_of(&settings));
            let keys = keys.map(|known| Arc::clone(&known.keys)).unwrap_or_default();
            Arc::new(Issuer { name: settings.name.as_str().into(), settings, keys })
        };
        let all = all.into_iter().map(issuer).collect();
        // What is remembered was decided by another table, or by other issuers.
        Self { all, policy, remembered: Locked::default() }
    }

    /// What is decided now about one that has come in by a token before. `None` if its issuer's
    /// tokens do not let in any more, or by other rules: only another look at the token could tell.
    #[must_use]
    pub fn again(&self, principal: &Principal, grounds: &TokenGrounds) -> Option<CallerIdentity> {
        let issuer = self.all.iter().find(|issuer| Arc::ptr_eq(issuer, &grounds.issuer))?;
        let groups: Vec<&str> = grounds.groups.iter().map(String::as_str).collect();
        Some(self.policy.identity(principal, Some(&issuer.name), &groups, false))
    }

    /// The `iss` of all of them, for clients that look for one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|issuer| issuer.settings.issuer.as_str())
    }

    /// The scopes that a token of any issuer needs.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let mut scopes: Vec<String> = Vec::new();
        for scope in self.all.iter().flat_map(|issuer| &issuer.settings.scopes) {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }

    /// The holder of a token that is accepted for a path.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn admit(&self, token: &str, path: &str) -> Result<Arc<TokenHolder>, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(invalid(Unreadable::Long));
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.remembered.lock().get(&digest).cloned();
        let holder = match known.filter(|holder| self.number_of(holder.issuer) == holder.keys) {
            Some(holder) => holder,
            None => {
                let holder = Arc::new(self.verified(token).await?);
                let mut remembered = self.remembered.lock();
                if remembered.len() >= MOST_REMEMBERED {
                    remembered.clear();
                }
                remembered.insert(digest, Arc::clone(&holder));
                holder
            }
        };
        holder.counts(now(), path)?;
        Ok(holder)
    }

    fn number_of(&self, issuer: usize) -> u64 {
        self.all.get(issuer).map_or(0, |issuer| issuer.keys.number())
    }

    /// Reads a token and verifies it. Whether it counts now is another question.
    async fn verified(&self, text: &str) -> Result<TokenHolder, TokenFault> {
        let token = SignedToken::read(text).map_err(invalid)?;
        let named = token.claims.text("iss");
        let place = self.all.iter().position(|issuer| Some(&*issuer.settings.issuer) == named);
        let found = place.and_then(|place| Some((place, self.all.get(place)?)));
        let (place, issuer) =
            found.ok_or_else(|| invalid("the token's issuer is not one of the gateway's"))?;
        let settings = &issuer.settings;
        if !settings.algorithms.contains(&token.algorithm) {
            return Err(invalid(Unreadable::Algorithm));
        }
        let known = issuer.keys.candidates(token.algorithm, token.key.as_deref()).await;
        let number = signed_with(&issuer.keys, &token, known).await?;
        let claims = &token.claims;
        let (from, until) = times(claims, settings.skew.as_secs_f64())?;
        let audience = settings.audience.paths(&claims.texts("aud"));
        let paths = audience.ok_or_else(|| invalid("the token is for another audience"))?;
        let principal = principal(claims, settings)?;
        let groups = claims.words_alone(&settings.groups_claim).ok_or_else(|| {
            let claim = &settings.groups_claim;
            invalid(format!("the token's claim {claim} is neither a text nor a list of texts"))
        })?;
        if groups.len() > MAX_GROUPS || groups.iter().any(|group| group.len() > MAX_GROUP) {
            return Err(invalid(format!(
                "the token names more than {MAX_GROUPS} groups, or one of more than {MAX_GROUP} bytes"
            )));
        }
        let granted = [claims.words("scope"), claims.words("scp")].concat();
        let has_scopes = settings.scopes.iter().all(|scope| granted.contains(&scope.as_str()));
        let identity = self.policy.identity(&principal, Some(&issuer.name), &groups, false);
        let groups = groups.into_iter().map(str::to_owned).collect();
        let (issuer, paths) = (Arc::clone(issuer), paths.into_boxed_slice());
        let token = Some(TokenGrounds { issuer, groups, claims: token.claims, paths });
        let identity = CallerIdentity { token, ..identity };
        Ok(TokenHolder {
            principal,
            identity: Arc::new(identity),
            issuer: place,
            keys: number,
            from,
            until,
            has_scopes,
        })
    }
}

impl TokenHolder {
    fn counts(&self, now: f64, path: &str) -> Result<(), TokenFault> {
        if now >= self.until {
            return Err(invalid("the token has expired"));
        }
        if now < self.from {
            return Err(invalid("the token does not count yet"));
        }
        let paths = self.identity.token.as_ref().map_or(&[][..], |token| &token.paths[..]);
        if !paths.is_empty() && !paths.iter().any(|own| is_of(own, path)) {
            return Err(invalid("the token is for another resource of the gateway"));
        }
        if self.has_scopes { Ok(()) } else { Err(TokenFault::Insufficient) }
    }
}

/// Whether a token for one path counts for another. Clients post to `/messages` what belongs to a
/// stream of `/sse`; of which one is looked at there.
fn is_of(own: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    own == path || (path == "/messages" && own.starts_with("/sse"))
}

/// Finds the key that the token is signed with. The number is that of the set that has it.
async fn signed_with(
    all: &IssuerKeys,
    token: &SignedToken<'_>,
    known: KnownKeys,
) -> Result<u64, TokenFault> {
    let signed = |known: &KnownKeys| {
        known.keys.as_ref().is_some_and(|keys| keys.iter().any(|key| token.is_signed_by(key)))
    };
    let Some(keys) = &known.keys else {
        let why = known.why.unwrap_or_else(|| "it has not answered".to_owned());
        return Err(TokenFault::Unknown(why));
    };
    if signed(&known) {
        return Ok(known.number);
    }
    if keys.is_empty() {
        // What the issuer has by now cannot be told while it does not answer: only an answer shows
        // that the token is wrong, and a client that believes it is would throw a good one away.
        return Err(match known.why {
            Some(why) => TokenFault::Unknown(why),
            None => invalid("the token is signed with a key that its issuer does not have"),
        });
    }
    let newer = all.newer(&known, token.algorithm, token.key.as_deref()).await;
    let newer = newer.filter(signed).ok_or_else(|| invalid("the token's signature is wrong"))?;
    Ok(newer.number)
}

/// From when to when the token counts.
fn times(claims: &TokenClaims, skew: f64) -> Result<(f64, f64), TokenFault> {
    let wrong = |_| invalid("the token's times are not numbers");
    let until = claims.time("exp").map_err(wrong)?;
    let until = until.ok_or_else(|| invalid("the token does not say when it expires"))?;
    claims.time("iat").map_err(wrong)?;
    let from = claims.time("nbf").map_err(wrong)?.unwrap_or(f64::NEG_INFINITY);
    Ok((from - skew, until + skew))
}

fn principal(claims: &TokenClaims, settings: &IssuerSettings) -> Result<Principal, TokenFault> {
    let claim = &settings.principal_claim;
    let subject = claims.text(claim).unwrap_or("");
    if subject.trim().is_empty() || subject.len() > MAX_SUBJECT {
        return Err(invalid(format!(
            "the token's claim {claim} is not a text of 1 to {MAX_SUBJECT} bytes"
        )));
    }
    // No key has such a name, and no other issuer.
    Ok(Principal::named(&format!("{}:{subject}", settings.name)))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn invalid(why: impl ToString) -> TokenFault {
    TokenFault::Invalid(why.to_string())
}

#[cfg(test)]
mod tests;
