//! A message of a traced call on its way to its server: the context that the server gets, and the span
//! of the way.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::glance::{MethodLabel, shown_target, target};
use crate::protocol::trace_context::{TraceContext, with_context};
use crate::telemetry::{
    BegunSpan, NodeAnswer, SpanKind, Traces, call_attributes, span_name, watched,
};

use super::channel::answer::RunnerAnswer;

/// What is known of a traced message.
pub struct TracedMessage {
    /// What the server gets.
    context: TraceContext,
    /// The span of this process, if it makes any.
    span: Option<(Arc<Traces>, BegunSpan)>,
}

impl TracedMessage {
    /// `None` if the edge has not put the message into a trace.
    #[must_use]
    pub fn of(headers: &HeaderMap, traces: Option<&Arc<Traces>>) -> Option<Box<Self>> {
        let caller = TraceContext::of_headers(headers)?;
        let begun =
            traces.and_then(|traces| Some((Arc::clone(traces), traces.begin(Some(&caller))?)));
        let context = begun.as_ref().map_or(caller, |(_, span)| span.context.clone());
        Some(Box::new(Self { context, span: begun }))
    }

    /// The message as the server gets it, with the context in `_meta`.
    #[must_use]
    pub fn written_into(&self, message: Bytes) -> Bytes {
        with_context(message, &self.context)
    }

    /// Adds the headers that a server behind a URL gets.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        self.context.write(headers);
    }

    /// Ends the span with the server's answer.
    #[must_use]
    pub fn answered(
        self,
        server: &ServerName,
        message: &[u8],
        response: Response<Body>,
    ) -> Response<Body> {
        let Some((traces, span)) = self.span else { return response };
        let mut response = response;
        if response.extensions().get::<RunnerAnswer>().is_some() {
            response.extensions_mut().insert(NodeAnswer);
        }
        let method = MethodLabel::of(message);
        let target = target(method, message).map(shown_target);
        let server = server.clone();
        watched(response, method.is_tool_call(), move |end, sent| {
            let target = target.as_deref();
            let mut said = call_attributes(method, target, Some(&server), end);
            said.number("mooring.sent_bytes", sent);
            traces.end(span, span_name(method, target), SpanKind::Client, said);
        })
    }
}
