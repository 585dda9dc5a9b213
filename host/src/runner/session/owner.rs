//! Whom a session is of.

use crate::model::{Principal, QuotaKey, SessionId};

/// The client's session, and who has it.
#[derive(Clone, Copy)]
pub struct SessionOwner<'a> {
    pub session: SessionId,
    pub principal: &'a Principal,
    /// Whom its process counts for.
    pub quota: &'a QuotaKey,
    /// Whether the edge has the session in place of a client without one.
    pub is_inner: bool,
}
