//! Proxies between this process and a target: HTTP proxies, by CONNECT for `https` targets and by
//! requests in absolute form for others (RFC 9110 §9.3.6, RFC 9112 §3.2.2), and SOCKS5 (RFC 1928).

use std::fmt;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of a proxy's answer to CONNECT.
const MAX_HEAD: usize = 16 * 1024;
/// Headers of that answer.
const MAX_HEADERS: usize = 64;

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5; names are looked up by the proxy.
    Socks5,
}

/// A proxy. `Debug` prints no credentials. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy(Arc<ProxyPlace>);

#[derive(PartialEq, Eq, Hash)]
struct ProxyPlace {
    kind: ProxyKind,
    host: String,
    port: u16,
    /// User and password.
    credentials: Option<(String, String)>,
    named_by: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// The proxy and where it is set, for errors; no credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProxyPlace { host, port, named_by, .. } = &*self.0;
        match host.contains(':') {
            true => write!(f, "the proxy [{host}]:{port} ({named_by})"),
            false => write!(f, "the proxy {host}:{port} ({named_by})"),
        }
    }
}

impl Proxy {
    /// A proxy at a name or an address, an IPv6 one without brackets. `named_by` says where it is
    /// set, for people.
    #[must_use]
    pub fn new(
        kind: ProxyKind,
        (host, port): (&str, u16),
        credentials: Option<(String, String)>,
        named_by: &str,
    ) -> Self {
        let (host, named_by) = (host.to_owned(), named_by.to_owned());
        Self(Arc::new(ProxyPlace { kind, host, port, credentials, named_by }))
    }

    /// How it is spoken to.
    #[must_use]
    pub fn kind(&self) -> ProxyKind {
        self.0.kind
    }

    /// Where to connect.
    #[must_use]
    pub fn place(&self) -> (&str, u16) {
        (&self.0.host, self.0.port)
    }

    /// The value of `Proxy-Authorization`, if the proxy has credentials (RFC 7617).
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.0.credentials.as_ref()?;
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut value = HeaderValue::from_str(&basic).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// What to say of its answer 407.
    #[must_use]
    pub fn wants_credentials(&self) -> String {
        match &self.0.credentials {
            None => format!(
                "{self} wants credentials (407 Proxy Authentication Required); put user and \
                 password into its URL"
            ),
            Some(_) => format!(
                "{self} refuses the credentials in its URL (407 Proxy Authentication Required)"
            ),
        }
    }

    /// Makes the connection one to this host and port: through the proxy, up to the first byte for
    /// the host.
    ///
    /// # Errors
    /// Why the proxy does not connect to it.
    pub async fn tunnel<S>(&self, stream: &mut S, place: (&str, u16)) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let tunneled = match self.0.kind {
            ProxyKind::Http | ProxyKind::Https => self.connect(stream, place).await,
            ProxyKind::Socks5 => self.socks(stream, place).await,
        };
        tunneled.map_err(|no| match no {
            NoTunnel::Said(what) => what,
            NoTunnel::Broken(error) => format!("{self} has broken the connection: {error}"),
        })
    }

    async fn connect<S>(&self, stream: &mut S, (host, port): (&str, u16)) -> Result<(), NoTunnel>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let place = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n").into_bytes();
        if let Some(authorization) = self.authorization() {
            request.extend_from_slice(b"proxy-authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        stream.flush().await?;
        match self.status(stream).await? {
            status if status.is_success() => Ok(()),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(NoTunnel::Said(self.wants_credentials()))
            }
            status => {
                Err(NoTunnel::Said(format!("{self} does not connect to {place}: it says {status}")))
            }
        }
    }

    /// The status of the answer to CONNECT. Nothing may follow a good one: the target speaks second.
    async fn status<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<StatusCode, NoTunnel> {
        let no_proxy = || NoTunnel::Said(format!("{self} does not answer like an HTTP proxy"));
        let mut head = Vec::new();
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(&head) {
                Ok(httparse::Status::Complete(end)) => {
                    let code = response.code.and_then(|code| StatusCode::from_u16(code).ok());
                    let status = code.ok_or_else(no_proxy)?;
                    if status.is_informational() {
                        head.drain(..end);
                        continue;
                    }
                    if status.is_success() && head.len() > end {
                        return Err(no_proxy());
                    }
                    return Ok(status);
                }
                Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) | Err(_) => return Err(no_proxy()),
            }
            if stream.read_buf(&mut head).await? == 0 {
                return Err(NoTunnel::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    async fn socks<S>(&self, stream: &mut S, (host, port): (&str, u16)) -> Result<(), NoTunnel>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        const VERSION: u8 = 5;
        const BY_PASSWORD: u8 = 2;
        let said = |what: String| Err(NoTunnel::Said(what));
        let methods: &[u8] = if self.0.credentials.is_some() { &[0, BY_PASSWORD] } else { &[0] };
        let greeting = [&[VERSION, u8::try_from(methods.len()).unwrap_or(1)], methods].concat();
        stream.write_all(&greeting).await?;
        stream.flush().await?;
        match (read::<2>(stream).await?, &self.0.credentials) {
            ([VERSION, 0], _) => {}
            ([VERSION, BY_PASSWORD], Some((user, password))) => {
                let (Ok(users), Ok(passwords)) =
                    (u8::try_from(user.len()), u8::try_from(password.len()))
                else {
                    return said(format!("{self} takes no user or password above 255 bytes"));
                };
                let login =
                    [&[1, users], user.as_bytes(), &[passwords], password.as_bytes()].concat();
                stream.write_all(&login).await?;
                stream.flush().await?;
                if read::<2>(stream).await?[1] != 0 {
                    return said(format!("{self} refuses the credentials in its URL"));
                }
            }
            ([VERSION, _], None) => {
                return said(format!(
                    "{self} wants credentials; put user and password into its URL"
                ));
            }
            ([VERSION, _], Some(_)) => {
                return said(format!("{self} takes no user and password"));
            }
            _ => return said(format!("{self} does not answer like a SOCKS5 proxy")),
        }
        let mut request = vec![VERSION, 1, 0];
        match host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => {
                request.push(1);
                request.extend_from_slice(&address.octets());
            }
            Ok(std::net::IpAddr::V6(address)) => {
                request.push(4);
                request.extend_from_slice(&address.octets());
            }
            Err(_) => {
                let Ok(length) = u8::try_from(host.len()) else {
                    return said(format!("{self} takes no host name above 255 bytes"));
                };
                request.extend_from_slice(&[3, length]);
                request.extend_from_slice(host.as_bytes());
            }
        }
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await?;
        stream.flush().await?;
        let [version, answer, _, kind] = read::<4>(stream).await?;
        if version != VERSION {
            return said(format!("{self} does not answer like a SOCKS5 proxy"));
        }
        if answer != 0 {
            let why = socks_answer(answer);
            return said(format!("{self} does not connect to {host}:{port}: {why}"));
        }
        // Its own address, which does not matter.
        match kind {
            1 => drop(read::<6>(stream).await?),
            4 => drop(read::<18>(stream).await?),
            _ => {
                let [length] = read::<1>(stream).await?;
                for _ in 0..usize::from(length) + 2 {
                    read::<1>(stream).await?;
                }
            }
        }
        Ok(())
    }
}

