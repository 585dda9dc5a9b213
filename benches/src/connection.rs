//! One keep-alive HTTP/1.1 connection of a client that costs as little as possible: requests are
//! prepared bytes, responses are parsed in place. Bodies by length, chunks or end-of-stream; no
//! pipelining.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer in bytes; the harness requests none this large.
const LIMIT: usize = 256 * 1024 * 1024;
const HEADERS: usize = 64;
/// Free bytes in the buffer before a read; a full buffer costs a second system call.
const ROOM: usize = 16 * 1024;

pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// The assembled body of a chunked response.
    body: Vec<u8>,
    /// Requests that were answered.
    pub exchanges: u32,
}

pub struct Response<'a> {
    pub status: u16,
    pub session_id: Option<&'a str>,
    pub body: &'a [u8],
}

struct Head {
    length: usize,
    status: u16,
    framing: Framing,
    session_id: Option<Range<usize>>,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(2 * ROOM), body: Vec::new(), exchanges: 0 })
    }

    /// Sends one request, given as head parts and a body in one buffer, and reads its response.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.input.clear();
        self.stream.write_all(request).await.context("send")?;
        let head = self.head().await?;
        let body = match head.framing {
            Framing::Length(length) => {
                while self.input.len() < head.length + length {
                    self.read().await?;
                }
                &self.input[head.length..head.length + length]
            }
            Framing::Chunked => {
                self.chunks(head.length).await?;
                &self.body
            }
            Framing::UntilEnd => {
                while self.stream.read_buf(&mut self.input).await? > 0 {}
                &self.input[head.length..]
            }
        };
        self.exchanges += 1;
        let session_id = head.session_id.and_then(|at| std::str::from_utf8(&self.input[at]).ok());
        Ok(Response { status: head.status, session_id, body })
    }

    async fn read(&mut self) -> Result<()> {
        if self.input.len() > LIMIT {
            bail!("response of more than {LIMIT} bytes");
        }
        self.input.reserve(ROOM);
        match self.stream.read_buf(&mut self.input).await.context("receive")? {
            0 => bail!("connection closed inside a response"),
            _ => Ok(()),
        }
    }

    async fn head(&mut self) -> Result<Head> {
        loop {
            self.read().await?;
            if let Some(head) = Head::parse(&self.input)? {
                return Ok(head);
            }
        }
    }

    /// Collects chunks into `body`, from `at` in the input to the end of the trailers.
    async fn chunks(&mut self, mut at: usize) -> Result<()> {
        self.body.clear();
        loop {
            let line = self.line(at).await?;
            let size = chunk_size(&self.input[at..line])?;
            at = line + 2;
            if size == 0 {
                break;
            }
            while self.input.len() < at + size + 2 {
                self.read().await?;
            }
            self.body.extend_from_slice(&self.input[at..at + size]);
            at += size + 2;
        }
        loop {
            let line = self.line(at).await?;
            if line == at {
                return Ok(());
            }
            at = line + 2;
        }
    }

    /// Where the line that starts at `at` ends.
    async fn line(&mut self, at: usize) -> Result<usize> {
        loop {
            if let Some(length) = memchr::memmem::find(&self.input[at..], b"\r\n") {
                return Ok(at + length);
            }
            self.read().await?;
        }
    }
}

impl Head {
    fn parse(input: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(input).context("response head")?
        else {
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        let mut framing = if status == 204 { Framing::Length(0) } else { Framing::UntilEnd };
        let mut session_id = None;
        for header in response.headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(std::str::from_utf8(header.value)?.trim().parse()?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
                let start = header.value.as_ptr().addr() - input.as_ptr().addr();
                session_id = Some(start..start + header.value.len());
            }
        }
        Ok(Some(Self { length, status, framing, session_id }))
    }
}

fn chunk_size(line: &[u8]) -> Result<usize> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits)?.trim();
    let size = usize::from_str_radix(digits, 16).context("chunk size")?;
    if size > LIMIT {
        bail!("chunk of more than {LIMIT} bytes");
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    /// How the client reads these bytes, in whatever pieces they arrive.
    async fn received(answer: &'static str, piece: usize) -> Result<(u16, Option<String>, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // Closing with unread input would reset the connection.
            stream.read_exact(&mut [0; REQUEST.len()]).await?;
            for piece in answer.as_bytes().chunks(piece) {
                stream.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        });
        let mut connection = Connection::open(port).await?;
        let response = connection.exchange(REQUEST).await?;
        let body = String::from_utf8(response.body.to_vec())?;
        let received = (response.status, response.session_id.map(str::to_owned), body);
        server.await??;
        Ok(received)
    }

    async fn check(answer: &'static str, expect: (u16, Option<&str>, &str)) {
        for piece in [1, 7, 4096] {
            let received = received(answer, piece).await.map_err(|error| error.to_string());
            let expect = (expect.0, expect.1.map(str::to_owned), expect.2.to_owned());
            assert_eq!(received, Ok(expect), "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_body_with_a_length_is_read_to_it() {
        check(
            "HTTP/1.1 200 OK\r\nMcp-Session-Id: abc\r\nContent-Length: 5\r\n\r\nhello",
            (200, Some("abc"), "hello"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_chunked_event_stream_is_put_together() {
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\nA;x=y\r\n{\"id\":1}\n\n\r\n0\r\nT: v\r\n\r\n",
            (200, None, "data: {\"id\":1}\n\n"),
        )
        .await;
    }

    #[tokio::test]
    async fn without_either_the_end_of_the_stream_ends_the_body() {
        check("HTTP/1.0 404 Not Found\r\n\r\ngone", (404, None, "gone")).await;
    }

    #[tokio::test]
    async fn a_response_that_breaks_off_is_an_error() {
        let cut = received("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 4096).await;
        assert!(cut.is_err());
    }
}
