//! The gateway's own requests to a server: send one, get its result, whichever
//! form the response has.

use bytes::Bytes;
use http::HeaderMap;

use crate::net::Pool;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::runner::channel::answer::{CallError, result_of};
use crate::runner::session::instance::Instance;

/// One request over an open instance, which a client may use at the same time.
/// Dropped before its answer it is taken back.
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
    // What else the server says meanwhile is for the client.
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
