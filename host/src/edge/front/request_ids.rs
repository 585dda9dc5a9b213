//! The ids of requests that are refused: a client that waits for an answer under the request's id
//! waits for ever for one under `null`.

use std::time::Duration;

use http::{Method, Request, header};

use crate::net::Body;
use crate::protocol::request_id::RequestId;

/// Bytes of a refused body that are read for the id. Most messages are shorter, and most clients
/// write the id before the parameters.
const LOOKED_AT: usize = 64 * 1024;
/// Longest wait for them: the body is mostly there with its head.
const PATIENCE: Duration = Duration::from_millis(500);

/// The id of a request that is refused by its head alone. Nothing of the body is kept.
pub async fn unread(request: &mut Request<Body>) -> Option<String> {
    // A client that asks first has not sent its body, and is spared it.
    if request.method() != Method::POST || request.headers().contains_key(header::EXPECT) {
        return None;
    }
    begun(request.body_mut(), RequestId::default()).await
}

/// The id of a request that is refused while its body arrives, of which `read` has seen a part.
pub async fn begun(body: &mut Body, mut read: RequestId) -> Option<String> {
    if read.get().is_none() {
        body.look_for(&mut read, LOOKED_AT, PATIENCE).await;
    }
    read.get().map(str::to_owned)
}
