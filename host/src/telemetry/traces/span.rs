//! A span that has ended, and how OTLP writes it (opentelemetry-proto 1.x, `trace/v1`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::trace_context::TraceContext;
use crate::telemetry::otlp::protobuf::Message;
use crate::telemetry::otlp::{Attributes, Exported, attribute, cut};

/// What part of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A message of a client, at the edge.
    Server,
    /// A message to an MCP server, at the runner.
    Client,
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    pub context: TraceContext,
    /// The span that it is within; `None` for the first of a trace.
    pub parent: Option<u64>,
    pub name: String,
    pub kind: SpanKind,
    pub began: SystemTime,
    pub lasted: Duration,
    pub attributes: Attributes,
}

impl Exported for Span {
    const WHAT: &'static str = "spans";

    fn message(&self) -> Message {
        let mut span = Message::default();
        span.bytes(1, &self.context.trace.to_be_bytes());
        span.bytes(2, &self.context.span.to_be_bytes());
        span.bytes(3, self.context.state.as_deref().unwrap_or_default().as_bytes());
        if let Some(parent) = self.parent {
            span.bytes(4, &parent.to_be_bytes());
        }
        span.bytes(5, cut(&self.name).as_bytes());
        span.number(
            6,
            match self.kind {
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
        );
        let began = nanos(self.began.duration_since(UNIX_EPOCH).unwrap_or_default());
        span.fixed64(7, began);
        span.fixed64(8, began.saturating_add(nanos(self.lasted)));
        for (name, value) in &self.attributes.values {
            span.message(9, &attribute(name, value));
        }
        if let Some(error) = &self.attributes.error {
            let mut status = Message::default();
            status.bytes(2, cut(error).as_bytes());
            status.number(3, 2);
            span.message(15, &status);
        }
        span.fixed32(16, self.context.flags().into());
        span
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::envelope;

    /// The fields of a message: number, and the bytes of the value.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let (first, rest) = bytes.split_first().unwrap();
                *bytes = rest;
                value |= u64::from(first & 0x7f) << shift;
                shift += 7;
                if first & 0x80 == 0 {
                    return value;
                }
            }
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    fields.push((key >> 3, value.to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).unwrap(),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            fields.push((key >> 3, value.to_vec()));
            bytes = rest;
        }
        fields
    }

    fn one(bytes: &[u8], number: u64) -> Vec<u8> {
        fields(bytes).into_iter().find(|(field, _)| *field == number).unwrap().1
    }

    #[test]
    fn a_span_has_its_ids_times_attributes_and_status() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(parent, Some("a=1")).unwrap();
        let mut attributes = Attributes { error: Some("no".to_owned()), ..Attributes::default() };
        attributes.text("mcp.method.name", "tools/call");
        attributes.number("n", 1);
        let span = Span {
            parent: Some(7),
            name: "tools/call echo".to_owned(),
            kind: SpanKind::Server,
            began: UNIX_EPOCH + Duration::from_secs(5),
            lasted: Duration::from_nanos(3),
            attributes,
            context,
        };
        let mut resource = Attributes::default();
        resource.text("service.name", "s");
        let request = envelope(&resource, std::iter::once(span.message()));
        let resource_spans = one(&request, 1);
        let resource = one(&one(&resource_spans, 1), 1);
        assert_eq!(one(&resource, 1), b"service.name");
        assert_eq!(one(&one(&resource, 2), 1), b"s");
        let span = one(&one(&resource_spans, 2), 2);
        assert_eq!(one(&span, 1), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(one(&span, 2), 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!((one(&span, 3), one(&span, 4)), (b"a=1".to_vec(), 7_u64.to_be_bytes().to_vec()));
        assert_eq!(one(&span, 5), b"tools/call echo");
        assert_eq!(one(&span, 6)[0], 2);
        assert_eq!(one(&span, 7), 5_000_000_000_u64.to_le_bytes());
        assert_eq!(one(&span, 8), 5_000_000_003_u64.to_le_bytes());
        assert_eq!(one(&one(&span, 15), 2), b"no");
        let attributes = fields(&span).into_iter().filter(|(field, _)| *field == 9);
        assert_eq!(attributes.count(), 2);
    }
}
