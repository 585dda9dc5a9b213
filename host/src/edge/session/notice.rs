//! What a client is told when the state that a server held for its session is lost.

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::{jsonrpc, splice, sse};

/// What the client is told when its server's state is gone.
pub fn lost(server: &ServerName) -> Bytes {
    sse::event(&lost_notice(server))
}

/// A log message, for whoever reads them.
#[must_use]
pub fn lost_notice(server: &ServerName) -> Bytes {
    let text = format!("server {server} was started again: what it held for this session is lost");
    let params =
        format!(r#"{{"level":"warning","logger":"mooring","data":{}}}"#, splice::quoted(&text));
    jsonrpc::notification_with("notifications/message", &params)
}
