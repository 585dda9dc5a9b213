use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::*;
use crate::model::{NodeId, SessionId};
use crate::tls::alerts::{alert_told, handshake_told};
use crate::tls::authority::{Authority, MadeCertificate};

/// A folder with an authority and the certificates that it has made.
struct Folder {
    path: PathBuf,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        let name = format!("mooring-cluster-tls-{}", SessionId::mint());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        let (authority, own) = Authority::make().unwrap();
        std::fs::write(path.join("ca"), own.cert).unwrap();
        let mut folder = Self { path, authority };
        folder.list();
        folder
    }

    fn list(&mut self) {
        let list = self.authority.list().unwrap();
        std::fs::write(self.path.join("revoked"), list).unwrap();
    }

    fn put(&self, stem: &str, made: &MadeCertificate) {
        std::fs::write(self.path.join(format!("{stem}.pem")), &made.cert).unwrap();
        std::fs::write(self.path.join(format!("{stem}.key")), &made.key).unwrap();
    }

    /// The TLS of a process with a new certificate, by these names of files.
    fn tls(&mut self, role: &Role, stem: &str) -> Arc<ClusterTls> {
        let made = self.authority.certify(role, &[], 30).unwrap();
        self.put(stem, &made);
        ClusterTls::open(self.rules(role, stem)).unwrap()
    }

    fn rules(&self, role: &Role, stem: &str) -> ClusterRules {
        let file = |name: &str| self.path.join(name);
        ClusterRules {
            role: role.clone(),
            own: CertificateFiles {
                cert: file(&format!("{stem}.pem")),
                key: file(&format!("{stem}.key")),
            },
            trusted: TrustFiles { ca: file("ca"), revoked: Some(file("revoked")) },
            is_optional: false,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn node(id: &str) -> Role {
    Role::Node(NodeId::parse(id).unwrap())
}

type Accepted = Result<(TlsStream<DuplexStream>, Arc<ClusterPeer>), String>;

/// What both sides have of a connection: the one that calls says in words why it has none.
async fn connected(
    caller: &Arc<ClusterTls>,
    called: &Arc<ClusterTls>,
) -> (Accepted, Result<(), String>) {
    let (near, far) = duplex(64 * 1024);
    let accepting = async {
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), far).await;
        let begun = begun.map_err(|error| error.to_string())?;
        assert!(asks_for_cluster(&begun.client_hello()));
        let (mut stream, peer) = called.accept(begun).await.map_err(|failed| failed.why)?;
        stream.write_all(b"x").await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        Ok((stream, peer))
    };
    let calling =
        async {
            let name = ServerName::try_from("10.1.2.3").unwrap();
            let connector = TlsConnector::from(caller.client());
            let mut stream =
                connector.connect(name, near).await.map_err(|error| handshake_told(&error))?;
            // What it is told of its certificate comes afterwards.
            stream.read_u8().await.map(drop).map_err(|error| {
                alert_told(&error).map_or_else(|| error.to_string(), str::to_owned)
            })
        };
    tokio::join!(accepting, calling)
}

#[tokio::test]
async fn both_sides_know_each_other_wherever_they_are() {
    let mut folder = Folder::new();
    let (coordinator, a) = (folder.tls(&Role::Coordinator, "c"), folder.tls(&node("a"), "a"));
    let (accepted, called) = connected(&coordinator, &a).await;
    called.unwrap();
    let (_, peer) = accepted.unwrap();
    assert!(peer.is(&Role::Coordinator) && !peer.is(&node("a")));
    let (accepted, called) = connected(&a, &coordinator).await;
    called.unwrap();
    assert!(accepted.unwrap().1.is(&node("a")));
    assert_eq!(a.own_complaint(), None);
}

