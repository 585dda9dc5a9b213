//! Where the record of each login is kept, and whose turn it is to change it: with several coordinators one
//! at a time, since most issuers take a refresh token once.

use std::time::Duration;

use crate::store::{KeptLogins, LoginName, SharedTurn, StoreAway};

use super::record::LoginRecord;
use super::user_lists::LoginKey;

const KIND: &str = "login";
const TURN: &str = "login turn";
/// Longest turn: a token server has 10 s to answer.
const LONGEST_TURN: Duration = Duration::from_secs(15);

/// The records of logins.
pub struct LoginStore(KeptLogins);

/// What is kept of a login, beside what this process has of it.
pub enum Kept {
    /// Nobody else can have changed it.
    Own,
    /// As the coordinators have it; `None` if it is over.
    Shared(Option<Box<LoginRecord>>),
    /// The coordinators' store does not answer.
    Away,
}

impl LoginStore {
    #[must_use]
    pub fn new(kept: KeptLogins) -> Self {
        Self(kept)
    }

    /// The record, as it is kept.
    ///
    /// # Errors
    /// If the shared store does not answer.
    pub async fn read(&self, key: &LoginKey) -> Result<Option<LoginRecord>, StoreAway> {
        let read = self.0.read(LoginName { kind: KIND, parts: &parts(key) }).await?;
        Ok(read.and_then(|bytes| LoginRecord::from_bytes(&bytes)))
    }

    /// The record, if others may have changed it.
    pub async fn shared(&self, key: &LoginKey) -> Kept {
        match self.is_shared() {
            false => Kept::Own,
            true => match self.read(key).await {
                Ok(record) => Kept::Shared(record.map(Box::new)),
                Err(StoreAway) => Kept::Away,
            },
        }
    }

    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// False if it is in memory alone.
    pub async fn write(&self, key: &LoginKey, record: &LoginRecord) -> bool {
        let name = LoginName { kind: KIND, parts: &parts(key) };
        self.0.write(name, record.to_bytes(), None).await
    }

    pub async fn remove(&self, key: &LoginKey) {
        self.0.remove(LoginName { kind: KIND, parts: &parts(key) }).await;
    }

    /// Waits until no other coordinator changes the login.
    pub async fn turn(&self, key: &LoginKey) -> LoginTurn {
        let name = LoginName { kind: TURN, parts: &parts(key) };
        LoginTurn(self.0.turn(name, LONGEST_TURN).await)
    }
}

/// A turn. It has to be ended, or others wait for it in vain.
#[must_use]
pub struct LoginTurn(Option<SharedTurn>);

impl LoginTurn {
    pub async fn end(self) {
        if let Some(turn) = self.0 {
            turn.end().await;
        }
    }
}

fn parts((principal, server): &LoginKey) -> [&str; 2] {
    [principal.as_str(), server.as_str()]
}
