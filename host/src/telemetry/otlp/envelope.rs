//! The request around what is told: of which process it is, and which program has made it. It is the
//! same, field for field, for spans, metrics and log records.

use super::attributes::{Attributes, attribute};
use super::protobuf::Message;

/// An `Export…ServiceRequest` with these items of one process.
#[must_use]
pub fn envelope(resource: &Attributes, items: impl Iterator<Item = Message>) -> Vec<u8> {
    let mut scope = Message::default();
    scope.bytes(1, b"mooring");
    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut of_scope = Message::default();
    of_scope.message(1, &scope);
    for item in items {
        of_scope.message(2, &item);
    }
    let mut described = Message::default();
    for (name, value) in &resource.values {
        described.message(1, &attribute(name, value));
    }
    let mut of_resource = Message::default();
    of_resource.message(1, &described);
    of_resource.message(2, &of_scope);
    let mut request = Message::default();
    request.message(1, &of_resource);
    request.into_bytes()
}
