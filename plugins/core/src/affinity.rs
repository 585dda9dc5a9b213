//! Staying on a named node, shared by the strategies whose clients bring one.

use crate::rendezvous::Rendezvous;
use crate::session;
use crate::vocabulary::{AffinityAction, Decision, Request, RouteError};

/// The client's node first, if it can take the session, and then the session's
/// own order over all others. Whatever is not the client's node becomes it.
pub fn keep_or_pin(rendezvous: &Rendezvous, request: &Request<'_>) -> Result<Decision, RouteError> {
    let server = request.server;
    let preferred = request
        .affinity
        .filter(|node| rendezvous.accepts(server, *node));
    let rank = match preferred {
        Some(node) if request.attempt == 0 => {
            return Ok(Decision {
                node,
                affinity: AffinityAction::Keep,
            });
        }
        // Attempt 0 was the client's node, so the order starts with attempt 1.
        Some(_) => request.attempt - 1,
        None => request.attempt,
    };
    let node = rendezvous.choose(server, session::key(request), rank, preferred);
    Ok(Decision {
        node: node.ok_or(RouteError::NoCandidate)?,
        affinity: AffinityAction::Pin,
    })
}
