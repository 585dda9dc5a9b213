//! The tokens of users: one login for each principal and server, kept sealed, renewed before its token
//! ends, and dropped when its issuer or server takes it no more. No token of one principal is looked for
//! under another's name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::task::JoinHandle;

use crate::model::{Principal, ServerName, SessionId};
use crate::net::Pool;
use crate::oauth::authorization::LoginRequest;
use crate::oauth::denied::Denied;
use crate::oauth::user_grant::{UserGrant, UserTokenServer};
use crate::oauth::{LoginTerms, pkce};
use crate::store::KeptLogins;
use crate::sync::Locked;

use super::held_login::{HeldLogin, LoginLook};
use super::issuers::LoginIssuers;
use super::login_store::LoginStore;
use super::pending::{PendingLogin, PendingLogins};
use super::record::LoginRecord;
use super::user_lists::{LoginKey, UserLists};

/// Most logins in memory; then the one that was used longest ago gives way.
const MOST: usize = 16_384;

/// Why there is no token.
#[derive(Debug, Clone)]
pub enum NotReady {
    /// The user has to log in.
    LoggedOut,
    /// It may be had later.
    Failed { why: String, after: Duration },
}

/// Whether a login has begun just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsNew(pub bool);

/// A login that is over, well.
pub struct LoggedIn {
    pub principal: Principal,
    pub server: ServerName,
    /// The sessions that wait for it.
    pub sessions: Vec<SessionId>,
}

/// What the edge knows of its users' logins, whatever the settings are.
pub struct UserTokens {
    pub(super) kept: LoginStore,
    pub(super) held: Locked<Held>,
    /// Held while a login is looked for, renewed or made.
    turns: Locked<HashMap<LoginKey, Arc<tokio::sync::Mutex<()>>>>,
    /// What a server last listed for a user, for the time in which no session has it open.
    pub lists: UserLists,
    pub pending: PendingLogins,
    pub(super) issuers: LoginIssuers,
}

