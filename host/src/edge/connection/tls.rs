//! TLS on the listening port: certificates and keys from files, chosen by the name that the client
//! asks for, and taken up anew when a file changes. Connections that are open stay as they are.
//! Processes of the cluster have a TLS of their own on the same port (`tls/cluster.rs`).
//!
//! On the same port this machine's own processes, and the networks that the operator names, may speak
//! plain HTTP: the local command line and health checks have no certificate to trust. Everybody else
//! who tries is told to use https.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rustls::crypto::ring;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::model::UnixMillis;
use crate::sync::Seldom;
use crate::tls::{
    CertificateFiles, CertificateInUse, CertificateNames, ClusterPeer, ClusterTls, FileWatch,
    NotAccepted, asks_for_cluster, certified, follow, valid_until,
};

use super::client_certificates::{CertifiedClient, ClientCertificates, ClientRules};

static ONLY_1_3: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
static BOTH: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];
/// Rest of a certificate's time from which on it is said each day that it is about to end.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What clients speak within TLS.
const HTTP_ALPN: &[u8] = b"http/1.1";
/// The first byte of a TLS connection: a handshake record. No method of HTTP begins so.
const HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks plain HTTP without being allowed to.
const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 55\r\nconnection: close\r\n\r\nThis port speaks TLS: use a URL that begins with https\n";

/// How the port speaks TLS with clients.
#[derive(Debug, Clone)]
pub struct TlsRules {
    /// At least one. The first is for clients that name no host, or one that no certificate has.
    pub certificates: Vec<CertificateFiles>,
    /// Whether TLS 1.2 is refused.
    pub only_1_3: bool,
    /// From where plain HTTP is answered, too.
    pub plain_from: Vec<IpNet>,
    /// Whose certificates let clients in.
    pub clients: Option<ClientRules>,
}

impl TlsRules {
    fn versions(&self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self.only_1_3 {
            true => &ONLY_1_3,
            false => &BOTH,
        }
    }
}

/// What the port speaks TLS with: with clients, with processes of the cluster, or with both.
pub struct ListenerTls {
    /// `None`: clients speak plain HTTP.
    clients: Option<Arc<ClientTls>>,
    cluster: Option<Arc<ClusterTls>>,
    /// Longest time for a handshake.
    handshake: Duration,
}

/// The part for clients.
struct ClientTls {
    rules: TlsRules,
    config: Arc<rustls::ServerConfig>,
    certificates: Arc<Certificates>,
    /// Those of clients; `None`: they are not asked for one.
    of_clients: Option<Arc<ClientCertificates>>,
    files: FileWatch,
    /// When it is said again that a certificate ends soon.
    expiry: Seldom,
}

/// A connection whose client has begun to speak.
pub enum Secured {
    /// With who the client is, if it has shown a certificate.
    Tls(Box<TlsStream<TcpStream>>, Option<Arc<CertifiedClient>>),
    /// A process of the cluster.
    Cluster(Box<TlsStream<TcpStream>>, Arc<ClusterPeer>),
    /// Plain HTTP, from where that is allowed.
    Plain(TcpStream),
}

