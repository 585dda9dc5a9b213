//! Logins that users have been invited to. Each is for one principal, and may be taken up once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::{Principal, ServerName, SessionId};
use crate::protocol::objects::object_only;
use crate::store::{KeptLogins, LoginName};
use crate::sync::{Locked, now};

use super::record::ClientRecord;

/// How long a user has to log in.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// Of a login with less time left another invitation is made.
const LEAST_LEFT: Duration = Duration::from_secs(120);
/// Most logins at a time; then the oldest gives way.
const MOST: usize = 4096;
/// Most sessions of one principal that are told.
const MOST_SESSIONS: usize = 16;
/// Characters of a state.
const STATE: usize = 43;
const KIND: &str = "pending";

/// A login that has begun.
#[derive(Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct PendingLogin {
    /// Comes back with the code. Nobody else knows it.
    pub state: String,
    principal: String,
    server: String,
    /// That of the terms.
    pub fingerprint: String,
    pub verifier: String,
    /// Where the user's browser is sent back to.
    pub redirect: String,
    /// Where it is sent to.
    pub url: String,
    /// What the browser has to show that was sent there.
    pub cookie: String,
    pub token_url: String,
    pub client: ClientRecord,
    /// The issuer's name, if it is known, and whether answers have to carry it.
    pub issuer: Option<String>,
    pub names_itself: bool,
    /// The sessions that are told when it is over.
    sessions: Vec<String>,
    /// What is asked for beside the usual.
    #[serde(default)]
    pub more_scopes: Vec<String>,
}
object_only!(both PendingLogin);

impl PendingLogin {
    /// The name of the login, by which clients and pages know it. It does not tell the state.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(&self.state)
    }

    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal::named(&self.principal)
    }

    #[must_use]
    pub fn server(&self) -> Option<ServerName> {
        ServerName::parse(&self.server).ok()
    }

    #[must_use]
    pub fn sessions(&self) -> Vec<SessionId> {
        self.sessions.iter().filter_map(|id| SessionId::parse(id)).collect()
    }

    /// For a user of a server.
    #[must_use]
    pub fn for_user(self, principal: &Principal, server: &ServerName) -> Self {
        Self {
            principal: principal.as_str().to_owned(),
            server: server.as_str().to_owned(),
            ..self
        }
    }

    /// One without what binds it yet.
    #[must_use]
    pub fn new(state: String, verifier: String, cookie: String, client: ClientRecord) -> Self {
        Self {
            state,
            principal: String::new(),
            server: String::new(),
            fingerprint: String::new(),
            verifier,
            redirect: String::new(),
            url: String::new(),
            cookie,
            token_url: String::new(),
            client,
            issuer: None,
            names_itself: false,
            sessions: Vec::new(),
            more_scopes: Vec::new(),
        }
    }
}

/// The name of the login with this state.
#[must_use]
pub fn id_of(state: &str) -> String {
    let digest = Sha256::digest(format!("login {state}"));
    URL_SAFE_NO_PAD.encode(digest)
}