#[derive(Default)]
pub(super) struct Held {
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
            kept: LoginStore::new(kept),
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
            LoginLook::Aging => {
                // Nobody waits for its issuer while it is good.
                if self.with(key, |login| login.set_renewing(true)) == Some(true) {
                    drop(self.renewing(key, terms, pool));
                }
                return Ok(());
            }
            LoginLook::Stale => {}
        }
        let renewing = self.renewing(key, terms, pool);
        renewing.await.unwrap_or_else(|_| {
            let why = "its users' tokens could not be renewed".to_owned();
            Err(NotReady::Failed { why, after: Duration::from_secs(1) })
        })
    }

    /// Renews a login on a task: who asked may leave, and a refresh token that was used is gone.
    fn renewing(
        self: &Arc<Self>,
        key: &LoginKey,
        terms: &Arc<LoginTerms>,
        pool: &Pool,
    ) -> JoinHandle<Result<(), NotReady>> {
        let (this, key, terms, pool) =
            (Arc::clone(self), key.clone(), Arc::clone(terms), pool.clone());
        tokio::spawn(async move {
            let renewed = this.renew(&key, &terms, &pool).await;
            this.with(&key, |login| login.set_renewing(false));
            renewed
        })
    }

    pub(super) fn look(&self, key: &LoginKey, terms: &LoginTerms) -> LoginLook {
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

    /// A server has taken the token that was sent.
    pub fn accepted(&self, key: &LoginKey, used: &HeaderValue) {
        self.with(key, |login| login.accept(used));
    }

    /// Whether a user has logged in for all of these scopes just now, and the server wants them still.
    pub async fn was_asked_for(&self, key: &LoginKey, scopes: &[String]) -> bool {
        let record = self.record(key).await.ok().flatten();
        record.is_some_and(|record| record.was_asked_for(scopes))
    }

    /// Invites a user to log in; for as long as that can be done, to the same login. It comes back to
    /// `redirect`, and is for `more` scopes beside the usual ones, and those that the user has been asked
    /// for before.
    ///
    /// # Errors
    /// Why nobody can log in.
    pub async fn invite(
        self: &Arc<Self>,
        (principal, server): &LoginKey,
        (terms, redirect, more): (&Arc<LoginTerms>, &str, &[String]),
        session: SessionId,
        pool: &Pool,
    ) -> Result<(PendingLogin, IsNew), Denied> {
        let fingerprint = terms.fingerprint();
        let under = (&*fingerprint, redirect, more);
        let again = || self.pending.again((principal, server), under, session);
        if let Some(login) = again().await {
            return Ok((login, IsNew(false)));
        }
        let key = (principal.clone(), server.clone());
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        if let Some(login) = again().await {
            return Ok((login, IsNew(false)));
        }
        let before = self.record(&key).await.ok().flatten();
        let before = before.filter(|record| record.fingerprint == fingerprint);
        let mut more_scopes = before.map(|record| record.more_scopes).unwrap_or_default();
        let new: Vec<String> =
            more.iter().filter(|scope| !more_scopes.contains(scope)).cloned().collect();
        more_scopes.extend(new);
        let (at, client) = self.issuers.of(server, terms, redirect, pool).await?;
        let random = || pkce::random().ok_or_else(|| Denied::from("no randomness".to_owned()));
        let (state, verifier, cookie) = (random()?, random()?, random()?);
        let asked = LoginRequest {
            client: &client.id,
            redirect,
            state: &state,
            verifier: &verifier,
            more_scopes: &more_scopes,
        };
        let url = at.login_url(terms, &asked);
        let login = PendingLogin::new(state, verifier, cookie, (&client).into());
        let mut login = login.for_user(principal, server);
        (login.fingerprint, login.more_scopes) = (fingerprint.clone(), more_scopes);
        redirect.clone_into(&mut login.redirect);
        login.url = url;
        login.token_url = at.token.to_string();
        login.issuer.clone_from(&at.issuer);
        login.names_itself = at.names_itself;
        self.pending.begin(login.clone(), session).await;
        Ok((login, IsNew(true)))
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
        let record = LoginRecord::of(login.fingerprint.clone(), &granted, &uri, &client)
            .came_by(login.issuer.as_deref(), redirect)
            .asked_for(login.more_scopes.clone());
        let key = (login.principal(), server);
        let turn = self.turn(&key);
        let _turn = turn.lock().await;
        // What another coordinator renews of the login before goes before it.
        let shared = self.kept.turn(&key).await;
        let is_kept = self.kept.write(&key, &record).await;
        shared.end().await;
        if !is_kept {
            tracing::warn!(server = %key.1, "a user's login is not kept: it ends with this process");
        }
        self.hold(&key, record);
        tracing::info!(server = %key.1, principal = key.0.as_str(), "a user has logged in");
        let sessions = login.sessions();
        Ok(LoggedIn { principal: key.0, server: key.1, sessions })
    }

    pub(super) fn turn(&self, key: &LoginKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() >= MOST {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(key.clone()).or_default())
    }

    pub(super) fn with<T>(
        &self,
        key: &LoginKey,
        change: impl FnOnce(&mut HeldLogin) -> T,
    ) -> Option<T> {
        self.held.lock().logins.get_mut(key).map(change)
    }

    pub(super) fn held_record(&self, key: &LoginKey) -> Option<LoginRecord> {
        self.held.lock().logins.get(key).map(|login| login.record.clone())
    }

    pub(super) fn hold(&self, key: &LoginKey, record: LoginRecord) {
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
    pub(super) async fn record(&self, key: &LoginKey) -> Result<Option<LoginRecord>, NotReady> {
        if !self.kept.is_shared()
            && let Some(record) = self.held_record(key)
        {
            return Ok(Some(record));
        }
        self.kept.read(key).await.map_err(|_| {
            let why = "the coordinators' store, which has its users' logins, does not answer";
            NotReady::Failed { why: why.to_owned(), after: Duration::from_secs(1) }
        })
    }

    pub(super) fn drop_held(&self, key: &LoginKey) {
        self.held.lock().logins.remove(key);
        self.lists.forget(key);
    }

    pub(super) async fn forget(&self, key: &LoginKey) {
        self.drop_held(key);
        self.kept.remove(key).await;
    }
}
