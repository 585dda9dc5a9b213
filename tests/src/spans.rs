//! Spans as a collector gets them over OTLP: protobuf, read as far as tests look at it
//! (opentelemetry-proto, `trace/v1/trace.proto`).

use std::collections::BTreeMap;

use crate::scripted::{Asked, Scripted};

/// A collector that takes everything.
#[must_use]
pub fn collector() -> Scripted {
    Scripted::start(|_, out| {
        out.reply("200 OK", &["Content-Type: application/x-protobuf"], b"");
        None
    })
}

/// One span, with the resource that it is of.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// In hexadecimal, as the other ids.
    pub trace: String,
    pub id: String,
    /// Empty for the first of a trace.
    pub parent: String,
    pub name: String,
    pub state: String,
    /// 2: a server's, 3: a client's.
    pub kind: u64,
    pub began: u64,
    pub ended: u64,
    pub is_error: bool,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

/// All spans that a collector has got.
#[must_use]
#[track_caller]
pub fn received(collector: &Scripted) -> Vec<Span> {
    collector.all().iter().flat_map(spans).collect()
}

/// The spans of one request.
#[must_use]
#[track_caller]
pub fn spans(asked: &Asked) -> Vec<Span> {
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(asked.header("content-type"), Some("application/x-protobuf"));
    let mut spans = Vec::new();
    for of_resource in Fields::of(&asked.body).all(1) {
        let of_resource = Fields::of(&of_resource);
        let resource = of_resource.all(1).first().map(|bytes| attributes(bytes, 1));
        for of_scope in of_resource.all(2) {
            for bytes in Fields::of(&of_scope).all(2) {
                spans.push(Span { resource: resource.clone().unwrap_or_default(), ..span(&bytes) });
            }
        }
    }
    spans
}

fn span(bytes: &[u8]) -> Span {
    let fields = Fields::of(bytes);
    let hex = |field| fields.bytes(field).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = |field| String::from_utf8(fields.bytes(field)).expect("text");
    let status = Fields::of(&fields.bytes(15)).number(3);
    Span {
        trace: hex(1),
        id: hex(2),
        parent: hex(4),
        name: text(5),
        state: text(3),
        kind: fields.number(6),
        began: fields.number(7),
        ended: fields.number(8),
        is_error: status == 2,
        attributes: attributes(bytes, 9),
        resource: BTreeMap::new(),
    }
}

fn attributes(bytes: &[u8], field: u64) -> BTreeMap<String, String> {
    let all = Fields::of(bytes).all(field);
    let read = all.iter().map(|attribute| {
        let attribute = Fields::of(attribute);
        let value = Fields::of(&attribute.bytes(2));
        let text = String::from_utf8(value.bytes(1)).expect("text");
        let shown = if text.is_empty() { value.number(3).to_string() } else { text };
        (String::from_utf8(attribute.bytes(1)).expect("a name"), shown)
    });
    read.collect()
}

/// The fields of a message: their numbers and values, those of numbers with the lowest byte first.
struct Fields(Vec<(u64, Vec<u8>)>);

impl Fields {
    fn of(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut bytes)).expect("a length"),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            fields.push((key >> 3, value.to_vec()));
            bytes = rest;
        }
        Self(fields)
    }

    fn all(&self, field: u64) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(number, _)| *number == field).map(|(_, v)| v.clone()).collect()
    }

    fn bytes(&self, field: u64) -> Vec<u8> {
        self.all(field).pop().unwrap_or_default()
    }

    fn number(&self, field: u64) -> u64 {
        let bytes = self.bytes(field);
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}
