//! Content codings of responses. The gateway asks for none, and servers and CDNs compress
//! nevertheless (RFC 9110 §12.5.3).
//!
//! A body is decoded piece by piece as it is read, so a small one that becomes large takes no more
//! memory than a large one; what it may become in all is bounded.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{Response, header};
use http_body::{Body as _, Frame};

use super::body::{Body, BodyError};
use super::through::{Piece, Through};

/// Decoded bytes after which a piece is passed on.
const PIECE: usize = 64 * 1024;

/// A content coding that is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// The response with its body decoded; `most` is the size that the body may have then, in bytes.
/// A response whose coding is not known keeps its `Content-Encoding`.
#[must_use]
pub fn decoded(mut response: Response<Body>, most: Option<usize>) -> Response<Body> {
    // One lookup, for every response.
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let Some(coding) = coding(&response) else { return response };
    response.headers_mut().remove(header::CONTENT_ENCODING);
    let Some(coding) = coding else { return response };
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.map(|body| Body::Through(Box::new(Decoded::new(body, coding, most))))
}

/// The coding of the body, if it has one: `None` if it is not known.
fn coding(response: &Response<Body>) -> Option<Option<Coding>> {
    let mut found = None;
    for value in response.headers().get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().ok()?.split(',') {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                _ => return None,
            };
            // Nobody compresses twice but to see what happens.
            if found.replace(coding).is_some() {
                return None;
            }
        }
    }
    Some(found)
}

/// What turns compressed bytes into others. Each writes into its own buffer.
enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
    /// `deflate`, before its first two bytes have come: it should be zlib's format, and some
    /// servers leave zlib's frame out.
    Unknown(Vec<u8>),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Deflate => Self::Unknown(Vec::new()),
        }
    }

    /// Decodes some of the input, and says how much of it was used.
    fn write(&mut self, input: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.write(input),
            Self::Zlib(decoder) => decoder.write(input),
            Self::Raw(decoder) => decoder.write(input),
            Self::Unknown(head) => {
                let more = input.len().min(2 - head.len().min(2));
                head.extend_from_slice(input.get(..more).unwrap_or_default());
                if let [first, second, ..] = head[..] {
                    let is_zlib = first & 0x0f == 8
                        && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31);
                    let head = [first, second];
                    *self = if is_zlib {
                        Self::Zlib(ZlibDecoder::new(Vec::new()))
                    } else {
                        Self::Raw(DeflateDecoder::new(Vec::new()))
                    };
                    self.write_all(&head)?;
                }
                Ok(more)
            }
        }
    }

    fn write_all(&mut self, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            let used = self.write(input)?;
            if used == 0 {
                break;
            }
            input = input.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Everything decoded so far.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zlib(decoder) => decoder.flush(),
            Self::Raw(decoder) => decoder.flush(),
            Self::Unknown(_) => Ok(()),
        }
    }

    /// Checks that the input has ended where it should.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::Raw(decoder) => decoder.try_finish(),
            Self::Unknown(head) if head.is_empty() => Ok(()),
            Self::Unknown(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zlib(decoder) => decoder.get_mut(),
            Self::Raw(decoder) => decoder.get_mut(),
            Self::Unknown(head) => head,
        }
    }

    /// Takes what was decoded.
    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Unknown(_) => Vec::new(),
            _ => std::mem::take(self.out()),
        }
    }
}

/// A body that is decoded as it is read.
struct Decoded {
    body: Body,
    decoder: Decoder,
    /// Bytes that have come and are not decoded yet.
    input: Bytes,
    /// Bytes that may still come out.
    left: Option<usize>,
    is_begun: bool,
    is_over: bool,
}

impl Decoded {
    fn new(body: Body, coding: Coding, most: Option<usize>) -> Self {
        let decoder = Decoder::new(coding);
        let (is_begun, is_over) = (false, false);
        Self { body, decoder, input: Bytes::new(), left: most, is_begun, is_over }
    }

