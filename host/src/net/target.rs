//! The target of a request: scheme, host and port.

use std::hash::{BuildHasher as _, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use http::{HeaderValue, Uri};

use super::proxy::{Proxy, ProxyKind};
use super::tls::TargetTls;

/// Random for each process, so that targets cannot be chosen to collide.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Where to connect, parsed once; the key of the pool. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Arc<Address>);

#[derive(Debug, PartialEq, Eq)]
struct Address {
    tls: bool,
    host: String,
    port: u16,
    /// Made once: every request carries it.
    host_header: HeaderValue,
    /// The base URL of the node that is there; empty for other targets. Behind one proxy there may
    /// be several nodes, and a connection to one of them is of no use to another.
    node: String,
    /// What the connection leads through. One to another proxy is another target's.
    proxy: Option<Proxy>,
    /// How TLS is spoken with it, unless as with others. A connection that has shown another
    /// certificate is another target's.
    tls_with: Option<TargetTls>,
    hash: u64,
}

impl std::hash::Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// Hashes keys that carry their hash, since connections are looked up twice a call.
#[derive(Default)]
pub struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Target {
    /// `None` unless the URI has an `http` or `https` scheme and a host.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        Self::at(uri, "", None, None)
    }

    /// The same target, behind a proxy, or with a TLS of its own.
    #[must_use]
    pub fn through(uri: &Uri, proxy: Option<Proxy>, tls: Option<TargetTls>) -> Option<Self> {
        Self::at(uri, "", proxy, tls)
    }

    /// The node with this base URL; `None` if that is not an `http` or `https` URL.
    #[must_use]
    pub fn of_node(base: &str) -> Option<Self> {
        Self::at(&base.parse().ok()?, base, None, None)
    }

    fn at(
        uri: &Uri,
        node: &str,
        proxy: Option<Proxy>,
        tls_with: Option<TargetTls>,
    ) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host_header = HeaderValue::from_str(&authority(tls, host, port)).ok()?;
        let hash = KEYS.hash_one((tls, host, port, node, &proxy, &tls_with));
        let (host, node) = (host.to_owned(), node.to_owned());
        let address = Address { tls, host, port, host_header, node, proxy, tls_with, hash };
        Some(Self(Arc::new(address)))
    }

    /// The `Host` header of requests to it.
    #[must_use]
    pub fn host_header(&self) -> &HeaderValue {
        &self.0.host_header
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.tls
    }

    /// A name or an address, an IPv6 one without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// The base URL of the node that is there; empty for other targets.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// How TLS is spoken with it, unless as with others.
    #[must_use]
    pub fn tls_with(&self) -> Option<&TargetTls> {
        self.0.tls_with.as_ref()
    }

    /// What the connection leads through.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.0.proxy.as_ref()
    }

    /// The proxy that reads each request and sends it on. A tunnel is none: the proxy does not see
    /// what passes it.
    #[must_use]
    pub fn forwarder(&self) -> Option<&Proxy> {
        self.proxy().filter(|proxy| !self.is_tls() && proxy.kind() != ProxyKind::Socks5)
    }

    /// The port in the URI, or that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

/// The value of the `Host` header, which omits the scheme's default port.
fn authority(tls: bool, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match (tls, port) {
        (false, 80) | (true, 443) => host,
        (_, port) => format!("{host}:{port}"),
    }
}
