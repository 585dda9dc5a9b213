//! A node's side of the handshake, with which its coordinator begins each connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::certified::complaint_on_coordinator;
use crate::cluster::gate::Gate;
use crate::config::Secret;
use crate::net::{Body, Introduction};
use crate::protocol::headers::seam::{LINK, LINK_PROTOCOL, REFUSED};
use crate::protocol::proof::handshake::{Called, Hello, PROOF_LINE, Party, Proof, Refusal};
use crate::sync::Seldom;
use crate::tls::{ClusterPeer, ClusterTls};

use super::unproved::UnprovedCallers;

/// Longest time from the answer to the first message until the connection is proved.
const DEADLINE: Duration = Duration::from_secs(2);

/// Answers handshakes.
pub struct Door {
    pub gate: Gate,
    /// What the cluster speaks TLS with.
    pub tls: Option<Arc<ClusterTls>>,
    pub own: Party,
    /// The cluster's token, or the secret that this node registers with.
    pub key: Secret,
    /// The operator's word on where the node is, if there is one.
    pub advertised: Option<Uri>,
    /// The lines about wrong proofs.
    pub unproved: Arc<UnprovedCallers>,
    /// The lines about wrong certificates, and those that are missing.
    pub uncertified: Seldom,
    /// The lines about wrong addresses.
    pub misdirected: Seldom,
}

impl Door {
    /// Answers the first message. The caller's proof is still to come: an [`Introduction`] with
    /// the response waits for it.
    pub async fn open(
        &self,
        mut request: Request<Body>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Response<Body> {
        let begun = match self.admit(&request, peer.ip(), local).await {
            Ok(hello) => Called::receive(self.key.expose().as_bytes(), &self.own, &hello),
            Err(refusal) => Err(refusal),
        };
        let (called, challenge) = match begun {
            Ok(begun) => begun,
            Err(refusal) => return self.refuse(refusal, peer),
        };
        let unproved = Arc::clone(&self.unproved);
        let introduction = Introduction::on(&mut request, move |connection| {
            Box::pin(async move {
                let proved = tokio::time::timeout(DEADLINE, prove(connection, called)).await;
                let proved = proved.ok().flatten();
                if proved.is_none() {
                    unproved.note(|| {
                        format!(
                            "a caller at {peer} has not proved that it is this node's coordinator: \
                             another cluster token, or what it knows is an earlier start of this \
                             node"
                        )
                    });
                }
                proved
            })
        });
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(LINK_PROTOCOL));
        if let Ok(challenge) = HeaderValue::from_str(&challenge.to_string()) {
            headers.insert(LINK, challenge);
        }
        response.extensions_mut().insert(introduction);
        response
    }

    async fn admit(
        &self,
        request: &Request<Body>,
        peer: IpAddr,
        local: SocketAddr,
    ) -> Result<Hello, Refusal> {
        let process = request.extensions().get::<Arc<ClusterPeer>>();
        let tls = self.tls.as_deref();
        if let Some(why) = complaint_on_coordinator(tls, process.map(AsRef::as_ref)) {
            self.uncertified.warn(|| format!("a caller at {peer} was refused: {why}"));
            return Err(Refusal::Certificate);
        }
        self.gate.check(request.headers(), peer).await.map_err(|_| Refusal::Peer)?;
        let headers = request.headers();
        let upgrades = headers.get(header::UPGRADE).is_some_and(|to| to == LINK_PROTOCOL);
        let hello = headers.get(LINK).and_then(|hello| Hello::parse(hello.as_bytes()));
        let asked = request.method() == Method::GET && upgrades;
        let hello = hello.filter(|_| asked).ok_or(Refusal::Message)?;
        let called = hello.address.parse().ok();
        if called.is_some_and(|called| is_own(&called, self.advertised.as_ref(), local)) {
            return Ok(hello);
        }
        self.misdirected.warn(|| {
            format!(
                "the coordinator calls this node {}, which is not an address that it knows as its \
                 own ({}): set systemConfig.cluster.node.advertiseUrl to the URL at which the \
                 coordinator reaches this node",
                hello.address,
                match &self.advertised {
                    Some(advertised) => format!("advertiseUrl {advertised}"),
                    None => format!("the connection came to {local}"),
                }
            )
        });
        Err(Refusal::Address)
    }

