//! The tokens of users: one login for each principal and server, kept sealed, renewed before its token
//! ends, and dropped when its issuer or server takes it no more. No token of one principal is looked for
//! under another's name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::model::{Principal, ServerName, SessionId};
use crate::net::Pool;
use crate::oauth::authorization::LoginRequest;
use crate::oauth::denied::Denied;
use crate::oauth::fetch::Granted;
use crate::oauth::user_grant::{UserClient, UserGrant, UserTokenServer};
use crate::oauth::{LoginTerms, pkce};
use crate::store::{KeptLogins, LoginName};
use crate::sync::Locked;

use super::held_login::{HeldLogin, LoginLook};
use super::issuers::LoginIssuers;
use super::pending::{PendingLogin, PendingLogins};
use super::record::LoginRecord;
use super::user_lists::{LoginKey, UserLists};

/// Most logins in memory; then the one that was used longest ago gives way.
const MOST: usize = 16_384;
const KIND: &str = "login";

/// Why there is no token.
#[derive(Debug, Clone)]
pub enum NotReady {
    /// The user has to log in.
    LoggedOut,
    /// It may be had later.
    Failed { why: String, after: Duration },
}

/// A login that is over, well.
pub struct LoggedIn {
    pub principal: Principal,
    pub server: ServerName,
    /// The sessions that wait for it.
    pub sessions: Vec<SessionId>,
}

/// What the edge knows of its users' logins, whatever the settings are.
pub struct UserTokens {
    kept: KeptLogins,
    held: Locked<Held>,
    /// Held while a login is looked for, renewed or made.
    turns: Locked<HashMap<LoginKey, Arc<tokio::sync::Mutex<()>>>>,
    /// What a server last listed for a user, for the time in which no session has it open.
    pub lists: UserLists,
    pub pending: PendingLogins,
    issuers: LoginIssuers,
}

#[derive(Default)]
struct Held {
    logins: HashMap<LoginKey, HeldLogin>,
    /// Counts uses.
    clock: u64,
}

impl UserTokens {
    #[must_use]
    pub fn new(kept: KeptLogins) -> Self {
        Self {
            pending: PendingLogins::new(kept.clone()),
            issuers: LoginIssuers::new(kept.clone()),
            kept,
            held: Locked::default(),
            turns: Locked::default(),
            lists: UserLists::default(),
        }
    }

    /// The token that a principal's requests carry now; `None` before it is ready.
    #[must_use]
    pub fn token(&self, key: &LoginKey, terms: &LoginTerms) -> Option<HeaderValue> {
        let held = self.held.lock();
        let login = held.logins.get(key)?;
        login.token().filter(|_| login.record.fingerprint == terms.fingerprint())
    }

