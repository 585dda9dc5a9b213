//! Which start of a gateway has opened a session.

use std::num::NonZeroU64;

use super::SessionId;

/// The largest number: every reader of JSON takes it for what it is.
const MOST: u64 = (1 << 53) - 1;

/// One start of a gateway's process, told apart from all others by a random number. The stream of a
/// session of HTTP+SSE is of one start, and gone with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatewayStart(NonZeroU64);

impl GatewayStart {
    /// Another one.
    #[must_use]
    pub fn random() -> Self {
        let [a, b, c, d, e, f, ..] = *SessionId::mint().as_bytes();
        Self(NonZeroU64::MIN | u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// `None` for 0, and for what is above 2^53 - 1.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() <= MOST).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}
