//! Resumes the stream of a request for a client that comes back.

use http::Response;

use crate::edge::refusal::Refusal;
use crate::net::{Body, Failure};
use crate::seam::Outcome;
use crate::streams::EventId;
use crate::streams::response::too_late;

use super::call::Call;
use super::outgoing::Outgoing;

impl Call<'_> {
    /// The rest of the stream, from the runner that keeps it. If the runner is gone, so is the
    /// stream, and no server is started to report that.
    ///
    /// # Errors
    /// If the connection to the runner breaks, or the session ends because its server's state
    /// is lost.
    pub async fn resume(
        &self,
        outgoing: &Outgoing,
        place: EventId,
    ) -> Result<Response<Body>, Refusal> {
        let Some(request) = place.request else {
            return Ok(self.deliver(outgoing).await?.response);
        };
        let mut was_open = false;
        // One connection may fail by accident, and what is asked for is at that node alone.
        for _ in 0..2 {
            let holding = self.holder(&[]).await;
            was_open = holding.was_open;
            let Some(node) = holding.node.filter(|_| !holding.must_open) else { break };
            match self.send(&node, outgoing).await {
                Ok(response) if Outcome::read(response.headers()).is_none() => return Ok(response),
                Ok(_) => break,
                Err(Failure::Short(why)) => return Err(Refusal::short(self.server, why)),
                Err(Failure::NotSent(reason)) => self.worker.suspect(&node.id, &reason),
                Err(Failure::Broken(why)) => {
                    self.worker.suspect(&node.id, &why);
                    return Err(Refusal::Lost { server: self.server.clone(), why });
                }
            }
        }
        if was_open && self.ends_when_lost() {
            return Err(self.end_lost().await);
        }
        let last = outgoing.last_event_id.as_ref().and_then(|id| id.to_str().ok());
        Ok(too_late(last.unwrap_or_default(), &request))
    }
}
