//! The gateway's own requests to a server: sends one and returns its result, whether
//! the response is JSON or an event stream.

use bytes::Bytes;
use http::HeaderMap;

use crate::net::Pool;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::runner::channel::answer::{CallError, result_of};
use crate::runner::session::instance::Instance;

/// Sends one request over an open instance, which a client may use at the same time.
/// If this future is dropped before the answer, the request is cancelled.
pub async fn call(
    instance: &Instance,
    pool: &Pool,
    method: &str,
    params: &str,
) -> Result<Bytes, CallError> {
    let id = instance.own_id();
    let message = jsonrpc::request(&id, method, params);
    let envelope =
        Envelope::parse(&message).map_err(|error| CallError::Unanswered(error.to_string()))?;
    let forwarded = HeaderMap::new();
    let _asked = Asked { instance, pool, id };
    // `false`: the server's other messages meanwhile go to the client.
    result_of(instance.post(message.clone(), &envelope, false, pool, &forwarded).await).await
}

struct Asked<'a> {
    instance: &'a Instance,
    pool: &'a Pool,
    id: String,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.instance.take_back(&self.id, self.pool);
    }
}
