//! One call, from its message until its answer has passed. Nothing here waits, and without logs
//! nothing is allocated for an answer that comes whole.

use http::Response;

use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::model::{NodeId, ServerName};
use crate::net::{Body, Cut, is_event_stream};
use crate::protocol::error_kind::{Emitter, ErrorKind};
use crate::protocol::glance::{MethodLabel, target};
use crate::telemetry::CallEnd;

use super::answer_watch::AnswerWatch;
use super::later::LaterCall;
use super::notes::{CallNotes, CallOrigin, ToldCall};

/// A call under way. One that is dropped without an answer counts as left by its client.
pub struct ObservedCall<'a> {
    worker: &'a Worker,
    noted: Option<CallNotes>,
}

impl<'a> ObservedCall<'a> {
    /// Begins with a whole message.
    pub fn begin(worker: &'a Worker, origin: CallOrigin<'_>, message: &[u8]) -> Self {
        let telemetry = &worker.edge.telemetry;
        let method = MethodLabel::of(message);
        let told = telemetry.tells_calls().then(|| {
            let audit = telemetry.audit.as_ref();
            let arguments = || audit.and_then(|audit| audit.arguments(message));
            let arguments = method.is_tool_call().then(arguments).flatten();
            let mut told = ToldCall::of(origin);
            (told.target, told.arguments) = (target(message), arguments);
            Box::new(told)
        });
        Self::with(worker, method, message.len() as u64, told)
    }

    /// Begins with a message that passes as it arrives.
    pub fn begin_streamed(worker: &'a Worker, origin: CallOrigin<'_>) -> Self {
        let told = worker.edge.telemetry.tells_calls();
        let told = told.then(|| Box::new(ToldCall::of(origin)));
        Self::with(worker, MethodLabel::of(b""), 0, told)
    }

    fn with(
        worker: &'a Worker,
        method: MethodLabel,
        received: u64,
        told: Option<Box<ToldCall>>,
    ) -> Self {
        Self { worker, noted: Some(CallNotes::begin(method, received, told)) }
    }

    /// Notes the server that the call is for.
    pub fn is_for(&self, server: &ServerName) {
        if let Some(noted) = &self.noted {
            noted.is_for(server);
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
        let edge = &self.worker.edge;
        match response.body() {
            Body::Empty if response.status().as_u16() >= 400 => {
                let end = CallEnd::refused(Emitter::Gateway, ErrorKind::Transport);
                noted.end(edge, self.worker.index, end, 0);
            }
            Body::Empty => noted.end(edge, self.worker.index, CallEnd::OK, 0),
            Body::Full(bytes) | Body::Held(bytes, _) if !is_event_stream(&response) => {
                let end = CallEnd::said(bytes, noted.method.is_tool_call()).unwrap_or(CallEnd::OK);
                noted.end(edge, self.worker.index, end, bytes.len() as u64);
            }
            _ => {
                let is_tool_call = noted.method.is_tool_call();
                let watch = AnswerWatch::new(is_tool_call, is_event_stream(&response));
                let worker = (std::sync::Arc::clone(edge), self.worker.index);
                return response.map(|body| {
                    Body::Through(Box::new(LaterCall::new(body, watch, noted, worker)))
                });
            }
        }
        response
    }

    /// Notes that the gateway has refused it.
    pub fn refused(mut self, refusal: &Refusal) {
        if let Some(noted) = self.noted.take() {
            let (_, emitter, kind) = refusal.counted();
            let end = CallEnd::refused(emitter, kind);
            noted.end_with(&self.worker.edge, self.worker.index, end, 0, Some(refusal));
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
