//! Where users of each server log in, and as what the gateway is known there: found when it is needed,
//! and kept for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::ServerName;
use crate::net::Pool;
use crate::oauth::authorization::{AuthorizationServer, discover};
use crate::oauth::denied::Denied;
use crate::oauth::registration::register;
use crate::oauth::user_grant::UserClient;
use crate::oauth::{ClientAuth, LoginTerms};
use crate::store::{KeptLogins, LoginName};
use crate::sync::{Locked, now};

use super::record::ClientRecord;

/// How long metadata counts.
const KEPT: Duration = Duration::from_secs(600);
/// How long a failure counts.
const FAILED: Duration = Duration::from_secs(5);
const KIND: &str = "client";

/// What is known of one server's logins.
#[derive(Clone)]
struct Known {
    fingerprint: String,
    found: Result<Arc<AuthorizationServer>, Denied>,
    until: Instant,
}

/// The authorization servers of remote servers.
pub struct LoginIssuers {
    kept: KeptLogins,
    known: Locked<HashMap<ServerName, Known>>,
    /// Held while one is looked for, so that many callers ask once.
    turns: Locked<HashMap<ServerName, Arc<tokio::sync::Mutex<()>>>>,
}

impl LoginIssuers {
    #[must_use]
    pub fn new(kept: KeptLogins) -> Self {
        Self { kept, known: Locked::default(), turns: Locked::default() }
    }

    /// Where users of a server log in, and the gateway there, whose logins come back to this URL.
    ///
    /// # Errors
    /// Why that is not known.
    pub async fn of(
        &self,
        server: &ServerName,
        terms: &LoginTerms,
        redirect: &str,
        pool: &Pool,
    ) -> Result<(Arc<AuthorizationServer>, UserClient), Denied> {
        let turn = Arc::clone(self.turns.lock().entry(server.clone()).or_default());
        let _turn = turn.lock().await;
        let found = self.found(server, terms, pool).await?;
        if let Some((id, secret)) = &terms.client {
            let auth = match secret {
                Some(_) => found.auth,
                None => ClientAuth::Public,
            };
            let client = UserClient { id: id.clone(), secret: secret.clone(), auth };
            return Ok((found, client));
        }
        let (fingerprint, issuer) = (terms.fingerprint(), found.issuer.as_deref().unwrap_or(""));
        let name = LoginName { kind: KIND, parts: &[&fingerprint, issuer, redirect] };
        let kept = self.kept.read(name).await.ok().flatten();
        if let Some(kept) = kept.and_then(|kept| ClientRecord::from_bytes(&kept)) {
            return Ok((found, kept.into()));
        }
        let client = match register(&found, redirect, &terms.way, pool).await {
            Ok(client) => client,
            Err(why) => {
                self.keep(server, terms, Err(why.clone()), FAILED);
                return Err(why);
            }
        };
        tracing::info!(server = %server, "registered as a client where its users log in");
        self.kept.write(name, ClientRecord::from(&client).to_bytes(), None).await;
        Ok((found, client))
    }

    async fn found(
        &self,
        server: &ServerName,
        terms: &LoginTerms,
        pool: &Pool,
    ) -> Result<Arc<AuthorizationServer>, Denied> {
        let fingerprint = terms.fingerprint();
        let known = self.known.lock().get(server).cloned();
        if let Some(known) = known.filter(|it| it.fingerprint == fingerprint && it.until > now()) {
            return known.found;
        }
        let found = discover(terms, pool).await.map(Arc::new);
        let time = if found.is_ok() { KEPT } else { FAILED };
        self.keep(server, terms, found.clone(), time);
        found
    }

    fn keep(
        &self,
        server: &ServerName,
        terms: &LoginTerms,
        found: Result<Arc<AuthorizationServer>, Denied>,
        time: Duration,
    ) {
        let known = Known { fingerprint: terms.fingerprint(), found, until: now() + time };
        self.known.lock().insert(server.clone(), known);
    }

    /// Forgets a registration: the gateway is not known there any more.
    pub async fn forget_client(&self, terms: &LoginTerms, issuer: Option<&str>, redirect: &str) {
        let (fingerprint, issuer) = (terms.fingerprint(), issuer.unwrap_or(""));
        self.kept.remove(LoginName { kind: KIND, parts: &[&fingerprint, issuer, redirect] }).await;
    }
}
