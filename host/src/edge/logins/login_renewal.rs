//! Renewing the token of a user before it ends, and after its server has refused it. With several
//! coordinators each looks for what the others have done first: most issuers take a refresh token once.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::net::Pool;
use crate::oauth::LoginTerms;
use crate::oauth::denied::Denied;
use crate::oauth::fetch::Granted;
use crate::oauth::user_grant::{UserClient, UserGrant, UserTokenServer};

use super::held_login::LoginLook;
use super::login_store::Kept;
use super::record::LoginRecord;
use super::user_lists::LoginKey;
use super::user_tokens::{NotReady, UserTokens};

/// What a login is, after a look at where it is kept.
enum Latest {
    Good,
    ToRenew(Box<LoginRecord>),
    Ended(NotReady),
}

impl UserTokens {
    pub(super) async fn renew(
        &self,
        key: &LoginKey,
        terms: &LoginTerms,
        pool: &Pool,
    ) -> Result<(), NotReady> {
        let turn = self.turn(key);
        let _turn = turn.lock().await;
        match self.look(key, terms) {
            LoginLook::Good => return Ok(()),
            LoginLook::Failed(why, after) => return Err(NotReady::Failed { why, after }),
            LoginLook::Aging | LoginLook::Stale => {}
        }
        let record = match self.up_to_date(key, terms).await {
            Latest::Good => return Ok(()),
            Latest::Ended(why) => return Err(why),
            Latest::ToRenew(_) if self.kept.is_shared() => {
                // Others are asked what they have once more: one of them may be about to renew it.
                let turn = self.kept.turn(key).await;
                let renewed = match self.up_to_date(key, terms).await {
                    Latest::Good => Ok(()),
                    Latest::Ended(why) => Err(why),
                    Latest::ToRenew(record) => self.renew_record(key, terms, record, pool).await,
                };
                turn.end().await;
                return renewed;
            }
            Latest::ToRenew(record) => record,
        };
        self.renew_record(key, terms, record, pool).await
    }

    /// Takes what another coordinator has renewed, or an earlier start has left.
    async fn up_to_date(&self, key: &LoginKey, terms: &LoginTerms) -> Latest {
        let kept = match self.record(key).await {
            Ok(kept) => kept.filter(|record| record.fingerprint == terms.fingerprint()),
            Err(_) if self.token(key, terms).is_some() => return Latest::Good,
            Err(away) => return Latest::Ended(away),
        };
        let Some(record) = kept else {
            self.drop_held(key);
            return Latest::Ended(NotReady::LoggedOut);
        };
        if self.held_record(key).is_none_or(|own| own.to_bytes() != record.to_bytes()) {
            self.hold(key, record.clone());
            if matches!(self.look(key, terms), LoginLook::Good) {
                return Latest::Good;
            }
        }
        Latest::ToRenew(Box::new(record))
    }

    async fn renew_record(
        &self,
        key: &LoginKey,
        terms: &LoginTerms,
        record: Box<LoginRecord>,
        pool: &Pool,
    ) -> Result<(), NotReady> {
        match self.refreshed(terms, &record, pool).await {
            Some(Ok(granted)) => {
                let mut record = *record;
                record.renew(&granted);
                self.kept.write(key, &record).await;
                self.with(key, |login| login.renewed(record));
                Ok(())
            }
            // The gateway is not known there any more: nobody's login is of use with that client.
            Some(Err(why)) if why.is_of_client && terms.client.is_none() => {
                self.issuers.forget_client(terms, record.issuer(), record.redirect()).await;
                self.forget(key).await;
                Err(NotReady::LoggedOut)
            }
            Some(Err(why)) if !why.is_of_grant => {
                let pause = self.with(key, |login| login.failed(why.why.clone(), why.after));
                tracing::warn!(server = %key.1, "a user's token cannot be renewed: {}", why.why);
                let after = pause.unwrap_or(Duration::from_secs(1));
                let left = self.token(key, terms).map(drop);
                left.ok_or(NotReady::Failed { why: format!("no access token: {}", why.why), after })
            }
            // Its issuer takes it no more, or there is nothing to renew it by.
            Some(Err(_)) | None => {
                self.forget(key).await;
                Err(NotReady::LoggedOut)
            }
        }
    }

    /// What is granted for a record's refresh token; `None` if it has none.
    async fn refreshed(
        &self,
        terms: &LoginTerms,
        record: &LoginRecord,
        pool: &Pool,
    ) -> Option<Result<Granted, Denied>> {
        let (refresh, uri) = (record.refresh()?, record.token_url()?);
        let client = self.client_now(terms, record.client.clone().into());
        let resource = terms.resource();
        let at = UserTokenServer {
            uri: &uri,
            way: &terms.way,
            client: &client,
            resource: &resource,
            audience: &terms.audience,
        };
        Some(at.token(&UserGrant::Refresh(&refresh), pool).await)
    }

    /// The client of a record, with the secret that the settings give it by now.
    pub(super) fn client_now(&self, terms: &LoginTerms, client: UserClient) -> UserClient {
        match &terms.client {
            Some((id, secret)) if *id == client.id => {
                UserClient { secret: secret.clone(), ..client }
            }
            _ => client,
        }
    }

    /// A server has refused the token that was sent. The next one is renewed, or its user is asked
    /// again.
    pub async fn refused(self: &Arc<Self>, key: &LoginKey, used: Option<&HeaderValue>) {
        // On a task: who asked may leave, and others would wait for this turn.
        let (this, key, used) = (Arc::clone(self), key.clone(), used.cloned());
        let noting = tokio::spawn(async move {
            let own = this.turn(&key);
            let _own = own.lock().await;
            let turn = this.kept.turn(&key).await;
            this.note_refused(&key, used.as_ref()).await;
            turn.end().await;
        });
        drop(noting.await);
    }

    async fn note_refused(&self, key: &LoginKey, used: Option<&HeaderValue>) {
        match self.kept.shared(key).await {
            Kept::Own | Kept::Away => {}
            Kept::Shared(None) => return self.drop_held(key),
            // Another coordinator has renewed it meanwhile, or has heard the same.
            Kept::Shared(Some(record)) => {
                let is_refused = record.access().is_some_and(|(token, _)| Some(&token) == used);
                if self.held_record(key).is_none_or(|own| own.to_bytes() != record.to_bytes()) {
                    self.hold(key, *record);
                }
                if !is_refused {
                    return;
                }
            }
        }
        let goes_on = self.with(key, |login| login.refuse(used)).unwrap_or(true);
        if !goes_on {
            tracing::info!(server = %key.1, "the server refuses a user's token; the user is asked to log in again");
            self.forget(key).await;
            return;
        }
        if let Some(record) = self.held_record(key).filter(|record| record.access().is_none()) {
            self.kept.write(key, &record).await;
        }
    }
}
