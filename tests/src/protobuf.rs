//! Protobuf, read as far as tests look at it.

use std::collections::BTreeMap;

/// The fields of a message: their numbers and values, those of numbers with the lowest byte first.
pub struct Fields(Vec<(u64, Vec<u8>)>);

impl Fields {
    #[must_use]
    #[track_caller]
    pub fn of(mut bytes: &[u8]) -> Self {
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

    #[must_use]
    pub fn all(&self, field: u64) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(number, _)| *number == field).map(|(_, v)| v.clone()).collect()
    }

    #[must_use]
    pub fn has(&self, field: u64) -> bool {
        self.0.iter().any(|(number, _)| *number == field)
    }

    #[must_use]
    pub fn bytes(&self, field: u64) -> Vec<u8> {
        self.all(field).pop().unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self, field: u64) -> String {
        String::from_utf8(self.bytes(field)).expect("text")
    }

    #[must_use]
    pub fn number(&self, field: u64) -> u64 {
        let bytes = self.bytes(field);
        bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    #[must_use]
    pub fn real(&self, field: u64) -> f64 {
        f64::from_bits(self.number(field))
    }

    /// The attributes that stand in a field.
    #[must_use]
    pub fn attributes(&self, field: u64) -> BTreeMap<String, String> {
        let all = self.all(field);
        let read = all.iter().map(|attribute| {
            let attribute = Self::of(attribute);
            let value = Self::of(&attribute.bytes(2));
            let shown = if value.has(1) {
                value.text(1)
            } else if value.has(3) {
                value.number(3).to_string()
            } else {
                assert!(value.has(4), "an attribute without a value: {}", attribute.text(1));
                value.real(4).to_string()
            };
            (attribute.text(1), shown)
        });
        read.collect()
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
