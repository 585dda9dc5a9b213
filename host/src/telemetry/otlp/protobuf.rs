//! Protocol Buffers, as far as OTLP needs them: fields are written one after another.

/// Writes the fields of one message.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A whole number, or a flag.
    pub fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.chosen_number(field, value);
        }
    }

    /// Eight bytes, the lowest first.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A text, or bytes. Empty ones are left out.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.chosen_bytes(field, value);
        }
    }

    /// A value of a `oneof`, which is written though it is empty: that it is there says something.
    pub fn chosen_bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// The same for a number.
    pub fn chosen_number(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        varint(&mut self.0, value);
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Another message, which may be empty.
    pub fn message(&mut self, field: u32, value: &Self) {
        self.chosen_bytes(field, &value.0);
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(&mut self, field: u32, wire: u32) {
        varint(&mut self.0, u64::from(field << 3 | wire));
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_encoding_has_them() {
        // The examples of protobuf.dev, "Encoding".
        let mut message = Message::default();
        message.number(1, 150);
        assert_eq!(message.into_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.bytes(2, b"testing");
        let mut outer = Message::default();
        outer.message(3, &message);
        assert_eq!(outer.into_bytes(), b"\x1a\x09\x12\x07testing");
        let mut message = Message::default();
        message.fixed64(1, 1);
        message.fixed32(2, 1);
        message.number(3, 0);
        message.bytes(4, b"");
        assert_eq!(message.into_bytes(), b"\x09\x01\0\0\0\0\0\0\0\x15\x01\0\0\0");
    }
}
