//! The common name in a certificate's subject, and how DER is read.

/// `CN`, 2.5.4.3, as DER has it.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Kinds of texts that are, or can be read as, UTF-8: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// The last common name of a subject, which is the narrowest. `subject` is what is within its
/// outermost sequence: sets of pairs.
pub fn common_name(subject: &[u8]) -> Option<String> {
    let (mut rest, mut found) = (subject, None);
    while let Some((SET, mut pairs, after)) = element(rest) {
        rest = after;
        while let Some((SEQUENCE, pair, more)) = element(pairs) {
            pairs = more;
            if let Some(value) = pair.strip_prefix(COMMON_NAME)
                && let Some((kind, text, [])) = element(value)
                && TEXTS.contains(&kind)
                && let Ok(text) = std::str::from_utf8(text)
            {
                found = Some(text.to_owned());
            }
        }
    }
    found.filter(|text| !text.is_empty())
}

/// Tag, contents, and what follows.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let ([high, low], rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((tag, inside, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, inside: &[u8]) -> Vec<u8> {
        let length = u8::try_from(inside.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, inside.to_vec()].concat()
    }

    fn pair(oid_end: u8, kind: u8, text: &[u8]) -> Vec<u8> {
        let oid = [0x06, 0x03, 0x55, 0x04, oid_end];
        der(SET, &der(SEQUENCE, &[oid.to_vec(), der(kind, text)].concat()))
    }

    #[test]
    fn the_last_common_name_counts_whatever_stands_around_it() {
        let organisation = pair(10, 0x0c, b"Example");
        let name = pair(3, 0x0c, "Zoë".as_bytes());
        let all = [pair(3, 0x13, b"first"), organisation.clone(), name].concat();
        assert_eq!(common_name(&all).as_deref(), Some("Zoë"));
        assert_eq!(common_name(&organisation), None);
        let long = pair(3, 0x0c, &[b'x'; 100]);
        assert_eq!(common_name(&long).as_deref(), Some(&*"x".repeat(100)));
    }

    #[test]
    fn what_is_cut_or_is_no_text_is_no_name() {
        let whole = pair(3, 0x0c, b"name");
        for end in 0..whole.len() {
            assert_eq!(common_name(&whole[..end]), None, "{end}");
        }
        for kind in [0x02, 0x1e, 0x30] {
            assert_eq!(common_name(&pair(3, kind, b"name")), None, "{kind}");
        }
        assert_eq!(common_name(&pair(3, 0x0c, b"\xff\xfe")), None);
        assert_eq!(common_name(&pair(3, 0x0c, b"")), None);
        assert_eq!(common_name(&[0x31, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
