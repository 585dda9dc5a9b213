//! What is kept of one login, as JSON that is sealed: the tokens, and what they were given under.

use std::time::Duration;

use http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};

use crate::config::Secret;
use crate::model::UnixMillis;
use crate::oauth::ClientAuth;
use crate::oauth::fetch::{Granted, bearer};
use crate::oauth::user_grant::UserClient;
use crate::protocol::objects::object_only;

/// So soon after a login for more scopes no other one is asked for, if the server wants these scopes still:
/// clients that send the request again by themselves would ask their users without end.
const ASKED_JUST_NOW: Duration = Duration::from_secs(60);

/// One login.
#[derive(Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct LoginRecord {
    /// That of the terms.
    pub fingerprint: String,
    /// As the header says it, behind `Bearer`.
    access: String,
    /// Milliseconds since 1970; 0 for one that is not to be sent any more.
    ends_at: u64,
    refresh: Option<String>,
    /// Where the next one comes from, and as whom.
    token_url: String,
    pub client: ClientRecord,
    /// Where the client is registered, and where its logins come back to.
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    redirect: String,
    /// What its user was asked for beside the usual, and when, in milliseconds since 1970.
    #[serde(default)]
    pub more_scopes: Vec<String>,
    #[serde(default)]
    asked_at: u64,
}
object_only!(both LoginRecord);

/// The gateway, as the token server knows it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ClientRecord {
    id: String,
    secret: Option<String>,
    /// `basic`, `post` or `none`.
    auth: String,
}
object_only!(both ClientRecord);

impl From<&UserClient> for ClientRecord {
    fn from(client: &UserClient) -> Self {
        let auth = match client.auth {
            ClientAuth::Basic => "basic",
            ClientAuth::Post => "post",
            ClientAuth::Public => "none",
        };
        let secret = client.secret.as_ref().map(|secret| secret.expose().to_owned());
        Self { id: client.id.clone(), secret, auth: auth.to_owned() }
    }
}

impl From<ClientRecord> for UserClient {
    fn from(record: ClientRecord) -> Self {
        let auth = match record.auth.as_str() {
            "post" => ClientAuth::Post,
            "none" => ClientAuth::Public,
            _ => ClientAuth::Basic,
        };
        Self { id: record.id, secret: record.secret.map(Secret::new), auth }
    }
}

impl LoginRecord {
    /// What was granted to a user.
    #[must_use]
    pub fn of(
        fingerprint: String,
        granted: &Granted,
        token_url: &Uri,
        client: &UserClient,
    ) -> Self {
        let mut record = Self {
            fingerprint,
            access: String::new(),
            ends_at: 0,
            refresh: None,
            token_url: token_url.to_string(),
            client: client.into(),
            issuer: None,
            redirect: String::new(),
            more_scopes: Vec::new(),
            asked_at: 0,
        };
        record.renew(granted);
        record
    }

    /// The same, which an issuer has sent back to this URL.
    #[must_use]
    pub fn came_by(self, issuer: Option<&str>, redirect: &str) -> Self {
        Self { issuer: issuer.map(str::to_owned), redirect: redirect.to_owned(), ..self }
    }

    /// The same, of a login that was asked for these scopes beside the usual ones.
    #[must_use]
    pub fn asked_for(self, more_scopes: Vec<String>) -> Self {
        Self { more_scopes, asked_at: UnixMillis::now().0, ..self }
    }

    /// Whether its user was asked for all of these just now.
    #[must_use]
    pub fn was_asked_for(&self, scopes: &[String]) -> bool {
        UnixMillis::now().since(UnixMillis(self.asked_at)) < ASKED_JUST_NOW
            && scopes.iter().all(|scope| self.more_scopes.contains(scope))
    }

    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    #[must_use]
    pub fn redirect(&self) -> &str {
        &self.redirect
    }

    /// Takes what was granted in place of what it had. A token server that gives no other refresh
    /// token leaves the one of before (RFC 6749 §6).
    pub fn renew(&mut self, granted: &Granted) {
        let text = granted.value.to_str().unwrap_or_default();
        text.strip_prefix("Bearer ").unwrap_or_default().clone_into(&mut self.access);
        self.ends_at = UnixMillis::now().plus(granted.lifetime).0;
        if let Some(refresh) = &granted.refresh {
            self.refresh = Some(refresh.expose().to_owned());
        }
    }

    /// The access token is not sent any more: its server has refused it.
    pub fn end(&mut self) {
        self.ends_at = 0;
    }

    /// The access token, and how long it is good for.
    #[must_use]
    pub fn access(&self) -> Option<(HeaderValue, Duration)> {
        let left = UnixMillis(self.ends_at).since(UnixMillis::now());
        if left.is_zero() {
            return None;
        }
        Some((bearer(&self.access)?, left))
    }

    #[must_use]
    pub fn refresh(&self) -> Option<Secret> {
        self.refresh.as_deref().map(Secret::new)
    }

    #[must_use]
    pub fn token_url(&self) -> Option<Uri> {
        self.token_url.parse().ok()
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl ClientRecord {
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(token: &str, refresh: Option<&str>) -> Granted {
        let refresh = refresh.map(Secret::new);
        Granted { value: bearer(token).unwrap(), lifetime: Duration::from_secs(60), refresh }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_renewed() {
        let client =
            UserClient { id: "c".into(), secret: Some(Secret::new("s")), auth: ClientAuth::Post };
        let url = Uri::from_static("https://login.example/t");
        let record = LoginRecord::of("f".to_owned(), &granted("one", Some("r")), &url, &client);
        let mut read = LoginRecord::from_bytes(&record.to_bytes()).unwrap();
        let (token, left) = read.access().unwrap();
        assert_eq!(token, "Bearer one");
        assert!(token.is_sensitive() && left > Duration::from_secs(50));
        assert_eq!(UserClient::from(read.client.clone()), client);
        assert_eq!(read.token_url(), Some(url));
        read.renew(&granted("two", None));
        assert_eq!(read.access().unwrap().0, "Bearer two");
        assert_eq!(read.refresh().unwrap().expose(), "r", "the one of before stays");
        let [one, two] = ["a", "b"].map(str::to_owned);
        let asked = read.clone().asked_for(vec![one.clone()]);
        assert!(
            asked.was_asked_for(std::slice::from_ref(&one)) && !asked.was_asked_for(&[one, two])
        );
        read.end();
        assert!(read.access().is_none());
        assert!(LoginRecord::from_bytes(b"[]").is_none());
    }
}