/// Why there is no connection to the target.
enum NoTunnel {
    Said(String),
    Broken(io::Error),
}

impl From<io::Error> for NoTunnel {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// The reply field of RFC 1928 §6 in words.
fn socks_answer(answer: u8) -> &'static str {
    match answer {
        2 => "its rules forbid it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection is refused",
        6 => "it took too long",
        7 | 8 => "it does not support that",
        _ => "it has failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(kind: ProxyKind, credentials: Option<(&str, &str)>) -> Proxy {
        let credentials =
            credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Proxy::new(kind, ("proxy", 3128), credentials, "HTTPS_PROXY")
    }

    /// What a proxy gets, and what becomes of its answers: one for each piece that it gets.
    async fn told(proxy: &Proxy, answers: &[&'static [u8]]) -> (Vec<u8>, Result<(), String>) {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let answers = answers.to_vec();
        let far = tokio::spawn(async move {
            let mut got = Vec::new();
            for answer in answers {
                let mut piece = [0; 4096];
                let count = far.read(&mut piece).await.unwrap();
                got.extend_from_slice(&piece[..count]);
                far.write_all(answer).await.unwrap();
            }
            got
        });
        let tunneled = proxy.tunnel(&mut near, ("example.com", 443)).await;
        (far.await.unwrap(), tunneled)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_with_credentials() {
        let with = proxy(ProxyKind::Http, Some(("u", "p@w")));
        let (got, tunneled) = told(&with, &[b"HTTP/1.1 200 Connection established\r\n\r\n"]).await;
        assert_eq!(tunneled, Ok(()));
        let expect = "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\
                      proxy-authorization: Basic dTpwQHc=\r\n\r\n";
        assert_eq!(String::from_utf8(got).unwrap(), expect);
        assert!(!format!("{with:?}{with}").contains("p@w"));
    }

    #[tokio::test]
    async fn what_a_proxy_refuses_is_told() {
        let none = proxy(ProxyKind::Http, None);
        let some = proxy(ProxyKind::Http, Some(("u", "p")));
        for (proxy, answer, expect) in [
            (&none, &b"HTTP/1.1 407 X\r\n\r\n"[..], "wants credentials (407"),
            (&some, b"HTTP/1.1 407 X\r\n\r\n", "refuses the credentials in its URL (407"),
            (
                &none,
                b"HTTP/1.0 403 No\r\n\r\n<html>",
                "does not connect to example.com:443: it says 403",
            ),
            (&none, b"SSH-2.0-x\r\n", "does not answer like an HTTP proxy"),
            (&none, b"HTTP/1.1 200 OK\r\n\r\n220 mail", "does not answer like an HTTP proxy"),
            (&none, b"", "has broken the connection"),
        ] {
            let (_, tunneled) = told(proxy, &[answer]).await;
            let why = tunneled.unwrap_err();
            assert!(why.starts_with("the proxy proxy:3128 (HTTPS_PROXY) "), "{why}");
            assert!(why.contains(expect), "{why}");
        }
    }

    #[tokio::test]
    async fn socks_is_spoken_with_and_without_credentials() {
        let done: &[u8] = &[5, 0, 0, 1, 1, 2, 3, 4, 0, 80];
        let (got, tunneled) = told(&proxy(ProxyKind::Socks5, None), &[&[5, 0], done]).await;
        assert_eq!(tunneled, Ok(()));
        assert_eq!(got, b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x01\xbb");
        let some = proxy(ProxyKind::Socks5, Some(("u", "pw")));
        let (got, tunneled) = told(&some, &[&[5, 2], &[1, 0], done]).await;
        assert_eq!(tunneled, Ok(()));
        assert!(got.starts_with(b"\x05\x02\x00\x02\x01\x01u\x02pw\x05\x01"), "{got:?}");
        let (_, tunneled) = told(&some, &[&[5, 0], &[5, 5, 0, 1]]).await;
        assert!(tunneled.unwrap_err().ends_with("example.com:443: the connection is refused"));
    }
}
