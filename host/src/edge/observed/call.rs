//! One call, from its message until its answer has passed. Nothing here waits, and without logs
//! nothing is allocated for an answer that comes whole.

use std::sync::Arc;

use http::Response;

use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::model::{NodeId, PolicyRuling, Rights, ServerName};
use crate::net::{Body, Cut};
use crate::protocol::glance::{MethodLabel, shown_target, target};
use crate::protocol::trace_context::TraceContext;
use crate::telemetry::{BegunSpan, CallEnd, watched};

use super::batched::BatchedCall;
use super::notes::{CallNotes, CallOrigin, ToldCall};

/// A call under way. One that is dropped without an answer counts as left by its client.
pub struct ObservedCall<'a> {
    worker: &'a Worker,
    noted: Option<CallNotes>,
}

impl<'a> ObservedCall<'a> {
    /// Begins with a whole message.
    pub fn begin(worker: &'a Worker, origin: CallOrigin<'_>, message: &[u8]) -> Self {
        Self::begin_read(worker, origin, message, MethodLabel::of(message))
    }

    /// The same with a message whose method was read.
    pub fn begin_read(
        worker: &'a Worker,
        origin: CallOrigin<'_>,
        message: &[u8],
        method: MethodLabel,
    ) -> Self {
        let telemetry = &worker.edge.telemetry;
        if let Some(client) = origin.context.filter(|_| telemetry.tells_calls()) {
            client.note_told();
        }
        let trace = trace(worker, origin, message);
        let told = (telemetry.tells_calls() || trace.is_some()).then(|| {
            let audit = telemetry.audit.as_ref();
            let arguments = || audit.and_then(|audit| audit.arguments(message));
            let arguments = method.is_tool_call().then(arguments).flatten();
            let mut told = ToldCall::of(origin, trace);
            (told.target, told.arguments) = (target(method, message).map(shown_target), arguments);
            if let Some(audit) = audit.filter(|_| method.is_batch()) {
                told.batched = BatchedCall::all(audit, message);
            }
            Box::new(told)
        });
        Self::with(worker, method, message.len() as u64, told)
    }

    /// Begins with a message that passes as it arrives, and that nothing is told of but numbers.
    pub fn begin_streamed(worker: &'a Worker) -> Self {
        Self::with(worker, MethodLabel::of(b""), 0, None)
    }

    fn with(
        worker: &'a Worker,
        method: MethodLabel,
        received: u64,
        told: Option<Box<ToldCall>>,
    ) -> Self {
        Self { worker, noted: Some(CallNotes::begin(method, received, told)) }
    }

    /// The context of the call's span, for whoever takes the message. `None` if it is not traced.
    #[must_use]
    pub fn trace(&self) -> Option<Box<TraceContext>> {
        let span = self.noted.as_ref()?.told.as_ref()?.trace.as_ref()?;
        Some(Box::new(span.context.clone()))
    }

    /// Notes the server that the call is for, and the message as this server gets it.
    pub fn is_for(&self, server: &ServerName, message: &[u8]) {
        let Some(noted) = &self.noted else { return };
        noted.is_for(server);
        // The audit log alone says by which rule.
        if self.worker.edge.telemetry.audit.is_some()
            && let Some(told) = noted.told.as_ref().filter(|told| told.ruled.is_some())
            && let Some(own) = target(noted.method, message)
        {
            let _ = told.own_name.set(own);
        }
    }

    /// The rules for the client, if somebody reads by which of them it is refused.
    #[must_use]
    pub fn ruled(&self) -> Option<&Rights> {
        let _read = self.worker.edge.telemetry.audit.as_ref()?;
        self.noted.as_ref()?.told.as_ref()?.ruled.as_deref()
    }

    /// Notes by which of them.
    pub fn ruled_by(&self, ruling: PolicyRuling) {
        if let Some(told) = self.noted.as_ref().and_then(|noted| noted.told.as_ref()) {
            let _ = told.ruling.set(ruling);
        }
    }

    /// Notes the node that has answered.
    pub fn was_at(&self, node: &NodeId) {
        if let Some(told) = self.noted.as_ref().and_then(|noted| noted.told.as_ref()) {
            let _ = told.node.set(node.clone());
        }
    }

    /// Notes what has passed of a message since [`Self::begin_streamed`].
    pub fn passed(&mut self, cut: &Cut) {
        if let Some(noted) = &mut self.noted {
            (noted.method, noted.received) = (cut.method(), cut.bytes());
        }
    }

    /// Notes the answer, whose body may still have to come.
    pub fn answered(mut self, response: Response<Body>) -> Response<Body> {
        let Some(noted) = self.noted.take() else { return response };
        let (edge, worker) = (Arc::clone(&self.worker.edge), self.worker.index);
        watched(response, noted.method.is_tool_call(), move |end, sent| {
            noted.end(&edge, worker, end, sent);
        })
    }

    /// Notes that the gateway has refused it, with an answer under the request's id.
    pub fn refused(mut self, refusal: &Refusal, id: Option<&str>) {
        if let Some(noted) = self.noted.take() {
            let (_, emitter, kind) = refusal.counted();
            let end = CallEnd::refused(emitter, kind);
            let sent = refusal.message(id).len() as u64;
            noted.end_with(&self.worker.edge, self.worker.index, end, sent, Some(refusal));
        }
    }
}

impl Drop for ObservedCall<'_> {
    fn drop(&mut self) {
        if let Some(noted) = self.noted.take() {
            noted.end(&self.worker.edge, self.worker.index, CallEnd::LEFT, 0);
        }
    }
}

/// Begins the span of a call. The caller's context is in the headers of its request, else in
/// `params._meta`.
fn trace(worker: &Worker, origin: CallOrigin<'_>, message: &[u8]) -> Option<BegunSpan> {
    let traces = worker.edge.telemetry.traces.as_ref()?;
    let of_headers = origin.context.and_then(|client| TraceContext::of_headers(&client.headers));
    traces.begin(of_headers.or_else(|| TraceContext::of_message(message)).as_ref())
}
