//! Counts what passes to a server that the operator's limits are for. Its bytes pass all the same: limits
//! alone change nothing of what the server says.
//!
//! What is counted must be what the server does. So a message that readers may take for another one is
//! refused, and a body is read whole. What clients may always do is not counted: to begin, to ping, and
//! to read lists.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use crate::edge::access::identity::CallerIdentity;
use crate::edge::access::rates::{CountedRequests, LimitedRequest, Rates};
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Malformed};
use crate::protocol::methods::{self, Destination};
use crate::protocol::splice;
use crate::protocol::strict::StrictParams;

/// Who is counted, for which server.
pub struct PassCounts<'a> {
    rates: &'a Arc<Rates>,
    context: &'a ClientRequest,
    identity: &'a CallerIdentity,
    server: &'a ServerName,
}

/// A body that does not pass.
pub struct NotCounted {
    pub refusal: Refusal,
    /// The ids of its requests, as JSON.
    pub ids: Vec<String>,
    is_batch: bool,
}

impl NotCounted {
    /// The response to a batch: an error for each of its requests. `None` for a single message.
    pub fn of_batch(&self) -> Option<Response<Body>> {
        let first = self.ids.first().filter(|_| self.is_batch)?;
        let errors: Vec<Bytes> = self.ids.iter().map(|id| self.refusal.message(Some(id))).collect();
        let body = [&b"["[..], &errors.join(&b","[..]), b"]"].concat();
        Some(self.refusal.response(Some(first)).map(|_| Body::from(Bytes::from(body))))
    }
}

impl Worker {
    /// What is counted of a client's calls of a server; `None` if nothing is.
    pub(in crate::edge) fn pass_counts<'a>(
        &'a self,
        context: Option<&'a ClientRequest>,
        server: &'a ServerName,
    ) -> Option<PassCounts<'a>> {
        let rates = self.edge.config.rates.as_ref().filter(|rates| rates.count_calls_of(server))?;
        let identity = context?.identity.as_deref()?;
        Some(PassCounts { rates, context: context?, identity, server })
    }
}

impl PassCounts<'_> {
    #[must_use]
    pub fn context(&self) -> &ClientRequest {
        self.context
    }

    /// Counts a body: one message, or those of a batch, which passes or is refused as a whole.
    ///
    /// # Errors
    /// If it meets a limit, or may be read as something else than what was counted.
    pub fn count(
        &self,
        body: &Bytes,
        takes_batches: bool,
    ) -> Result<Option<CountedRequests>, Box<NotCounted>> {
        let batch = if takes_batches { jsonrpc::batch(body) } else { Ok(None) };
        let is_batch = matches!(batch, Ok(Some(_)));
        let not_counted = |refusal, ids| Box::new(NotCounted { refusal, ids, is_batch });
        let parts: Vec<&[u8]> = match &batch {
            Ok(Some(parts)) => parts.iter().map(|part| part.get().as_bytes()).collect(),
            Ok(None) => vec![&**body],
            Err(why) => return Err(not_counted(Refusal::Malformed(why.clone()), Vec::new())),
        };
        let mut envelopes = Vec::with_capacity(parts.len());
        for part in parts {
            match Envelope::parse(part) {
                Ok(envelope) => envelopes.push(envelope),
                Err(why) => return Err(not_counted(Refusal::Malformed(why), Vec::new())),
            }
        }
        self.count_all(&envelopes).map_err(|refusal| {
            let requests = envelopes.iter().filter(|one| one.kind() == Kind::Request);
            let ids = requests.filter_map(|one| one.id_text().map(str::to_owned));
            not_counted(refusal, ids.collect())
        })
    }

    /// Counts one message.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub fn count_one(&self, envelope: &Envelope<'_>) -> Result<Option<CountedRequests>, Refusal> {
        self.count_all(std::slice::from_ref(envelope))
    }

    fn count_all(&self, envelopes: &[Envelope<'_>]) -> Result<Option<CountedRequests>, Refusal> {
        let calls = envelopes.iter().map(counted_call).collect::<Result<Vec<_>, Refusal>>()?;
        let (key, limits) = (self.identity.key.as_deref(), &self.identity.limits);
        let calls: Vec<LimitedRequest<'_>> = calls
            .iter()
            .flatten()
            .map(|call| LimitedRequest {
                quota: &self.context.quota,
                key,
                limits,
                call: Some((self.server, call.tool.as_deref())),
            })
            .collect();
        self.rates.admit_together(&calls).map_err(|met| Refusal::LimitMet(Box::new(met)))
    }
}

/// A message that counts.
struct CountedCall {
    tool: Option<String>,
}

/// What of a message counts; `None` if nothing does.
fn counted_call(envelope: &Envelope<'_>) -> Result<Option<CountedCall>, Refusal> {
    if !envelope.has_one_meaning() {
        return Err(Refusal::Malformed(Malformed::ambiguous()));
    }
    let destination = methods::destination(envelope.method());
    let is_free = matches!(
        destination,
        Destination::Initialize
            | Destination::Ping
            | Destination::List(_)
            | Destination::TaskList
            | Destination::LogLevel
    );
    if envelope.kind() != Kind::Request || is_free {
        return Ok(None);
    }
    let tool = match destination {
        Destination::Tool => {
            let params = StrictParams::of(envelope.params).map_err(Refusal::from)?;
            let unreadable = || Refusal::InvalidParams("params.name cannot be read".into());
            let name = params.target.name;
            name.map(|name| splice::string(name).ok_or_else(unreadable)).transpose()?
        }
        _ => None,
    };
    Ok(Some(CountedCall { tool }))
}
