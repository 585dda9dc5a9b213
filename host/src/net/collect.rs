//! Bodies that are read to their end and kept.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body as _;

use crate::protocol::request_id::RequestId;

use super::body::{Body, BodyError};
use super::budget::{Claim, NoRoom};
use super::intake::{Intake, IntakeFault};

/// Bytes of a client's body that are kept without a claim, and by whose multiples claims grow.
/// Nearly all messages are smaller.
pub const UNCLAIMED: usize = 16 * 1024;

/// Bytes after which a claim is told that its body goes on.
const STEP: usize = 64 * 1024;

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum TooLong {
    /// It is longer than the limit, in bytes.
    #[error("the body is larger than {0} bytes")]
    Limit(usize),
    /// There is no memory for it.
    #[error(transparent)]
    NoRoom(NoRoom),
    /// The client does not go on with it.
    #[error(transparent)]
    Stalled(IntakeFault),
    /// It ended with an error.
    #[error("the body broke off: {0}")]
    Broken(#[source] BodyError),
}

impl From<BodyError> for TooLong {
    fn from(error: BodyError) -> Self {
        match error.downcast_ref() {
            Some(IntakeFault::GaveWay) => Self::NoRoom(NoRoom),
            Some(fault @ IntakeFault::Stalled) => Self::Stalled(*fault),
            None => Self::Broken(error),
        }
    }
}

/// The whole body, if it is at most `limit` bytes. What a client sends is claimed from the budget
/// of bodies while any of it is kept.
///
/// # Errors
/// If it is longer, breaks off, or finds no room.
pub async fn collect(mut body: Body, limit: usize) -> Result<Bytes, TooLong> {
    collect_request(&mut body, limit).await.map_err(|(why, _)| why)
}

/// The same for a request, whose id is looked for in what has arrived if the rest does not. What
/// has not been read stays in the body.
///
/// # Errors
/// As [`collect`].
pub async fn collect_request(
    body: &mut Body,
    limit: usize,
) -> Result<Bytes, (TooLong, Box<RequestId>)> {
    if body.size_hint().lower() > limit as u64 {
        return Err((TooLong::Limit(limit), Box::default()));
    }
    // Nearly all messages arrive in one piece.
    let first = match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        Some(Ok(first)) => first.into_data().unwrap_or_default(),
        Some(Err(error)) => return Err((error.into(), Box::default())),
        None => return Ok(Bytes::new()),
    };
    if first.len() <= UNCLAIMED.min(limit) && body.is_end_stream() {
        return Ok(first);
    }
    Box::pin(rest(first, body, limit)).await
}

/// The whole body, of which the first piece was read already.
async fn rest(
    first: Bytes,
    body: &mut Body,
    limit: usize,
) -> Result<Bytes, (TooLong, Box<RequestId>)> {
    let mut kept = Kept::default();
    if first.len() > limit {
        return Err((TooLong::Limit(limit), kept.request(&first)));
    }
    if let Err(why) = kept.add(first, body.intake(), limit) {
        return Err((why, kept.request(&[])));
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Err((error.into(), kept.request(&[]))),
        };
        let Ok(data) = frame.into_data() else { continue };
        if kept.len() + data.len() > limit {
            return Err((TooLong::Limit(limit), kept.request(&data)));
        }
        if let Err(why) = kept.add(data, body.intake(), limit) {
            return Err((why, kept.request(&[])));
        }
    }
    match kept.settle() {
        Ok(()) => Ok(kept.into_bytes()),
        Err(why) => Err((why, kept.request(&[]))),
    }
}

/// The part of a body that has arrived.
#[derive(Default)]
pub struct Kept {
    /// The first piece. Most messages arrive in one, which is not copied.
    first: Bytes,
    /// All pieces, once there are two.
    joined: Vec<u8>,
    claim: Option<Claim>,
    /// The size at which the claim was last told that the body goes on.
    noted: usize,
}

impl Kept {
    /// Bytes that have arrived.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Whether nothing has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the next piece of a body of at most `limit` bytes.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn add(
        &mut self,
        data: Bytes,
        intake: Option<&Arc<Intake>>,
        limit: usize,
    ) -> Result<(), TooLong> {
        if self.is_empty() && data.len() <= UNCLAIMED {
            // Nearly all messages.
            self.first = data;
            return Ok(());
        }
        let size = self.len() + data.len();
        let is_first = self.is_empty();
        let capacity = if is_first { 0 } else { self.joined.capacity() };
        // Doubling, so that a body is not copied again and again.
        let room =
            if capacity < size { (capacity * 2).max(size).min(limit.max(size)) } else { capacity };
        if let Some(intake) = intake
            && size > UNCLAIMED
            && (room > capacity || size >= self.noted + STEP)
        {
            // Also without more room: the claim learns that the body goes on.
            let claim = self.claim.get_or_insert_with(|| intake.claim());
            claim.grow_to(room.next_multiple_of(UNCLAIMED)).map_err(TooLong::NoRoom)?;
            self.noted = size;
        }
        if is_first {
            self.first = data;
            return Ok(());
        }
        self.joined.reserve_exact(room - self.joined.len());
        let first = std::mem::take(&mut self.first);
        self.joined.extend_from_slice(&first);
        self.joined.extend_from_slice(&data);
        Ok(())
    }

    /// All that has arrived. Its memory stays claimed until the last clone is dropped.
    ///
    /// # Errors
    /// If the client has too many whole bodies.
    pub fn whole(self) -> Result<Bytes, TooLong> {
        self.settle()?;
        Ok(self.into_bytes())
    }

    /// What is known so far of the request whose body this is, with a piece that was not added.
    #[must_use]
    pub fn request(&self, piece: &[u8]) -> Box<RequestId> {
        let mut request = Box::<RequestId>::default();
        for part in [&self.first, &self.joined[..], piece] {
            request.read(part);
        }
        request
    }

    /// Says that all has arrived.
    ///
    /// # Errors
    /// If the client has too many whole bodies.
    pub fn settle(&self) -> Result<(), TooLong> {
        self.claim.as_ref().map_or(Ok(()), |claim| claim.is_whole().map_err(TooLong::NoRoom))
    }

    /// All that has arrived, once it is settled. Its memory stays claimed until the last clone is
    /// dropped.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        let bytes = if self.joined.is_empty() { self.first } else { Bytes::from(self.joined) };
        let Some(claim) = self.claim else { return bytes };
        Bytes::from_owner(ClaimedBytes { bytes, _claim: claim })
    }
}

/// Bytes with their place in the budget.
struct ClaimedBytes {
    bytes: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for ClaimedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