#[tokio::test]
async fn a_foreign_authority_is_refused_by_either_side() {
    let (mut one, mut two) = (Folder::new(), Folder::new());
    let (coordinator, a) = (one.tls(&Role::Coordinator, "c"), two.tls(&node("a"), "a"));
    let (accepted, called) = connected(&coordinator, &a).await;
    let why = called.unwrap_err();
    assert!(why.contains("the certificate of the process there is of another authority"), "{why}");
    assert!(accepted.is_err());
    // The caller trusts the other side, which does not trust it.
    std::fs::copy(one.path.join("ca"), two.path.join("ca")).unwrap();
    std::fs::copy(one.path.join("revoked"), two.path.join("revoked")).unwrap();
    let a = ClusterTls::open(two.rules(&node("a"), "a")).unwrap();
    let (accepted, called) = connected(&a, &coordinator).await;
    let why = called.unwrap_err();
    assert!(why.contains("does not trust"), "{why}");
    let why = accepted.err().unwrap();
    assert!(why.contains("mooring:node:a is of another authority"), "{why}");
    assert!(a.own_complaint().unwrap().contains("no other process takes"));
}

#[tokio::test]
async fn what_is_revoked_is_refused_and_ends_where_it_is() {
    let mut folder = Folder::new();
    let (coordinator, a) = (folder.tls(&Role::Coordinator, "c"), folder.tls(&node("a"), "a"));
    let b = folder.tls(&node("b"), "b");
    let peer = |accepted: Accepted| accepted.unwrap().1;
    let of_a = peer(connected(&a, &coordinator).await.0);
    let of_b = peer(connected(&b, &coordinator).await.0);
    let epoch = coordinator.epoch();
    folder.authority.revoke(&node("a"));
    folder.list();
    coordinator.look();
    assert_eq!(coordinator.epoch(), epoch, "the list may be half written");
    coordinator.look();
    assert!(coordinator.epoch() > epoch, "connections of before are not used again");
    let why = of_a.distrusted().await;
    assert!(why.contains("mooring:node:a is revoked"), "{why}");
    let waiting = tokio::time::timeout(Duration::from_millis(50), of_b.distrusted());
    assert!(waiting.await.is_err(), "it stays");
    let (accepted, called) = connected(&a, &coordinator).await;
    assert!(accepted.err().unwrap().contains("is revoked"));
    assert!(called.unwrap_err().contains("which is revoked"));
    let (_, called) = connected(&coordinator, &a).await;
    assert!(called.unwrap_err().contains("is revoked"), "it is judged as a server, too");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_changes_nothing_else() {
    let mut folder = Folder::new();
    let (coordinator, a) = (folder.tls(&Role::Coordinator, "c"), folder.tls(&node("a"), "a"));
    let before = connected(&a, &coordinator).await.0.unwrap().1;
    let epoch = a.epoch();
    let made = folder.authority.certify(&node("a"), &[], 30).unwrap();
    folder.put("a", &made);
    a.look();
    a.look();
    let after = connected(&a, &coordinator).await.0.unwrap().1;
    assert_ne!(before.chain, after.chain);
    assert_eq!(a.epoch(), epoch);
    // That of another process is not taken up, and neither is one without its key.
    let other = folder.authority.certify(&node("b"), &[], 30).unwrap();
    folder.put("a", &other);
    a.look();
    a.look();
    std::fs::write(folder.path.join("a.key"), &made.key).unwrap();
    a.look();
    a.look();
    assert_eq!(connected(&a, &coordinator).await.0.unwrap().1.chain, after.chain);
}

#[test]
fn a_process_starts_with_its_own_certificate_alone() {
    let mut folder = Folder::new();
    folder.tls(&node("a"), "a");
    let why = ClusterTls::open(folder.rules(&node("b"), "a")).err().unwrap();
    assert!(why.contains("is the certificate of mooring:node:a"), "{why}");
    assert!(why.contains("this process is mooring:node:b"), "{why}");
    assert!(ClusterTls::open(folder.rules(&Role::Coordinator, "a")).is_err());
    let soon = folder.authority.certify(&node("a"), &[], 29).unwrap();
    folder.put("a", &soon);
    let tls = ClusterTls::open(folder.rules(&node("a"), "a")).unwrap();
    assert!(tls.own_complaint().unwrap().contains("expires at"));
}