impl ListenerTls {
    /// `None` if the port speaks no TLS at all.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(
        rules: Option<TlsRules>,
        cluster: Option<Arc<ClusterTls>>,
        handshake: Duration,
    ) -> Result<Option<Arc<Self>>, String> {
        let clients = rules.map(ClientTls::open).transpose()?.map(Arc::new);
        let is_any = clients.is_some() || cluster.is_some();
        Ok(is_any.then(|| Arc::new(Self { clients, cluster, handshake })))
    }

    /// Begins TLS on a connection, or finds that its client may do without.
    ///
    /// # Errors
    /// If the client does neither, is denied for its certificate, or takes too long.
    pub async fn begin(
        &self,
        stream: TcpStream,
        ends: (SocketAddr, SocketAddr),
    ) -> Result<Secured, NotAccepted> {
        let begun = tokio::time::timeout(self.handshake, self.begun(stream, ends)).await;
        begun.map_err(|_| NotAccepted::failed("no handshake in time"))?
    }

    async fn begun(
        &self,
        mut stream: TcpStream,
        (peer, local): (SocketAddr, SocketAddr),
    ) -> Result<Secured, NotAccepted> {
        let mut first = [0];
        if stream.peek(&mut first).await.map_err(NotAccepted::failed)? == 0 {
            return Err(NotAccepted::failed(io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        if first[0] == HANDSHAKE {
            let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
            let begun = begun.map_err(NotAccepted::failed)?;
            return self.accepted(begun, peer).await;
        }
        let may_be_plain = |clients: &Arc<ClientTls>| clients.may_be_plain(peer.ip(), local.ip());
        if self.clients.as_ref().is_none_or(may_be_plain) {
            return Ok(Secured::Plain(stream));
        }
        stream.write_all(NOT_PLAIN).await.map_err(NotAccepted::failed)?;
        stream.shutdown().await.map_err(NotAccepted::failed)?;
        Err(NotAccepted::failed("the client speaks plain HTTP"))
    }

    async fn accepted(
        &self,
        begun: StartHandshake<TcpStream>,
        peer: SocketAddr,
    ) -> Result<Secured, NotAccepted> {
        if let Some(cluster) = &self.cluster
            && (self.clients.is_none() || asks_for_cluster(&begun.client_hello()))
        {
            return match cluster.accept(begun).await {
                Ok((stream, peer)) => Ok(Secured::Cluster(Box::new(stream), peer)),
                Err(failed) => {
                    cluster.say_refused(&peer, &failed.why);
                    Err(failed)
                }
            };
        }
        let unsupported = || NotAccepted::failed(io::Error::from(io::ErrorKind::Unsupported));
        let clients = self.clients.as_ref().ok_or_else(unsupported)?;
        let Some(judge) = &clients.of_clients else {
            let stream = begun.into_stream(Arc::clone(&clients.config)).await;
            let stream = stream.map_err(NotAccepted::failed)?;
            return Ok(Secured::Tls(Box::new(stream), None));
        };
        let own: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(&clients.certificates);
        match judge.accept(begun, clients.rules.versions(), own, HTTP_ALPN).await {
            Ok((stream, client)) => Ok(Secured::Tls(Box::new(stream), client)),
            Err(failed) => {
                judge.say_refused(&peer, &failed.why);
                Err(failed)
            }
        }
    }

    /// The certificates that are in use, and until when they are valid.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInUse> {
        let clients = self.clients.iter().flat_map(|clients| clients.in_use());
        clients.chain(self.cluster.iter().map(|cluster| cluster.certificate())).collect()
    }

    /// Which certificates of the port end soon, or have ended, a line each.
    #[must_use]
    pub fn expiring(&self) -> Vec<String> {
        self.clients.as_ref().map(|clients| clients.expiring()).unwrap_or_default()
    }

    /// Takes changed files up, as long as it is polled.
    pub async fn follow_files(self: Arc<Self>) {
        let clients = async {
            if let Some(clients) = &self.clients {
                follow(Arc::clone(clients), ClientTls::look).await;
            }
        };
        let cluster = async {
            if let Some(cluster) = &self.cluster {
                follow(Arc::clone(cluster), ClusterTls::look).await;
            }
        };
        tokio::join!(clients, cluster);
    }
}

impl ClientTls {
    fn open(rules: TlsRules) -> Result<Self, String> {
        let of_clients = rules.clients.clone().map(ClientCertificates::open).transpose()?;
        let of_clients = of_clients.map(Arc::new);
        let judged_by = of_clients.iter().flat_map(|clients| clients.paths());
        let files =
            FileWatch::begin(paths(&rules.certificates).into_iter().chain(judged_by).collect());
        let certificates =
            Arc::new(Certificates(ArcSwap::from_pointee(load(&rules.certificates)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&certificates) as _;
        let mut config =
            rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(rules.versions())
                .map_err(|error| format!("TLS: {error}"))?
                .with_no_client_auth()
                .with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        Ok(Self {
            rules,
            config: Arc::new(config),
            certificates,
            of_clients,
            files,
            expiry: Seldom::every(DAY),
        })
    }

    /// A connection from an address to itself never leaves the machine.
    fn may_be_plain(&self, peer: IpAddr, local: IpAddr) -> bool {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        peer.is_loopback()
            || peer == local
            || self.rules.plain_from.iter().any(|network| network.contains(&peer))
    }

    fn in_use(&self) -> Vec<CertificateInUse> {
        let loaded = self.certificates.0.load();
        let ends = self.rules.certificates.iter().zip(&loaded.ends);
        let one = |(files, not_after): (&CertificateFiles, &Option<u64>)| CertificateInUse {
            used_for: "listen",
            file: files.cert.clone(),
            not_after: *not_after,
        };
        ends.map(one).collect()
    }

    /// Which certificates end soon, or have ended, a line each.
    fn expiring(&self) -> Vec<String> {
        let soon = UnixMillis::now().0 / 1000 + SOON.as_secs();
        let line = |CertificateInUse { file, not_after, .. }: CertificateInUse| {
            let end = not_after.filter(|end| *end < soon)?;
            let (file, end) = (file.display(), UnixMillis(end.saturating_mul(1000)).iso8601());
            Some(format!("listen.tls: the certificate in {file} is valid until {end}: renew it"))
        };
        self.in_use().into_iter().filter_map(line).collect()
    }

    fn look(self: &Arc<Self>) {
        let has_changed = self.files.has_changed();
        if has_changed {
            self.take_up();
        }
        if self.expiry.line().is_some() || has_changed {
            for line in self.expiring() {
                tracing::warn!("{line}");
            }
        }
    }

    fn take_up(&self) {
        let of_clients = self.of_clients.as_ref().map_or(Ok(()), |clients| clients.read_again());
        match of_clients.and_then(|()| load(&self.rules.certificates)) {
            Ok(loaded) => {
                let names = loaded.names();
                self.certificates.0.store(Arc::new(loaded));
                tracing::info!("certificates read anew: {names}");
            }
            Err(why) => tracing::warn!("the certificates of before stay in use: {why}"),
        }
    }
}

/// The certificates that are in use.
#[derive(Debug)]
struct Certificates(ArcSwap<Loaded>);

#[derive(Debug)]
struct Loaded {
    first: Arc<CertifiedKey>,
    /// By name in lower case; `*.example.com` stands for each name that has one label more.
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
    /// Until when each is valid, in the order of the rules; Unix seconds.
    ends: Vec<Option<u64>>,
}

impl Loaded {
    fn for_name(&self, name: &str) -> Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        Arc::clone(self.by_name.get(&name).or_else(wildcard).unwrap_or(&self.first))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        match names.is_empty() {
            true => "of no name".to_owned(),
            false => names.join(", "),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.0.load();
        Some(match hello.server_name() {
            Some(name) => loaded.for_name(name),
            None => Arc::clone(&loaded.first),
        })
    }
}

fn paths(all: &[CertificateFiles]) -> Vec<PathBuf> {
    all.iter().flat_map(|files| [&files.cert, &files.key]).cloned().collect()
}

fn load(all: &[CertificateFiles]) -> Result<Loaded, String> {
    let mut by_name = BTreeMap::new();
    let (mut first, mut ends) = (None, Vec::new());
    for files in all {
        let key = Arc::new(certified(files)?);
        ends.push(valid_until(&key));
        let names = key.end_entity_cert().map(CertificateNames::of).unwrap_or_default();
        for name in names.hosts {
            // The first one counts, as everywhere.
            by_name.entry(name).or_insert_with(|| Arc::clone(&key));
        }
        first.get_or_insert(key);
    }
    let first = first.ok_or("there is no certificate")?;
    Ok(Loaded { first, by_name, ends })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::Engine as _;

    use super::*;

    /// A certificate of these names in files, which a folder holds.
    fn made(folder: &Path, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let cert = folder.join(format!("{file}.pem"));
        let key = folder.join(format!("{file}.key"));
        std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).unwrap();
        std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
        CertificateFiles { cert, key }
    }

    fn pem(kind: &str, der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    }

    fn rules(certificates: Vec<CertificateFiles>) -> TlsRules {
        TlsRules { certificates, only_1_3: false, plain_from: Vec::new(), clients: None }
    }

    fn folder() -> PathBuf {
        let name = format!("mooring-tls-{}", crate::model::SessionId::mint());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn the_name_chooses_the_certificate_and_the_first_stands_in() {
        let folder = folder();
        let first = made(&folder, "first", &["one.example"]);
        let second = made(&folder, "second", &["*.two.example", "Two.Example", "one.example"]);
        let loaded = load(&[first, second]).unwrap();
        let is_first = |name: &str| Arc::ptr_eq(&loaded.for_name(name), &loaded.first);
        for (name, expect) in [
            ("one.example", true),
            ("ONE.example", true),
            ("two.example", false),
            ("a.two.example", false),
            ("a.b.two.example", true),
            ("other.example", true),
            ("localhost", true),
        ] {
            assert_eq!(is_first(name), expect, "{name}");
        }
        assert_eq!(loaded.names(), "*.two.example, one.example, two.example");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_reason_and_without_what_they_hold() {
        let folder = folder();
        let good = made(&folder, "good", &["localhost"]);
        let other = made(&folder, "other", &["localhost"]);
        let text = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (empty, noise) = (text("empty", ""), text("noise", "-----BEGIN X-----\nsecret"));
        for (cert, key, wanted) in [
            (&folder.join("none"), &good.key, "none: No such file"),
            (&folder, &good.key, "is not a file"),
            (&empty, &good.key, "empty: has no certificate"),
            (&good.cert, &empty, "empty: has no private key"),
            (&good.cert, &noise, "noise: has no private key"),
            (&good.key, &good.key, "has no certificate"),
            (&good.cert, &other.key, "is not the key of the certificate"),
        ] {
            let files = CertificateFiles { cert: cert.clone(), key: key.clone() };
            let why = ClientTls::open(rules(vec![files])).err().unwrap();
            assert!(why.contains(wanted), "{why}");
            assert!(!why.contains("secret"), "{why}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn changed_files_are_taken_up_once_they_are_settled_and_fit() {
        let folder = folder();
        let files = made(&folder, "a", &["before.example"]);
        let tls = Arc::new(ClientTls::open(rules(vec![files.clone()])).unwrap());
        let names = || tls.certificates.0.load().names();
        tls.look();
        let next = made(&folder, "b", &["after.example"]);
        // The certificate first, as some programs write them: it does not fit to the old key.
        std::fs::copy(&next.cert, &files.cert).unwrap();
        tls.look();
        tls.look();
        assert_eq!(names(), "before.example");
        std::fs::copy(&next.key, &files.key).unwrap();
        tls.look();
        assert_eq!(names(), "before.example", "it may be half written");
        tls.look();
        assert_eq!(names(), "after.example");
        std::fs::remove_file(&files.key).unwrap();
        tls.look();
        tls.look();
        assert_eq!(names(), "after.example");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn plain_http_is_for_this_machine_and_the_networks_that_are_named() {
        let folder = folder();
        let mut rules = rules(vec![made(&folder, "a", &["localhost"])]);
        rules.plain_from = vec!["10.1.0.0/16".parse().unwrap()];
        let tls = ClientTls::open(rules).unwrap();
        for (peer, local, expect) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("10.1.2.3", "192.0.2.7", true),
            ("::ffff:10.1.2.3", "::ffff:192.0.2.7", true),
            ("10.2.0.1", "192.0.2.7", false),
            ("2001:db8::1", "2001:db8::2", false),
        ] {
            let (peer, local) = (peer.parse().unwrap(), local.parse().unwrap());
            assert_eq!(tls.may_be_plain(peer, local), expect, "{peer} {local}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let text = std::str::from_utf8(NOT_PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