    fn refuse(&self, refusal: Refusal, peer: SocketAddr) -> Response<Body> {
        tracing::debug!(%peer, "handshake refused: {}", refusal.word());
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = match refusal {
            Refusal::Message => StatusCode::UPGRADE_REQUIRED,
            Refusal::Node | Refusal::Address => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Peer | Refusal::Certificate => StatusCode::FORBIDDEN,
            Refusal::Proof => StatusCode::UNAUTHORIZED,
        };
        let headers = response.headers_mut();
        if let Ok(text) = HeaderValue::from_str(&format!("{REFUSED}{}", refusal.word())) {
            headers.insert(LINK, text);
        }
        if refusal == Refusal::Message {
            headers.insert(header::UPGRADE, HeaderValue::from_static(LINK_PROTOCOL));
        }
        response
    }
}

/// Waits for the caller's proof, and gives this node's own only after it.
async fn prove(connection: Upgraded, called: Called) -> Option<Upgraded> {
    let mut connection = TokioIo::new(connection);
    let mut line = [0; PROOF_LINE];
    connection.read_exact(&mut line).await.ok()?;
    let proved = Proof::parse(&line).ok_or(Refusal::Proof).and_then(|given| called.prove(&given));
    let answer = match &proved {
        Ok(proof) => proof.line(),
        Err(refusal) => format!("{REFUSED}{}\n", refusal.word()),
    };
    connection.write_all(answer.as_bytes()).await.ok()?;
    connection.flush().await.ok()?;
    proved.is_ok().then(|| connection.into_inner())
}

/// Whether a URL leads to this node: it is the advertised one, or without one the address and port
/// that the connection came to. A name does not count, since names can be pointed elsewhere.
fn is_own(called: &Uri, advertised: Option<&Uri>, local: SocketAddr) -> bool {
    if let Some(advertised) = advertised {
        return place(called).is_some_and(|place| Some(place) == self::place(advertised));
    }
    let Some((_, host, port, path)) = place(called) else { return false };
    let ip = local.ip().to_canonical();
    let is_here = match host.parse::<IpAddr>() {
        Ok(host) => host.to_canonical() == ip,
        Err(_) => host == "localhost" && ip.is_loopback(),
    };
    is_here && port == local.port() && path.is_empty()
}

/// Scheme, host, port and path, each in one spelling.
fn place(url: &Uri) -> Option<(&str, String, u16, &str)> {
    let scheme = url.scheme_str()?;
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Some((scheme, host, port, url.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(called: &str, advertised: Option<&str>, local: &str) -> bool {
        let advertised = advertised.map(|url| url.parse().unwrap());
        is_own(&called.parse().unwrap(), advertised.as_ref(), local.parse().unwrap())
    }

    #[test]
    fn without_an_advertised_url_the_connections_own_address_counts() {
        for (called, local, expect) in [
            ("http://10.0.0.1:3000", "10.0.0.1:3000", true),
            ("http://10.0.0.1:3000/", "10.0.0.1:3000", true),
            ("http://10.0.0.1:3000", "[::ffff:10.0.0.1]:3000", true),
            ("http://[fd00::1]:3000", "[fd00::1]:3000", true),
            ("http://localhost:3000", "127.0.0.1:3000", true),
            ("http://localhost:3000", "[::1]:3000", true),
            ("http://10.0.0.2:3000", "10.0.0.1:3000", false),
            ("http://10.0.0.1:3001", "10.0.0.1:3000", false),
            ("http://10.0.0.1", "10.0.0.1:3000", false),
            ("http://localhost:3000", "10.0.0.1:3000", false),
            ("http://node-1:3000", "10.0.0.1:3000", false),
            ("http://10.0.0.1:3000/elsewhere", "10.0.0.1:3000", false),
        ] {
            assert_eq!(own(called, None, local), expect, "{called} at {local}");
        }
    }

    #[test]
    fn an_advertised_url_is_the_only_one() {
        let (advertised, local) = (Some("https://Node.example/one/"), "10.0.0.1:3000");
        for (called, expect) in [
            ("https://node.example/one", true),
            ("https://NODE.EXAMPLE:443/one/", true),
            ("http://node.example/one", false),
            ("https://node.example/two", false),
            ("https://node.example:444/one", false),
            ("http://10.0.0.1:3000", false),
        ] {
            assert_eq!(own(called, advertised, local), expect, "{called}");
        }
    }
}