    /// Decodes the input, up to a piece. `None` if nothing has come out yet.
    fn step(&mut self) -> Result<Option<Bytes>, BodyError> {
        let wrong = |error: io::Error| -> BodyError {
            format!("the compressed body cannot be read: {error}").into()
        };
        while !self.input.is_empty() && self.decoder.out().len() < PIECE {
            match self.decoder.write(&self.input).map_err(wrong)? {
                // What stands behind the end means nothing.
                0 => self.input.clear(),
                used => self.input.advance(used),
            }
        }
        if self.input.is_empty() {
            self.decoder.flush().map_err(wrong)?;
        }
        let piece = self.decoder.take();
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(piece.len()).ok_or("the body is too large once decoded")?;
        }
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

impl Through for Decoded {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            if !self.input.is_empty() {
                match self.step() {
                    Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    Ok(None) => {}
                    Err(error) => {
                        self.is_over = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_over = true;
                    // A body without a byte is nothing compressed.
                    if !self.is_begun {
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(match self.decoder.finish() {
                        Ok(()) => {
                            let rest = self.decoder.take();
                            (!rest.is_empty()).then(|| Ok(Frame::data(rest.into())))
                        }
                        Err(_) => Some(Err("the compressed body ends early".into())),
                    });
                }
            };
            if let Ok(data) = frame.into_data() {
                self.is_begun |= !data.is_empty();
                self.input = data;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;
    use crate::net::collect;

    const MOST: usize = 1 << 20;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn response(coding: &'static str, pieces: Vec<Bytes>) -> Response<Body> {
        let body = Body::Stream(Box::pin(futures_util::stream::iter(pieces)));
        let mut response = Response::new(body);
        let coding = HeaderValue::from_static(coding);
        response.headers_mut().insert(header::CONTENT_ENCODING, coding);
        response
    }

    async fn read(coding: &'static str, encoded: &[u8], size: usize) -> Result<Bytes, String> {
        let pieces = encoded.chunks(size).map(Bytes::copy_from_slice).collect();
        let response = decoded(response(coding, pieces), Some(MOST));
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING), "{coding}");
        collect(response.into_body(), 8 * MOST).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_is_compressed_is_read_however_it_comes() {
        let long: Vec<u8> = (0..60_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        for text in [&b"{}"[..], &b"x".repeat(MOST), &long] {
            for (coding, encoded) in [
                ("gzip", gzip(text)),
                ("X-GZip", gzip(text)),
                ("identity, gzip", gzip(text)),
                ("deflate", zlib(text)),
                ("deflate", raw(text)),
                ("identity", text.to_vec()),
                ("gzip", [gzip(&text[..1]), gzip(&text[1..])].concat()),
            ] {
                let sizes: &[usize] = if encoded.len() < 9999 { &[1, 2, 7, 9999] } else { &[4096] };
                for size in sizes {
                    let read = read(coding, &encoded, *size).await;
                    assert!(read.as_deref() == Ok(text), "{coding} by {size}: {read:.60?}");
                }
            }
        }
        assert_eq!(read("gzip", b"", 1).await.as_deref(), Ok(&b""[..]));
    }

    #[tokio::test]
    async fn a_small_body_does_not_become_a_large_one_without_bound() {
        let bomb = gzip(&vec![b' '; 64 * MOST]);
        assert!(bomb.len() < MOST / 8);
        let wrong = read("gzip", &bomb, 4096).await.unwrap_err();
        assert!(wrong.contains("too large once decoded"), "{wrong}");
    }

    #[tokio::test]
    async fn what_is_cut_or_no_compressed_text_is_an_error() {
        let whole = gzip(b"an answer");
        for (coding, encoded) in [
            ("gzip", &whole[..whole.len() - 1]),
            ("gzip", &whole[..5]),
            ("gzip", b"an answer, not compressed"),
            ("deflate", &zlib(b"an answer")[..6]),
            ("deflate", b"x"),
        ] {
            let wrong = read(coding, encoded, 3).await.unwrap_err();
            assert!(wrong.contains("compressed body"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_event_is_there_before_the_stream_ends() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let first = std::mem::take(encoder.get_mut());
        let (sender, body) = tokio::sync::mpsc::channel(1);
        sender.send(first.into()).await.unwrap();
        let mut response = Response::new(Body::Channel(body));
        let coding = HeaderValue::from_static("gzip");
        response.headers_mut().insert(header::CONTENT_ENCODING, coding);
        let mut body = decoded(response, None).into_body();
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    }

    #[test]
    fn a_coding_that_is_not_known_is_left_to_the_reader() {
        for coding in ["br", "zstd", "gzip, gzip", "compress"] {
            let response = decoded(response(coding, Vec::new()), None);
            assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
        }
    }
}
