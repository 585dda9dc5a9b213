//! The login of one user at one server, as this process has it in hand.

use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::sync::now;

use super::record::LoginRecord;

/// The part of its life, and the longest time, before its end in which a token is renewed.
const RENEWED_IN: u32 = 5;
const RENEWED_BEFORE: Duration = Duration::from_secs(60);
/// First pause after a failed renewal; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A token that is refused so soon after one was renewed for a refusal, and before it was taken once, shows
/// that no other helps.
const AT_ONCE: Duration = Duration::from_secs(60);

/// A login, and when its token ends.
pub struct HeldLogin {
    pub record: LoginRecord,
    token: Option<HeaderValue>,
    renew_at: Instant,
    ends_at: Instant,
    /// When the token was renewed since the one before was refused, until its server takes this one.
    renewed_for_refusal: Option<Instant>,
    is_refused: bool,
    failed: Option<Failed>,
    /// Whether it is being renewed while its token is still sent.
    is_renewing: bool,
    /// When it was used last.
    pub used: u64,
}

struct Failed {
    why: String,
    count: u32,
    until: Instant,
}

/// What a look at a login says.
pub enum LoginLook {
    /// It can be sent.
    Good,
    /// It can be sent, and ends soon.
    Aging,
    /// It has to be renewed, or looked for where it is kept.
    Stale,
    /// Renewing it has failed just now.
    Failed(String, Duration),
}

impl HeldLogin {
    #[must_use]
    pub fn of(record: LoginRecord) -> Self {
        let now = now();
        let (token, left) = record.access().unzip();
        let left = left.unwrap_or_default();
        let early = match record.refresh() {
            Some(_) => (left / RENEWED_IN).min(RENEWED_BEFORE),
            None => Duration::ZERO,
        };
        Self {
            record,
            token,
            renew_at: now + left.saturating_sub(early),
            ends_at: now + left,
            renewed_for_refusal: None,
            is_refused: false,
            failed: None,
            is_renewing: false,
            used: 0,
        }
    }

    /// The token that can be sent now.
    #[must_use]
    pub fn token(&self) -> Option<HeaderValue> {
        self.token.clone().filter(|_| self.ends_at > now())
    }

    #[must_use]
    pub fn look(&self) -> LoginLook {
        let now = now();
        let failed = self.failed.as_ref().filter(|failed| failed.until > now);
        let is_good = self.token.is_some() && self.ends_at > now;
        match failed {
            _ if is_good && (self.renew_at > now || failed.is_some()) => LoginLook::Good,
            _ if is_good => LoginLook::Aging,
            Some(failed) => {
                LoginLook::Failed(failed.why.clone(), failed.until.saturating_duration_since(now))
            }
            None => LoginLook::Stale,
        }
    }

    /// Begins or ends a renewal while its token is still sent. False if one has begun already.
    pub fn set_renewing(&mut self, is_renewing: bool) -> bool {
        std::mem::replace(&mut self.is_renewing, is_renewing) != is_renewing
    }

    /// It was renewed.
    pub fn renewed(&mut self, record: LoginRecord) {
        let renewed_for_refusal = self.is_refused.then(now);
        *self = Self { renewed_for_refusal, used: self.used, ..Self::of(record) };
    }

    /// Renewing it has failed. Returns when it is tried again.
    pub fn failed(&mut self, why: String, asked: Option<Duration>) -> Duration {
        let count = self.failed.as_ref().map_or(0, |failed| failed.count).saturating_add(1);
        let doubled = PAUSE.saturating_mul(2_u32.saturating_pow(count - 1)).min(LONGEST_PAUSE);
        let pause = doubled.max(asked.unwrap_or_default().min(5 * LONGEST_PAUSE));
        self.failed = Some(Failed { why, count, until: now() + pause });
        pause
    }

    /// Its server has taken this token: if it refuses it later, another one helps.
    pub fn accept(&mut self, used: &HeaderValue) {
        if self.token.as_ref() == Some(used) {
            self.renewed_for_refusal = None;
        }
    }

    /// Its server has refused this token. False if no other can help: the login is over.
    pub fn refuse(&mut self, used: Option<&HeaderValue>) -> bool {
        if self.token.as_ref() != used {
            // Another one is there by now.
            return true;
        }
        let is_again = self.renewed_for_refusal.is_some_and(|at| now() < at + AT_ONCE);
        self.record.end();
        self.token = None;
        self.is_refused = true;
        self.record.refresh().is_some() && !is_again
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::config::Secret;
    use crate::oauth::ClientAuth;
    use crate::oauth::fetch::{Granted, bearer};
    use crate::oauth::user_grant::UserClient;

    fn record(token: &str, seconds: u64, refresh: Option<&str>) -> LoginRecord {
        let (value, refresh) = (bearer(token).unwrap(), refresh.map(Secret::new));
        let granted = Granted { value, lifetime: Duration::from_secs(seconds), refresh };
        let client = UserClient { id: "c".into(), secret: None, auth: ClientAuth::Public };
        let url = Uri::from_static("https://login.example/t");
        LoginRecord::of(String::new(), &granted, &url, &client)
    }

    #[test]
    fn a_refused_token_is_renewed_once_and_then_its_user_is_asked_again() {
        let mut held = HeldLogin::of(record("one", 600, Some("r")));
        assert!(matches!(held.look(), LoginLook::Good));
        let one = held.token();
        assert!(held.refuse(one.as_ref()));
        assert!(held.token().is_none() && matches!(held.look(), LoginLook::Stale));
        held.renewed(record("two", 600, Some("r")));
        assert!(held.refuse(one.as_ref()), "that of before says nothing of this one");
        let two = held.token();
        assert!(!held.refuse(two.as_ref()), "no other token helps");
        // One that was taken in between is refused for another reason.
        let mut held = HeldLogin::of(record("one", 600, Some("r")));
        held.refuse(one.as_ref());
        held.renewed(record("two", 600, Some("r")));
        held.accept(one.as_ref().unwrap());
        held.accept(two.as_ref().unwrap());
        assert!(held.refuse(two.as_ref()));
        let mut alone = HeldLogin::of(record("one", 600, None));
        let token = alone.token();
        assert!(!alone.refuse(token.as_ref()), "there is nothing to renew it by");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_soon_is_sent_while_one_renews_it() {
        let mut held = HeldLogin::of(record("one", 100, Some("r")));
        tokio::time::advance(Duration::from_secs(81)).await;
        assert!(matches!(held.look(), LoginLook::Aging) && held.token().is_some());
        assert!(held.set_renewing(true) && !held.set_renewing(true));
        held.failed("down".to_owned(), None);
        assert!(matches!(held.look(), LoginLook::Good), "it is not tried again at once");
        assert!(held.set_renewing(false) && held.set_renewing(true));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(matches!(held.look(), LoginLook::Stale));
    }

    #[test]
    fn a_failed_renewal_is_not_repeated_at_once() {
        let mut held = HeldLogin::of(record("one", 600, Some("r")));
        let token = held.token();
        held.refuse(token.as_ref());
        assert_eq!(held.failed("down".to_owned(), None), PAUSE);
        assert!(matches!(held.look(), LoginLook::Failed(why, _) if why == "down"));
        assert_eq!(held.failed("down".to_owned(), None), 2 * PAUSE);
        assert_eq!(held.failed("down".to_owned(), Some(Duration::MAX)), 5 * LONGEST_PAUSE);
    }
}
