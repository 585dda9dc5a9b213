//! Finds where the body of a response ends, and which of its bytes are data (RFC 9112 §7.1).

use bytes::{Buf as _, Bytes, BytesMut};

use super::ResponseFault;

/// Bytes of chunk extensions and trailers in one body. They are skipped, so a server must not
/// send them without end.
const MAX_BESIDE: usize = 16 * 1024;

/// The part of a body that is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyDecoder {
    /// This many bytes.
    Length(u64),
    /// Chunks, up to the empty one and its trailers.
    Chunked(Chunks),
    /// Everything until the server closes the connection.
    UntilClose,
}

/// The place in a chunked body, to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    state: BodyState,
    beside: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// The size so far, and whether it has a digit yet.
    Size(u64, bool),
    /// The rest of the size's line.
    Extension(u64),
    /// After the CR of that line.
    SizeEnd(u64),
    /// Bytes of the chunk still to come.
    Data(u64),
    /// After the data, before its CR.
    Cr,
    Lf,
    /// In a line after the last chunk, or at its beginning.
    Trailer {
        is_empty: bool,
    },
    /// After the CR of that line.
    TrailerEnd {
        is_empty: bool,
    },
    Over,
}

/// What [`BodyDecoder::take`] has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next data, never empty.
    Data(Bytes),
    /// Nothing yet: more must be read.
    Part,
    /// The end of the body. Bytes that are still in the buffer do not belong to it.
    Over,
}

impl BodyDecoder {
    /// A body of this many bytes.
    #[must_use]
    pub fn length(length: u64) -> Self {
        Self::Length(length)
    }

    /// A chunked body, before its first chunk.
    #[must_use]
    pub fn chunked() -> Self {
        Self::Chunked(Chunks { state: BodyState::Size(0, false), beside: 0 })
    }

    /// Whether the body has ended. Never true for one that ends with its connection.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == BodyState::Over,
            Self::UntilClose => false,
        }
    }

    /// Takes the next data out of the bytes read so far.
    ///
    /// # Errors
    /// [`ResponseFault`], after which the connection is unusable.
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Step, ResponseFault> {
        match self {
            Self::Length(0) => Ok(Step::Over),
            _ if read.is_empty() => Ok(if self.is_over() { Step::Over } else { Step::Part }),
            Self::Length(left) => Ok(Step::Data(up_to(left, read))),
            Self::UntilClose => Ok(Step::Data(read.split().freeze())),
            Self::Chunked(chunks) => chunks.take(read),
        }
    }
}

/// Takes at most `left` bytes, and subtracts them from it.
fn up_to(left: &mut u64, read: &mut BytesMut) -> Bytes {
    let length = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    *left -= length as u64;
    read.split_to(length).freeze()
}

impl Chunks {
    fn take(&mut self, read: &mut BytesMut) -> Result<Step, ResponseFault> {
        loop {
            if let BodyState::Data(left) = &mut self.state {
                if read.is_empty() {
                    return Ok(Step::Part);
                }
                let data = up_to(left, read);
                if *left == 0 {
                    self.state = BodyState::Cr;
                    self.finish(read)?;
                }
                return Ok(Step::Data(data));
            }
            if self.state == BodyState::Over {
                return Ok(Step::Over);
            }
            let Some(byte) = read.first().copied() else { return Ok(Step::Part) };
            self.state = self.after(byte)?;
            read.advance(1);
        }
    }

    /// Skips to the next data or to the end, so that [`BodyDecoder::is_over`] is true as soon as
    /// the last data was taken.
    fn finish(&mut self, read: &mut BytesMut) -> Result<(), ResponseFault> {
        while !matches!(self.state, BodyState::Data(_) | BodyState::Over) {
            let Some(byte) = read.first().copied() else { break };
            self.state = self.after(byte)?;
            read.advance(1);
        }
        Ok(())
    }