    /// Makes sure of a token that can be sent.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ready(
        self: &Arc<Self>,
        key: &LoginKey,
        terms: &Arc<LoginTerms>,
        pool: &Pool,
    ) -> Result<(), NotReady> {
        match self.look(key, terms) {
            LoginLook::Good => return Ok(()),
            LoginLook::Failed(why, after) => return Err(NotReady::Failed { why, after }),
            LoginLook::Stale => {}
        }
        // On a task: who asked may leave, and a refresh token that was used is gone.
        let (this, key, terms, pool) =
            (Arc::clone(self), key.clone(), Arc::clone(terms), pool.clone());
        let renewing = tokio::spawn(async move { this.renew(&key, &terms, &pool).await });
        renewing.await.unwrap_or_else(|_| {
            let why = "its users' tokens could not be renewed".to_owned();
            Err(NotReady::Failed { why, after: Duration::from_secs(1) })
        })
    }

    fn look(&self, key: &LoginKey, terms: &LoginTerms) -> LoginLook {
        let mut held = self.held.lock();
        held.clock += 1;
        let now = held.clock;
        match held.logins.get_mut(key) {
            Some(login) if login.record.fingerprint == terms.fingerprint() => {
                login.used = now;
                login.look()
            }
            _ => LoginLook::Stale,
        }
    }

    async fn renew(&self, key: &LoginKey, terms: &LoginTerms, pool: &Pool) -> Result<(), NotReady> {
        let turn = self.turn(key);
        let _turn = turn.lock().await;
        match self.look(key, terms) {
            LoginLook::Good => return Ok(()),
            LoginLook::Failed(why, after) => return Err(NotReady::Failed { why, after }),
            LoginLook::Stale => {}
        }
        let kept = match self.record(key).await {
            Ok(kept) => kept.filter(|record| record.fingerprint == terms.fingerprint()),
            Err(away) => return self.token(key, terms).map(drop).ok_or(away),
        };
        let Some(record) = kept else {
            self.held.lock().logins.remove(key);
            self.lists.forget(key);
            return Err(NotReady::LoggedOut);
        };
        // What another coordinator has renewed, or an earlier start has left.
        if self.held_record(key).is_none_or(|own| own.to_bytes() != record.to_bytes()) {
            self.hold(key, record.clone());
            if matches!(self.look(key, terms), LoginLook::Good) {
                return Ok(());
            }
        }
        match self.refreshed(terms, &record, pool).await {
            Some(Ok(granted)) => {
                let mut record = record;
                record.renew(&granted);
                self.keep(key, &record).await;
                self.with(key, |login| login.renewed(record));
                Ok(())
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
    fn client_now(&self, terms: &LoginTerms, client: UserClient) -> UserClient {
        match &terms.client {
            Some((id, secret)) if *id == client.id => {
                UserClient { secret: secret.clone(), ..client }
            }
            _ => client,
        }
    }

    /// A server has taken the token that was sent.
    pub fn accepted(&self, key: &LoginKey, used: &HeaderValue) {
        self.with(key, |login| login.accept(used));
    }

    /// A server has refused the token that was sent. The next one is renewed, or its user is asked
    /// again.
    pub async fn refused(&self, key: &LoginKey, used: Option<&HeaderValue>) {
        let turn = self.turn(key);
        let _turn = turn.lock().await;
        let goes_on = self.with(key, |login| login.refuse(used)).unwrap_or(true);
        if !goes_on {
            tracing::info!(server = %key.1, "the server refuses a user's token; the user is asked to log in again");
            self.forget(key).await;
            return;
        }
        if let Some(record) = self.held_record(key).filter(|record| record.access().is_none()) {
            self.keep(key, &record).await;
        }
    }

    /// Invites a user to log in; for as long as that can be done, to the same login. It comes back to
    /// `redirect`.
    ///
    /// # Errors
    /// Why nobody can log in.
    pub async fn invite(
        self: &Arc<Self>,
        (principal, server): &LoginKey,
        (terms, redirect): (&Arc<LoginTerms>, &str),
        session: SessionId,
        pool: &Pool,
    ) -> Result<PendingLogin, Denied> {
        let fingerprint = terms.fingerprint();
        let again = || self.pending.again((principal, server), (&fingerprint, redirect), session);
        if let Some(login) = again() {
            return Ok(login);
        }
        let turn = self.turn(&(principal.clone(), server.clone()));
        let _turn = turn.lock().await;
        if let Some(login) = again() {
            return Ok(login);
        }
        let (at, client) = self.issuers.of(server, terms, redirect, pool).await?;
        let random = || pkce::random().ok_or_else(|| Denied::from("no randomness".to_owned()));
        let (state, verifier, cookie) = (random()?, random()?, random()?);
        let asked =
            LoginRequest { client: &client.id, redirect, state: &state, verifier: &verifier };
        let url = at.login_url(terms, &asked);
        let login = PendingLogin::new(state, verifier, cookie, (&client).into());
        let mut login = login.for_user(principal, server);
        login.fingerprint = fingerprint;
        redirect.clone_into(&mut login.redirect);
        login.url = url;
        login.token_url = at.token.to_string();
        login.issuer.clone_from(&at.issuer);
        login.names_itself = at.names_itself;
        self.pending.begin(login.clone(), session).await;
        Ok(login)
    }

    /// Ends a login with the code that the user's browser has brought.
    ///
    /// # Errors
    /// Why there is no token for it.
    pub async fn log_in(
        self: &Arc<Self>,
        login: PendingLogin,
        terms: Arc<LoginTerms>,
        code: String,
        pool: Pool,
    ) -> Result<LoggedIn, Denied> {
        // On a task: the code is used up, whether the browser waits or not.
        let this = Arc::clone(self);
        let ending = tokio::spawn(async move { this.redeem(login, &terms, &code, &pool).await });
        ending.await.unwrap_or_else(|_| Err("the login could not be ended".to_owned().into()))
    }

    async fn redeem(
        &self,
        login: PendingLogin,
        terms: &LoginTerms,
        code: &str,
        pool: &Pool,
    ) -> Result<LoggedIn, Denied> {
        let gone = || Denied::from("the settings of the server have changed meanwhile".to_owned());
        let server = login.server().filter(|_| login.fingerprint == terms.fingerprint());
        let server = server.ok_or_else(gone)?;
        let uri = login.token_url.parse().map_err(|_| gone())?;
        let client = self.client_now(terms, login.client.clone().into());
        let resource = terms.resource();
        let at = UserTokenServer {
            uri: &uri,
            way: &terms.way,
            client: &client,
            resource: &resource,
            audience: &terms.audience,
        };
        let (verifier, redirect) = (&login.verifier, &login.redirect);
        let granted = at.token(&UserGrant::Code { code, verifier, redirect }, pool).await;
        let granted = match granted {
            Ok(granted) => granted,
            Err(why) => {
                if terms.client.is_none() && why.is_of_client {
                    self.issuers.forget_client(terms, login.issuer.as_deref(), redirect).await;
                }
                return Err(why);
            }
        };
        let record = LoginRecord::of(login.fingerprint.clone(), &granted, &uri, &client);
        let key = (login.principal(), server);
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        if !self.keep(&key, &record).await {
            tracing::warn!(server = %key.1, "a user's login is not kept: it ends with this process");
        }
        self.hold(&key, record);
        tracing::info!(server = %key.1, principal = key.0.as_str(), "a user has logged in");
        let sessions = login.sessions();
        Ok(LoggedIn { principal: key.0, server: key.1, sessions })
    }

    fn turn(&self, key: &LoginKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() >= MOST {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(key.clone()).or_default())
    }

    fn with<T>(&self, key: &LoginKey, change: impl FnOnce(&mut HeldLogin) -> T) -> Option<T> {
        self.held.lock().logins.get_mut(key).map(change)
    }

    fn held_record(&self, key: &LoginKey) -> Option<LoginRecord> {
        self.held.lock().logins.get(key).map(|login| login.record.clone())
    }

    fn hold(&self, key: &LoginKey, record: LoginRecord) {
        let mut held = self.held.lock();
        held.clock += 1;
        if held.logins.len() >= MOST && !held.logins.contains_key(key) {
            let oldest = held.logins.iter().min_by_key(|(_, login)| login.used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| held.logins.remove(&key));
        }
        let mut login = HeldLogin::of(record);
        login.used = held.clock;
        held.logins.insert(key.clone(), login);
    }

    /// The record of a login: where others may change it, as it is kept; else as it is in hand.
    async fn record(&self, key: &LoginKey) -> Result<Option<LoginRecord>, NotReady> {
        if !self.kept.is_shared()
            && let Some(record) = self.held_record(key)
        {
            return Ok(Some(record));
        }
        let parts = [key.0.as_str(), key.1.as_str()];
        let read = self.kept.read(LoginName { kind: KIND, parts: &parts }).await;
        let bytes = read.map_err(|_| {
            let why = "the coordinators' store, which has its users' logins, does not answer";
            NotReady::Failed { why: why.to_owned(), after: Duration::from_secs(1) }
        })?;
        Ok(bytes.and_then(|bytes| LoginRecord::from_bytes(&bytes)))
    }

    async fn keep(&self, (principal, server): &LoginKey, record: &LoginRecord) -> bool {
        let parts = [principal.as_str(), server.as_str()];
        self.kept.write(LoginName { kind: KIND, parts: &parts }, record.to_bytes(), None).await
    }

    async fn forget(&self, key: &LoginKey) {
        self.held.lock().logins.remove(key);
        self.lists.forget(key);
        let parts = [key.0.as_str(), key.1.as_str()];
        self.kept.remove(LoginName { kind: KIND, parts: &parts }).await;
    }
}