/// Whether a text may be a state or an id, before anything is asked about it.
#[must_use]
pub fn may_be(text: &str) -> bool {
    text.len() == STATE && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

struct Entry {
    login: PendingLogin,
    ends_at: Instant,
    /// Whether the other coordinators do not know of it.
    is_alone: bool,
    /// Whether it has come to its end at another one, of which its sessions are still to be told.
    is_over: bool,
}

/// What has become of a login that has begun here.
#[derive(Debug)]
pub enum LoginFate {
    NotYet,
    /// It has ended at another coordinator: these sessions have asked for it.
    Elsewhere(Vec<SessionId>),
    /// It has ended here, or given way.
    Here,
}

/// The logins of this process, and where several coordinators share them, those of all.
pub struct PendingLogins {
    kept: KeptLogins,
    /// By id.
    own: Locked<HashMap<String, Entry>>,
}

impl PendingLogins {
    #[must_use]
    pub fn new(kept: KeptLogins) -> Self {
        Self { kept, own: Locked::default() }
    }

    /// A login to which the same user is invited already, for these scopes too, with enough time left: the
    /// session is told too when it is over.
    pub async fn again(
        &self,
        whose: (&Principal, &ServerName),
        under: (&str, &str, &[String]),
        session: SessionId,
    ) -> Option<PendingLogin> {
        let own = self.own_again(whose, under, session)?;
        // It may have come to its end at another coordinator.
        self.get(&own.id()).await.map(|_| own)
    }

    fn own_again(
        &self,
        (principal, server): (&Principal, &ServerName),
        (fingerprint, redirect, more): (&str, &str, &[String]),
        session: SessionId,
    ) -> Option<PendingLogin> {
        let least = now() + LEAST_LEFT;
        let mut own = self.own.lock();
        let is_it = |entry: &&mut Entry| {
            let login = &entry.login;
            entry.ends_at > least
                && !entry.is_over
                && login.principal == principal.as_str()
                && login.server == server.as_str()
                && login.fingerprint == fingerprint
                && login.redirect == redirect
                && more.iter().all(|scope| login.more_scopes.contains(scope))
        };
        let login = &mut own.values_mut().find(is_it)?.login;
        add_session(login, session);
        Some(login.clone())
    }

    /// Keeps a login that begins, of which this session is told.
    pub async fn begin(&self, mut login: PendingLogin, session: SessionId) {
        add_session(&mut login, session);
        let id = login.id();
        {
            let (mut own, now) = (self.own.lock(), now());
            own.retain(|_, entry| entry.ends_at > now);
            if own.len() >= MOST {
                let oldest = own.iter().min_by_key(|(_, entry)| entry.ends_at);
                let oldest = oldest.map(|(id, _)| id.clone());
                oldest.and_then(|id| own.remove(&id));
            }
            let (login, ends_at) = (login.clone(), now + PATIENCE);
            let entry = Entry { login, ends_at, is_alone: true, is_over: false };
            own.insert(id.clone(), entry);
        }
        if self.kept.is_shared() {
            let bytes = serde_json::to_vec(&login).unwrap_or_default();
            let name = LoginName { kind: KIND, parts: &[&id] };
            if self.kept.write(name, bytes, Some(PATIENCE)).await
                && let Some(entry) = self.own.lock().get_mut(&id)
            {
                entry.is_alone = false;
            }
        }
    }

    /// The login of this name.
    pub async fn get(&self, id: &str) -> Option<PendingLogin> {
        if !may_be(id) {
            return None;
        }
        let (own, is_alone) = match self.own.lock().get(id).filter(|entry| entry.ends_at > now()) {
            Some(entry) => (Some(entry.login.clone()), entry.is_alone),
            None => (None, false),
        };
        if is_alone || !self.kept.is_shared() {
            return own;
        }
        match self.kept.read(LoginName { kind: KIND, parts: &[id] }).await {
            Ok(Some(bytes)) => own.or_else(|| serde_json::from_slice(&bytes).ok()),
            Ok(None) => {
                if let Some(entry) = self.own.lock().get_mut(id) {
                    entry.is_over = true;
                }
                None
            }
            Err(_) => own,
        }
    }

    /// What has become of a login that has begun here, as far as the coordinators know together.
    pub async fn fate(&self, id: &str) -> LoginFate {
        drop(self.get(id).await);
        let mut own = self.own.lock();
        match own.get(id) {
            None => LoginFate::Here,
            Some(entry) if !entry.is_over => LoginFate::NotYet,
            Some(_) => {
                let ended = own.remove(id);
                LoginFate::Elsewhere(ended.map(|entry| entry.login.sessions()).unwrap_or_default())
            }
        }
    }

    /// Ends a login. False if it has ended meanwhile.
    pub async fn end(&self, id: &str) -> bool {
        let own = self.own.lock().remove(id);
        if !self.kept.is_shared() || own.as_ref().is_some_and(|own| own.is_alone) {
            return own.is_some();
        }
        let taken = self.kept.take(LoginName { kind: KIND, parts: &[id] }).await;
        taken.unwrap_or(own.is_some())
    }
}

fn add_session(login: &mut PendingLogin, session: SessionId) {
    let session = session.to_string();
    if login.sessions.len() < MOST_SESSIONS && !login.sessions.contains(&session) {
        login.sessions.push(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ClientAuth;
    use crate::oauth::pkce::random;
    use crate::oauth::user_grant::UserClient;
    use crate::protocol::seal::KeyRing;
    use crate::store::DataFolder;

    fn logins() -> PendingLogins {
        PendingLogins::new(KeptLogins::new(DataFolder::memory(), None, KeyRing::new(&[b"k"])))
    }

    fn login(principal: &str) -> PendingLogin {
        let client = UserClient { id: "c".into(), secret: None, auth: ClientAuth::Public };
        let text = || random().unwrap();
        let server = ServerName::parse("crm").unwrap();
        PendingLogin::new(text(), text(), text(), (&client).into())
            .for_user(&Principal::named(principal), &server)
    }

    #[tokio::test]
    async fn a_login_is_taken_up_once_and_by_its_own_name() {
        let (logins, session) = (logins(), SessionId::mint());
        let ann = login("ann");
        let id = ann.id();
        assert!(may_be(&id) && may_be(&ann.state) && !id.contains(&ann.state));
        logins.begin(ann.clone(), session).await;
        let found = logins.get(&id).await.unwrap();
        assert_eq!((&found.state, found.sessions()), (&ann.state, vec![session]));
        assert!(logins.get(&ann.state).await.is_none());
        assert!(logins.end(&id).await);
        assert!(!logins.end(&id).await && logins.get(&id).await.is_none());
    }

    #[tokio::test]
    async fn the_same_user_is_invited_to_the_same_login_and_another_to_none_of_it() {
        let (logins, server) = (logins(), ServerName::parse("crm").unwrap());
        let [one, other] = [SessionId::mint(), SessionId::mint()];
        let ann = login("ann");
        logins.begin(ann.clone(), one).await;
        let again = |name: &'static str, redirect: &'static str| {
            let (logins, server) = (&logins, &server);
            async move {
                logins.again((&Principal::named(name), server), ("", redirect, &[]), other).await
            }
        };
        assert_eq!(again("ann", "").await.unwrap().id(), ann.id());
        let more = ["x".to_owned()];
        let name = Principal::named("ann");
        assert!(logins.again((&name, &server), ("", "", &more), other).await.is_none());
        assert!(again("ben", "").await.is_none() && again("ann", "https://else").await.is_none());
        assert_eq!(logins.get(&ann.id()).await.unwrap().sessions(), [one, other]);
    }

    #[tokio::test]
    async fn logins_are_bounded() {
        let logins = logins();
        for _ in 0..MOST + 1 {
            logins.begin(login("ann"), SessionId::mint()).await;
        }
        assert_eq!(logins.own.lock().len(), MOST);
    }
}
