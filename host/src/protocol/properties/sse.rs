//! Checks the decoder of event streams against one that reads the whole text at once, step by step
//! as the standard describes it.

use bytes::Bytes;

use super::super::splice;
use super::super::sse::{self, Event, EventDecoder, TooLarge};

/// Larger than any input: a decoder that refuses nothing.
const NO_LIMIT: usize = 1 << 30;
/// An invalid byte becomes U+FFFD, which takes three bytes.
const GROWTH: usize = 3;

/// The first bytes choose the limit and where the stream is cut; the rest is the stream.
pub fn hold(input: &[u8]) {
    let [limit, step, stream @ ..] = input else { return };
    let limit = usize::from(*limit);
    let cuts = || {
        // Pieces of 1 to 8 bytes in an order that depends on the step.
        let mut at = usize::from(*step);
        std::iter::from_fn(move || {
            at = at.wrapping_mul(31).wrapping_add(7);
            Some(1 + at % 8)
        })
    };

    let (whole, refused) = decoded(NO_LIMIT, [stream]);
    assert_eq!(refused, None);
    assert_eq!(whole, reference(stream));
    assert_eq!(decoded(NO_LIMIT, pieces(stream, cuts())), (whole.clone(), None));

    let bounded = decoded(limit, [stream]);
    assert_eq!(decoded(limit, pieces(stream, cuts())), bounded);
    assert_eq!(decoded(limit, stream.chunks(1)), bounded);
    let (events, refused) = bounded;
    assert!(whole.starts_with(&events));
    assert!(refused.is_some() || events.len() == whole.len());
    for event in &events {
        assert!(event.data.len() <= limit, "{event:?}");
        assert!(event.name.len() <= GROWTH * limit, "{event:?}");
        assert!(event.id.as_ref().is_none_or(|id| id.len() <= GROWTH * limit), "{event:?}");
    }

    comes_back(stream);
}

fn decoded<'a>(
    limit: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<TooLarge>) {
    let mut decoder = EventDecoder::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(refused) = decoder.feed(piece, |event| events.push(event)) {
            return (events, Some(refused));
        }
    }
    (events, None)
}

fn pieces(mut stream: &[u8], mut cuts: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = cuts.next().unwrap_or(1).min(stream.len());
        let (piece, rest) = stream.split_at_checked(length)?;
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// An encoded event is decoded as the same event, and the next one too.
fn comes_back(message: &[u8]) {
    let message = splice::on_one_line(Bytes::copy_from_slice(message));
    let sent = [sse::KEEP_ALIVE, &sse::event(&message), &sse::event(b"{}")].concat();
    let (events, refused) = decoded(NO_LIMIT, [&*sent]);
    assert_eq!(refused, None);
    let event =
        |data: &[u8]| Event { name: "message".into(), data: data.into(), ..Event::default() };
    assert_eq!(events, [event(&message), event(b"{}")]);
}

/// WHATWG HTML, "Interpreting an event stream", with two intended differences: an event that only
/// sets the id or the retry time is given too, and an id belongs only to the event that sets it.
fn reference(stream: &[u8]) -> Vec<Event> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut events = Vec::new();
    let mut event = Event::default();
    let mut data: Option<Vec<u8>> = None;
    for line in lines(stream) {
        if line.is_empty() {
            let mut ended = std::mem::take(&mut event);
            let has_data = data.is_some();
            ended.data = data.take().unwrap_or_default();
            if has_data || ended.id.is_some() || ended.retry.is_some() {
                events.push(ended);
            }
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => line.split_at(colon),
            None => (line.as_slice(), b"".as_slice()),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => event.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend(value);
                }
            },
            b"id" if !value.contains(&0) => {
                event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // A number that is too large is ignored.
                let digits = String::from_utf8_lossy(value);
                event.retry = digits.parse().ok().or(event.retry);
            }
            _ => {}
        }
    }
    events
}

/// The lines that have ended: at CR LF, LF or CR.
fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = stream.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if(|next| **next == b'\n');
                lines.push(std::mem::take(&mut line));
            }
            b'\n' => lines.push(std::mem::take(&mut line)),
            other => line.push(*other),
        }
    }
    lines
}
