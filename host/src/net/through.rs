//! Bodies that are read through something that changes or checks their bytes.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What is read of such a body.
pub type Piece = Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>;

/// Reads another body, and passes on what becomes of its bytes.
pub trait Through: Send + Sync {
    /// The next piece, as [`http_body::Body::poll_frame`] has it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>>;

    /// Notes that what still comes is read later, of another body.
    fn set_aside(&mut self) {}

    /// Whether nothing more comes, as [`http_body::Body::is_end_stream`] has it.
    fn is_end_stream(&self) -> bool {
        false
    }

    /// How much still comes, as far as it is known.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
