//! Checks that HTTP/1.1 responses read in pieces, as from a connection, equal the same text read at
//! once.

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::super::http1::{BodyDecoder, ResponseFault, Scan, Step};

/// What was read from a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    status: Option<StatusCode>,
    fields: Vec<(String, Vec<u8>)>,
    keeps: bool,
    body: Vec<u8>,
    is_over: bool,
    rest: Vec<u8>,
}

/// The first byte chooses where the text is cut; the rest is the text.
pub fn hold(input: &[u8]) {
    let [step, text @ ..] = input else { return };
    let mut at = usize::from(*step);
    let mut pieces = Vec::new();
    let mut left = text;
    while !left.is_empty() {
        // Pieces of 1 to 8 bytes in an order that depends on the step.
        at = at.wrapping_mul(31).wrapping_add(7);
        let (piece, rest) = left.split_at((1 + at % 8).min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    let (whole, refused) = read(&[text]);
    let (cut, refused_cut) = read(&pieces);
    // A fault is found at the same byte; the pieces may have given more data before it.
    assert_eq!(refused, refused_cut);
    if refused.is_some() {
        assert!(cut.body.starts_with(&whole.body));
        return;
    }
    assert_eq!(whole, cut);
    for (name, _) in &whole.fields {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    }
    for (_, value) in &whole.fields {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
    }
    // No byte is lost, and none comes twice.
    if whole.status.is_some() && !is_chunked(&whole) {
        assert!(text.ends_with(&[&whole.body[..], &whole.rest].concat()));
    }
    if whole.is_over && is_chunked(&whole) {
        let head = text.len() - whole.rest.len();
        let chunks = text.get(..head).unwrap_or_default();
        assert!(chunks.ends_with(b"\r\n\r\n"));
        let reference = chunks_at_the_end(chunks, whole.body.len());
        assert_eq!(reference.as_ref(), Some(&whole.body));
    }
}

fn is_chunked(read: &Read) -> bool {
    let has_body = !matches!(read.status, Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED));
    let says = |value: &[u8]| value.to_ascii_lowercase().windows(7).any(|word| word == b"chunked");
    has_body && read.fields.iter().any(|(name, value)| name == "transfer-encoding" && says(value))
}

fn read(pieces: &[&[u8]]) -> (Read, Option<ResponseFault>) {
    let (mut scan, mut buffer, mut decoder) = (Scan::default(), BytesMut::new(), None);
    let mut found = Read::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(fault) = feed(&mut scan, &mut buffer, &mut decoder, &mut found) {
            return (found, Some(fault));
        }
    }
    found.is_over = decoder.as_ref().is_some_and(BodyDecoder::is_over);
    found.rest = buffer.to_vec();
    (found, None)
}

fn feed(
    scan: &mut Scan,
    buffer: &mut BytesMut,
    decoder: &mut Option<BodyDecoder>,
    found: &mut Read,
) -> Result<(), ResponseFault> {
    if decoder.is_none() {
        let Some(head) = scan.take(buffer, &Method::POST)? else { return Ok(()) };
        found.status = Some(head.response.status());
        // A body that has arrived with its head is told without its length.
        let fields = head.response.headers().iter().filter(|(name, _)| *name != "content-length");
        found.fields =
            fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        found.keeps = head.keeps;
        *decoder = Some(head.body);
    }
    let Some(decoder) = decoder else { return Ok(()) };
    while let Step::Data(data) = decoder.take(buffer)? {
        assert!(!data.is_empty());
        found.body.extend_from_slice(&data);
    }
    Ok(())
}

/// The data of the chunks at the end of the text, `length` bytes: found by trying each place where
/// they may begin.
fn chunks_at_the_end(text: &[u8], length: usize) -> Option<Vec<u8>> {
    let starts =
        (0..=text.len()).filter(|start| *start == 0 || text.get(start - 1) == Some(&b'\n'));
    let data = starts.filter_map(|start| chunks(text.get(start..)?));
    data.into_iter().find(|data| data.len() == length)
}

/// RFC 9112 §7.1, chunk by chunk.
fn chunks(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = text.windows(2).position(|two| two == b"\r\n")?;
        let (size, rest) = (text.get(..line)?, text.get(line + 2..)?);
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let number = std::str::from_utf8(size.get(..digits)?).ok()?;
        let size = usize::from_str_radix(number, 16).ok()?;
        if size == 0 {
            // Trailers, or the empty line alone.
            return (rest == b"\r\n" || rest.ends_with(b"\r\n\r\n")).then_some(data);
        }
        data.extend_from_slice(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