    fn after(&mut self, byte: u8) -> Result<BodyState, ResponseFault> {
        let sized = |size: u64| match size {
            0 => BodyState::Trailer { is_empty: true },
            size => BodyState::Data(size),
        };
        Ok(match (self.state, byte) {
            (BodyState::Size(size, has_digits), _) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let size = size.checked_mul(16).and_then(|size| size.checked_add(digit.into()));
                    BodyState::Size(size.ok_or(ResponseFault::Chunk)?, true)
                }
                None if !has_digits => return Err(ResponseFault::Chunk),
                None => match byte {
                    b'\r' => BodyState::SizeEnd(size),
                    b';' | b' ' | b'\t' => BodyState::Extension(size),
                    _ => return Err(ResponseFault::Chunk),
                },
            },
            (BodyState::Extension(size), b'\r') => BodyState::SizeEnd(size),
            (BodyState::Extension(_), b'\n') => return Err(ResponseFault::Chunk),
            (BodyState::Extension(size), _) => {
                self.count()?;
                BodyState::Extension(size)
            }
            (BodyState::SizeEnd(size), b'\n') => sized(size),
            (BodyState::Cr, b'\r') => BodyState::Lf,
            (BodyState::Lf, b'\n') => BodyState::Size(0, false),
            (BodyState::Trailer { is_empty }, b'\r') => BodyState::TrailerEnd { is_empty },
            (BodyState::Trailer { .. }, b'\n') => return Err(ResponseFault::Chunk),
            (BodyState::Trailer { .. }, _) => {
                self.count()?;
                BodyState::Trailer { is_empty: false }
            }
            (BodyState::TrailerEnd { is_empty: true }, b'\n') => BodyState::Over,
            (BodyState::TrailerEnd { is_empty: false }, b'\n') => {
                BodyState::Trailer { is_empty: true }
            }
            _ => return Err(ResponseFault::Chunk),
        })
    }

    fn count(&mut self) -> Result<(), ResponseFault> {
        self.beside += 1;
        if self.beside > MAX_BESIDE {
            Err(ResponseFault::LargeChunkHead(MAX_BESIDE))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the bytes left over, and whether the body has ended.
    fn decoded(
        mut decoder: BodyDecoder,
        pieces: &[&[u8]],
    ) -> Result<(Vec<u8>, Vec<u8>, bool), ResponseFault> {
        let (mut read, mut data) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            read.extend_from_slice(piece);
            while let Step::Data(more) = decoder.take(&mut read)? {
                assert!(!more.is_empty());
                data.extend_from_slice(&more);
            }
        }
        Ok((data, read.to_vec(), decoder.is_over()))
    }

    #[test]
    fn a_length_is_a_length() {
        let over = decoded(BodyDecoder::length(4), &[b"ab", b"cdef"]).unwrap();
        assert_eq!(over, (b"abcd".to_vec(), b"ef".to_vec(), true));
        let short = decoded(BodyDecoder::length(4), &[b"ab"]).unwrap();
        assert_eq!(short, (b"ab".to_vec(), vec![], false));
        let all = decoded(BodyDecoder::UntilClose, &[b"ab", b"cd"]).unwrap();
        assert_eq!(all, (b"abcd".to_vec(), vec![], false));
    }

    #[test]
    fn chunks_are_put_together_wherever_they_are_cut() {
        let text =
            b"4;name=\"x\"\r\nWiki\r\n5 \r\npedia\r\nA\r\n 012345678\r\n0\r\nT: x\r\n\r\nnext";
        let whole = decoded(BodyDecoder::chunked(), &[text]).unwrap();
        assert_eq!(whole, (b"Wikipedia 012345678".to_vec(), b"next".to_vec(), true));
        for step in 1..10 {
            let pieces: Vec<&[u8]> = text.chunks(step).collect();
            assert_eq!(decoded(BodyDecoder::chunked(), &pieces).unwrap(), whole, "{step}");
        }
    }

    #[test]
    fn the_end_is_known_with_the_last_data() {
        let mut read = BytesMut::from(&b"1\r\nx\r\n0\r\n\r\n"[..]);
        let mut decoder = BodyDecoder::chunked();
        assert_eq!(decoder.take(&mut read), Ok(Step::Data("x".into())));
        assert!(decoder.is_over());
        assert!(read.is_empty());
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "1\n",
            "1;a\nb",
            "1\rx",
            "1\r\nxy\r\n",
            "1\r\nx\n",
            "10000000000000000\r\n",
            "0\r\n\n",
            "0\r\n\rx",
        ] {
            let refused = decoded(BodyDecoder::chunked(), &[text.as_bytes()]);
            assert_eq!(refused, Err(ResponseFault::Chunk), "{text:?}");
        }
        for (before, repeated) in [("1;", "x"), ("0\r\n", "T: x\r\n")] {
            let text = format!("{before}{}", repeated.repeat(20_000));
            let refused = decoded(BodyDecoder::chunked(), &[text.as_bytes()]);
            assert_eq!(refused, Err(ResponseFault::LargeChunkHead(MAX_BESIDE)));
        }
    }
}
