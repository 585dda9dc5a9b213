//! Finds what a message changes in its session's settings, for the edge to remember.

use crate::net::Body;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::log_level::LogLevel;
use crate::protocol::splice::RequestTarget;
use crate::protocol::{methods, splice};
use crate::seam::SettingChange;

/// The change that this request makes. `None` if it changes nothing, or if the server
/// refused it.
pub fn of(request: &Envelope<'_>, answer: &Body) -> Option<SettingChange> {
    let sets =
        |method| matches!(method, methods::SET_LEVEL | methods::SUBSCRIBE | methods::UNSUBSCRIBE);
    if !sets(request.method()) || is_error(answer) {
        return None;
    }
    let params = RequestTarget::of(request.params)?;
    match request.method() {
        methods::SET_LEVEL => {
            LogLevel::parse(&splice::string(params.level?)?).map(SettingChange::Level)
        }
        methods::SUBSCRIBE => Some(SettingChange::Subscribed(splice::string(params.uri?)?)),
        _ => Some(SettingChange::Unsubscribed(splice::string(params.uri?)?)),
    }
}

/// A streamed answer is not known yet, and counts as a success.
fn is_error(answer: &Body) -> bool {
    let Body::Full(bytes) = answer else { return false };
    Envelope::parse(bytes).is_ok_and(|envelope| envelope.error.is_some())
}
