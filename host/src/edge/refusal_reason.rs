//! Why requests were refused, in words of metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::protocol::era::fault::EraFault;

use super::refusal::Refusal;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    Host,
    Origin,
    Unauthorized,
    Forbidden,
    NotFound,
    Method,
    Media,
    TooLarge,
    Slow,
    NoRoom,
    Malformed,
    Session,
    RateLimit,
    Params,
    Unavailable,
    Lost,
    Internal,
    LogIn,
}

impl RefusalReason {
    const ALL: [Self; 18] = [
        Self::Host,
        Self::Origin,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::Media,
        Self::TooLarge,
        Self::Slow,
        Self::NoRoom,
        Self::Malformed,
        Self::Session,
        Self::RateLimit,
        Self::Params,
        Self::Unavailable,
        Self::Lost,
        Self::Internal,
        Self::LogIn,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::Media => "media",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::NoRoom => "no_room",
            Self::Malformed => "malformed",
            Self::Session => "session",
            Self::RateLimit => "rate_limit",
            Self::Params => "params",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
            Self::Internal => "internal",
            Self::LogIn => "log_in",
        }
    }
}

impl Refusal {
    /// Whether it tells somebody that something is not for them: this is what is audited, and not what
    /// cannot be read or served.
    #[must_use]
    pub fn is_of_access(&self) -> bool {
        use RefusalReason::{Forbidden, Host, NotFound, Origin, RateLimit, Session, Unauthorized};
        let kinds = [Host, Origin, Unauthorized, Forbidden, NotFound, Session, RateLimit];
        kinds.contains(&self.reason())
    }

    /// Whether the refusal of a request is audited, which may be one of a message that the logs have told
    /// nothing of as a call.
    #[must_use]
    pub fn is_audited(&self, of_message: bool) -> bool {
        match self {
            Self::Era(_) => of_message,
            _ if self.is_answer() => of_message,
            _ => self.is_of_access(),
        }
    }

    /// The limit of requests that was met, if that is why.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        match self {
            Self::LimitMet(met) => Some(&met.limit),
            _ => None,
        }
    }

    #[must_use]
    pub fn reason(&self) -> RefusalReason {
        match self {
            Self::ForeignHost(_) | Self::Hosts(_) | Self::OtherAuthority => RefusalReason::Host,
            Self::ForeignOrigin(_) => RefusalReason::Origin,
            Self::Unauthorized(_) | Self::Uncertified => RefusalReason::Unauthorized,
            Self::Token(token) if token.status() == StatusCode::FORBIDDEN => {
                RefusalReason::Forbidden
            }
            Self::Token(token) if token.status() == StatusCode::SERVICE_UNAVAILABLE => {
                RefusalReason::Unavailable
            }
            Self::Token(_) => RefusalReason::Unauthorized,
            Self::RestrictedKey | Self::NoManagement | Self::ClosedNode => RefusalReason::Forbidden,
            Self::UnknownPath(_) | Self::UnknownScope(_) | Self::ResourceNotFound(_) => {
                RefusalReason::NotFound
            }
            Self::MethodNotAllowed(_) | Self::MethodNotFound(_) => RefusalReason::Method,
            Self::Era(fault) if matches!(**fault, EraFault::Method(_)) => RefusalReason::Method,
            Self::ContentType | Self::ContentEncoding | Self::Accept(_) | Self::Coding => {
                RefusalReason::Media
            }
            Self::TooLarge(_)
            | Self::ParamsTooLarge(_)
            | Self::FirstTooLarge(..)
            | Self::HeadersTooLarge(_)
            | Self::LongBatch(_) => RefusalReason::TooLarge,
            Self::BodyStalled(_) => RefusalReason::Slow,
            Self::NoRoomForBody | Self::Crowded => RefusalReason::NoRoom,
            Self::BodyBroken
            | Self::Malformed(_)
            | Self::Several(_)
            | Self::TwoLengths
            | Self::BareLineFeed
            | Self::Initialized(_)
            | Self::Version(_)
            | Self::Era(_) => RefusalReason::Malformed,
            Self::MissingSession
            | Self::UnknownSession
            | Self::MissingStream
            | Self::NotInitialized
            | Self::ConversationEnded => RefusalReason::Session,
            Self::Busy(_)
            | Self::TooManySessions(_)
            | Self::HoldsTooMuch(_)
            | Self::LimitMet(_) => RefusalReason::RateLimit,
            Self::InvalidParams(_) => RefusalReason::Params,
            Self::Unavailable { .. } | Self::Absent(_) => RefusalReason::Unavailable,
            Self::Lost { .. } => RefusalReason::Lost,
            Self::NoKey => RefusalReason::Internal,
            Self::LogIn(_) => RefusalReason::LogIn,
        }
    }
}

/// Counts of refusals by their reasons.
#[derive(Debug, Default)]
pub struct RefusalCounts([AtomicU64; RefusalReason::ALL.len()]);

impl RefusalCounts {
    pub fn note(&self, reason: RefusalReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason with its count.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let read = |reason: RefusalReason| self.0[reason as usize].load(Ordering::Relaxed);
        RefusalReason::ALL.into_iter().map(move |reason| (reason.as_str(), read(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        assert!(RefusalReason::ALL.iter().enumerate().all(|(at, one)| *one as usize == at));
        let counts = RefusalCounts::default();
        counts.note(Refusal::ClosedNode.reason());
        counts.note(Refusal::Busy(1).reason());
        let met: Vec<_> = counts.numbers().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("forbidden", 1), ("rate_limit", 1)]);
    }
}
