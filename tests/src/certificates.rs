//! Certificates of a gateway that speaks TLS, and a client of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};

use crate::authority::Identity;

/// A certificate that signs itself, in two files.
pub struct Certificate {
    folder: tempfile::TempDir,
    pub cert: PathBuf,
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A certificate of these names, or addresses.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let der = write(names, &cert, &key);
        Self { folder, cert, key, der }
    }

    /// The same, valid until this day of a year.
    #[must_use]
    pub fn until(names: &[&str], (year, month, day): (i32, u8, u8)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let own = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&own).expect("a certificate");
        put(made.der(), &own.serialize_der(), (&cert, &key));
        Self { folder, cert, key, der: made.der().clone() }
    }

    /// Puts another certificate of these names into the same files, as a renewal does.
    pub fn renew(&mut self, names: &[&str]) {
        let next = self.folder.path().join("next");
        let other = self.folder.path().join("other");
        self.der = write(names, &next, &other);
        std::fs::rename(&other, &self.key).expect("a key");
        std::fs::rename(&next, &self.cert).expect("a certificate");
    }

    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// A configuration that trusts these certificates alone.
    #[must_use]
    pub fn client(
        trusted: &[&Self],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add(certificate.der.clone()).expect("a root");
        }
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A configuration that trusts these certificates alone, with what a provider has.
    #[must_use]
    pub fn client_by(provider: rustls::crypto::CryptoProvider, trusted: &[&Self]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add(certificate.der.clone()).expect("a root");
        }
        let versions: Vec<&'static SupportedProtocolVersion> = rustls::ALL_VERSIONS
            .iter()
            .copied()
            .filter(|version| {
                let suites = &provider.cipher_suites;
                suites.iter().any(|suite| suite.version() == *version)
            })
            .collect();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// What a server with this certificate speaks TLS with. It lets in clients that show one of
    /// `clients` alone, unless there are none.
    #[must_use]
    pub fn server(&self, clients: &[&Self]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS");
        let builder = if clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            clients.iter().for_each(|one| roots.add(one.der.clone()).expect("a root"));
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("its key");
        builder.with_single_cert(vec![self.der.clone()], key).expect("a certificate")
    }

    /// Puts the files of another certificate in the place of this one's.
    pub fn become_like(&mut self, other: &Self) {
        std::fs::copy(&other.key, &self.key).expect("a key");
        std::fs::copy(&other.cert, &self.cert).expect("a certificate");
        self.der = other.der.clone();
    }

    /// A configuration that takes any certificate, as for a gateway that renews its own.
    #[must_use]
    pub fn client_of_all() -> ClientConfig {
        let mut config = Self::client(&[], rustls::ALL_VERSIONS);
        config.dangerous().set_certificate_verifier(Arc::new(Anybody));
        config
    }
}

/// A configuration that takes any certificate, shows this one, and offers these protocols.
#[must_use]
pub fn client_showing(identity: Option<&Identity>, alpn: &[&str]) -> ClientConfig {
    client_of(identity, alpn, rustls::ALL_VERSIONS)
}

/// The same, which speaks these versions of TLS.
#[must_use]
pub fn client_of(
    identity: Option<&Identity>,
    alpn: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = (vec![identity.der.clone()], identity.private.clone_key());
            builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Makes a certificate. The key is readable for this user alone.
fn write(names: &[&str], cert: &Path, key: &Path) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    put(made.cert.der(), &made.signing_key.serialize_der(), (cert, key));
    made.cert.der().clone()
}

/// Writes both files.
fn put(der: &[u8], private: &[u8], (cert, key): (&Path, &Path)) {
    std::fs::write(cert, pem("CERTIFICATE", der)).expect("a file");
    std::fs::write(key, pem("PRIVATE KEY", private)).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(key, mode).expect("a mode");
}

pub(crate) fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A TLS connection to a host of this name.
///
/// # Errors
/// If the handshake fails.
pub fn tls(
    to: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut socket = socket;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session =
        ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// An address that plain clients use, and that speaks TLS with a gateway for them.
pub struct TlsRelay {
    pub address: SocketAddr,
}

impl TlsRelay {
    /// Stands in front of `to`, whatever its certificate. It runs as long as the test.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        Self::with(to, Certificate::client_of_all())
    }

    /// The same, for a client with this configuration.
    #[must_use]
    pub fn with(to: SocketAddr, config: ClientConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for plain in listener.incoming().flatten() {
                let config = config.clone();
                std::thread::spawn(move || {
                    if let Ok(secure) = tls(to, "localhost", config) {
                        pass_on(&plain, secure);
                    }
                    let _ = plain.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address }
    }
}

/// Passes bytes on in both directions until one end closes.
fn pass_on(plain: &TcpStream, secure: StreamOwned<ClientConnection, TcpStream>) {
    let StreamOwned { conn, sock, .. } = secure;
    let _ = sock.set_read_timeout(None);
    let session = Arc::new(Mutex::new(conn));
    let (mut up, mut socket) =
        (plain.try_clone().expect("a socket"), sock.try_clone().expect("a socket"));
    let shared = Arc::clone(&session);
    let upwards = std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = up.read(&mut buffer) {
            let mut session = shared.lock().expect("the session");
            session.writer().write_all(&buffer[..count]).expect("a buffer");
            if send(&mut session, &mut socket).is_err() {
                break;
            }
        }
        let mut session = shared.lock().expect("the session");
        session.send_close_notify();
        let _ = send(&mut session, &mut socket);
        let _ = socket.shutdown(Shutdown::Write);
    });
    let (mut down, mut socket) = (plain, sock);
    let mut buffer = [0; 16 * 1024];
    'connection: while let Ok(count @ 1..) = socket.read(&mut buffer) {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let mut session = session.lock().expect("the session");
            let mut text = Vec::new();
            let taken = session.read_tls(&mut rest).and_then(|_| {
                let state = session.process_new_packets().map_err(std::io::Error::other)?;
                text.resize(state.plaintext_bytes_to_read(), 0);
                session.reader().read_exact(&mut text)?;
                send(&mut session, &mut socket)
            });
            drop(session);
            if taken.is_err() || down.write_all(&text).is_err() {
                break 'connection;
            }
        }
    }
    let _ = plain.shutdown(Shutdown::Both);
    let _ = upwards.join();
}

fn send(session: &mut ClientConnection, socket: &mut TcpStream) -> std::io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}
