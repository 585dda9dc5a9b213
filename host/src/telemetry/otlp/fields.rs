//! Protocol Buffers that somebody else has written, read field by field.

/// The fields of one message, in their order. What is no message ends where it stops being one.
pub struct ProtobufFields<'a>(&'a [u8]);

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue<'a> {
    Number(u64),
    /// A text, bytes, or another message.
    Bytes(&'a [u8]),
}

impl<'a> ProtobufFields<'a> {
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The last value of a field, which is what counts where there may be one alone.
    #[must_use]
    pub fn last(message: &'a [u8], field: u64) -> Option<FieldValue<'a>> {
        Self::of(message).filter(|(number, _)| *number == field).last().map(|(_, value)| value)
    }

    /// A number; 0 if it is left out.
    #[must_use]
    pub fn number(message: &'a [u8], field: u64) -> u64 {
        match Self::last(message, field) {
            Some(FieldValue::Number(number)) => number,
            _ => 0,
        }
    }

    /// Bytes; none if they are left out.
    #[must_use]
    pub fn bytes(message: &'a [u8], field: u64) -> &'a [u8] {
        match Self::last(message, field) {
            Some(FieldValue::Bytes(bytes)) => bytes,
            _ => b"",
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn fixed(&mut self, size: usize) -> Option<u64> {
        let bytes = self.take(size)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for ProtobufFields<'a> {
    type Item = (u64, FieldValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => FieldValue::Number(self.varint()?),
            1 => FieldValue::Number(self.fixed(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => FieldValue::Number(self.fixed(4)?),
            _ => {
                self.0 = b"";
                return None;
            }
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::otlp::protobuf::Message;

    #[test]
    fn what_is_written_here_is_read_again() {
        let mut inner = Message::default();
        inner.number(1, u64::MAX);
        inner.fixed64(2, 3);
        inner.fixed32(3, 4);
        let inner = inner.into_bytes();
        let mut outer = Message::default();
        outer.bytes(7, &inner);
        outer.bytes(7, b"later");
        let outer = outer.into_bytes();
        let all: Vec<_> = ProtobufFields::of(&outer).collect();
        let [first, last] = [&*inner, b"later"].map(|bytes| (7, FieldValue::Bytes(bytes)));
        assert_eq!(all, [first, last]);
        assert_eq!(ProtobufFields::bytes(&outer, 7), b"later");
        let numbers = [1, 2, 3, 4].map(|field| ProtobufFields::number(&inner, field));
        assert_eq!(numbers, [u64::MAX, 3, 4, 0]);
    }

    #[test]
    fn what_is_no_message_ends() {
        for bytes in [
            &b"\x08"[..],
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x12\x7fshort",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b\x0b",
            b"\x09\x01",
        ] {
            assert_eq!(ProtobufFields::of(bytes).count(), 0, "{bytes:?}");
        }
    }
}
