//! A response's body: by length, in chunks, or until the connection closes.

use std::io::{self, Read};
use std::net::TcpStream;

#[derive(Debug)]
pub enum Length {
    Known(usize),
    Chunked { left: usize, begun: bool },
    UntilEnd,
}

pub struct Body {
    stream: TcpStream,
    length: Length,
}

impl Body {
    pub fn new(stream: TcpStream, length: Length) -> Self {
        Self { stream, length }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// The size of the next chunk; 0 at the end.
    fn chunk(&mut self, begun: bool) -> io::Result<usize> {
        if begun {
            self.line()?;
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or("");
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
        if size == 0 {
            self.line()?;
        }
        Ok(size)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.length {
            Length::UntilEnd => self.stream.read(into),
            Length::Known(0) => Ok(0),
            Length::Known(left) => {
                let most = left.min(into.len());
                let got = self.stream.read(&mut into[..most])?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.length = Length::Known(left - got);
                Ok(got)
            }
            Length::Chunked { left: 0, begun } => match self.chunk(begun)? {
                0 => {
                    self.length = Length::Known(0);
                    Ok(0)
                }
                left => {
                    self.length = Length::Chunked { left, begun: true };
                    self.read(into)
                }
            },
            Length::Chunked { left, begun } => {
                let most = left.min(into.len());
                let got = self.stream.read(&mut into[..most])?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.length = Length::Chunked { left: left - got, begun };
                Ok(got)
            }
        }
    }
}
