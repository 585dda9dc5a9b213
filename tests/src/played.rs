//! Nodes and coordinators that a test plays, with the key of the cluster or with another one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::deadline::{PATIENCE, eventually};
use crate::gateway::Gateway;
use crate::http::{Connection, Request, Response};
use crate::proofs::{self, Handshake, Party};
use crate::settings::merged;

/// Accepts connections until it is dropped, each on a thread of its own.
struct Listening {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Listening {
    fn at(port: u16, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, serve) = (Arc::clone(&is_over), Arc::new(serve));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), serve) = (stream, Arc::clone(&serve)) else { continue };
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(PATIENCE * 3));
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, is_over, accepting: Some(accepting) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

type Seen = Arc<Mutex<Vec<String>>>;

fn locked(seen: &Seen) -> MutexGuard<'_, Vec<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that a test puts at an address, and that does what the test says with a connection.
/// What it writes down is kept.
pub struct Stranger {
    seen: Seen,
    listening: Listening,
}

impl Stranger {
    /// Passes the bytes of each connection on to another address and back, and keeps all of them.
    #[must_use]
    pub fn relaying(port: u16, to: SocketAddr) -> Self {
        Self::at(port, move |stream, log| {
            let Ok(other) = TcpStream::connect(to) else { return };
            let (Ok(mut back), Ok(from)) = (stream.try_clone(), other.try_clone()) else { return };
            let answers = Arc::clone(log);
            std::thread::spawn(move || copy(from, &mut back, &answers));
            copy(stream, &mut &other, log);
        })
    }

    /// The same, each connection to where the target is when it comes, as behind an address that
    /// moves. Connections that exist stay where they are.
    #[must_use]
    pub fn moving(to: &Arc<Mutex<SocketAddr>>) -> Self {
        let to = Arc::clone(to);
        Self::at(0, move |stream, log| {
            let target = *to.lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(other) = TcpStream::connect(target) else { return };
            let (Ok(mut back), Ok(from)) = (stream.try_clone(), other.try_clone()) else { return };
            std::thread::spawn(move || {
                copy(from, &mut back, &Seen::default());
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
            copy(stream, &mut &other, log);
            let _ = other.shutdown(std::net::Shutdown::Both);
        })
    }

    /// Answers a handshake with the caller's own proof.
    #[must_use]
    pub fn reflecting(port: u16) -> Self {
        Self::at(port, |mut stream, log| {
            let Ok(head) = proofs::read_until(&mut stream, "\r\n\r\n") else { return };
            locked(log).push(head);
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                          Upgrade: mooring-cluster\r\nMooring-Link: 1 nonce\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
            let Ok(line) = proofs::read_until(&mut stream, "\n") else { return };
            locked(log).push(line.clone());
            let _ = stream.write_all(line.as_bytes());
            copy(stream, &mut std::io::sink(), log);
        })
    }

    /// Knows all that this node knows, and answers what it has not been asked yet: with its
    /// challenge, or with its proof.
    #[must_use]
    pub fn hasty(own: &Party, key: &str, with: &'static str) -> Self {
        const EARLY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"bindings\":[]}";
        let (own, key) = (own.clone(), key.to_owned());
        Self::at(0, move |mut stream, log| {
            let Ok(head) = proofs::read_until(&mut stream, "\r\n\r\n") else { return };
            let hello = proofs::header(&head, "mooring-link").unwrap_or("");
            let about = Handshake::read(hello, &own);
            let early = |now: &str| if with == now { EARLY } else { "" };
            let answer = challenge(&about) + early("challenge");
            let _ = stream.write_all(answer.as_bytes());
            let Ok(line) = proofs::read_until(&mut stream, "\n") else { return };
            locked(log).push(line);
            let proof = format!("proof {}\n{}", about.proof(&key, "called"), early("proof"));
            let _ = stream.write_all(proof.as_bytes());
            while let Ok(head) = proofs::read_until(&mut stream, "\r\n\r\n") {
                locked(log).push(head);
                let _ = stream.write_all(EARLY.as_bytes());
            }
        })
    }

    fn at(port: u16, serve: impl Fn(TcpStream, &Seen) + Send + Sync + 'static) -> Self {
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        Self { seen, listening: Listening::at(port, move |stream| serve(stream, &log)) }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    /// All bytes that it has seen, in either direction.
    #[must_use]
    pub fn seen(&self) -> String {
        locked(&self.seen).join("\n")
    }
}

/// Copies what arrives, and writes it down.
fn copy(mut from: TcpStream, to: &mut impl Write, log: &Seen) {
    let mut piece = [0; 4096];
    while let Ok(count) = from.read(&mut piece)
        && count > 0
    {
        locked(log).push(String::from_utf8_lossy(&piece[..count]).into_owned());
        if to.write_all(&piece[..count]).is_err() {
            return;
        }
    }
}

/// A node that a test plays. It answers handshakes if it is to, and says that it holds no session.
pub struct PlayedNode {
    pub own: Party,
    key: String,
    /// What it brings when it registers, in a cluster without a token.
    secret: Option<String>,
    seen: Seen,
    listening: Listening,
}

/// Where the requests on a proved connection go on to.
#[derive(Clone)]
pub enum Onward {
    /// A real node, as its coordinator would call it.
    Node(Behind),
    /// Whatever listens there, without a handshake.
    Plain(SocketAddr),
}

/// A real node, as its coordinator would call it.
#[derive(Clone)]
pub struct Behind {
    pub node: SocketAddr,
    pub key: String,
    pub party: Party,
}

impl Behind {
    /// Sends the node a request as its coordinator would, on a connection of its own.
    #[must_use]
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        let about = Handshake {
            caller: Party::new("coordinator"),
            called: self.party.clone(),
            address: format!("http://{}", self.node),
            nonces: [proofs::random(), String::new()],
        };
        let stream = proofs::call(self.node, &self.key, about).expect("a handshake");
        Connection::over(stream).exchange(request)
    }
}

impl PlayedNode {
    /// With the token, or in a cluster without one with a secret of its own.
    #[must_use]
    pub fn start(id: &str, token: Option<&str>) -> Self {
        Self::at(0, Party::new(id), token, None)
    }

    /// One that passes everything on to a real node.
    #[must_use]
    pub fn before(id: &str, token: Option<&str>, node: Behind) -> Self {
        Self::at(0, Party::new(id), token, Some(Onward::Node(node)))
    }

    #[must_use]
    pub fn at(port: u16, own: Party, token: Option<&str>, onward: Option<Onward>) -> Self {
        let secret = token.is_none().then(proofs::random);
        let key = token.map(str::to_owned).or_else(|| secret.clone()).unwrap_or_default();
        let seen = Seen::default();
        let (party, own_key, log) = (own.clone(), key.clone(), Arc::clone(&seen));
        let listening = Listening::at(port, move |stream| {
            serve(stream, &party, &own_key, &log, onward.as_ref());
        });
        Self { own, key, secret, seen, listening }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// All that it was sent, as text: each head, line and body by itself.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        locked(&self.seen).clone()
    }

    /// Its registration, with other members merged in.
    #[must_use]
    pub fn registration(&self, more: Value) -> Value {
        let base = json!({
            "id": self.own.id, "name": self.own.id, "url": self.url(), "servers": ["counter"],
            "incarnation": self.own.incarnation, "secret": self.secret,
            "heartbeatInterval": 60_000,
        });
        merged(base, more)
    }

    /// Its heartbeat, with other members merged in.
    #[must_use]
    pub fn heartbeat(&self, more: Value) -> Value {
        merged(json!({"id": self.own.id, "incarnation": self.own.incarnation}), more)
    }

    /// Sends a message with a proof to the coordinator: `register`, `heartbeat` or `deregister`.
    #[must_use]
    pub fn send(&self, coordinator: &Gateway, what: &str, message: &Value) -> Response {
        self.proved(coordinator, what, message).send(coordinator.address())
    }

    /// The same, to be sent later or twice.
    #[must_use]
    pub fn proved(&self, coordinator: &Gateway, what: &str, message: &Value) -> Request {
        self.proved_at(proofs::now(), coordinator, what, message)
    }

    /// The same, by a clock that may be wrong.
    #[must_use]
    pub fn proved_at(&self, time: u64, to: &Gateway, what: &str, message: &Value) -> Request {
        let request = Request::post(&format!("/api/cluster/{what}")).json(message);
        request.header("Mooring-Proof", &self.proof(time, to, what, message))
    }

    /// The proof of a message.
    #[must_use]
    pub fn proof(&self, time: u64, to: &Gateway, what: &str, message: &Value) -> String {
        let (path, body) = (format!("/api/cluster/{what}"), message.to_string());
        let called = to.url();
        let request = proofs::Request {
            path: &path,
            body: body.as_bytes(),
            id: message["id"].as_str().unwrap_or(""),
            called: &called,
            time,
            nonce: proofs::random(),
        };
        request.header(&self.key)
    }
}

/// Serves one connection: a handshake, and what follows it.
fn serve(mut stream: TcpStream, own: &Party, key: &str, seen: &Seen, onward: Option<&Onward>) {
    let mut is_proved = false;
    while let Ok(head) = proofs::read_until(&mut stream, "\r\n\r\n") {
        locked(seen).push(head.clone());
        if head.starts_with("GET /cluster/link ") {
            is_proved = answer_handshake(&mut stream, &head, own, key, seen);
            if !is_proved {
                return;
            }
            if let Some(onward) = onward {
                pass_on(stream, own, onward);
                return;
            }
            continue;
        }
        let length = proofs::header(&head, "content-length").and_then(|v| v.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        locked(seen).push(String::from_utf8_lossy(&body).into_owned());
        let (status, body) = match head.split(' ').nth(1) {
            Some(path) if path.starts_with("/cluster/bindings") && is_proved => {
                ("200 OK", r#"{"bindings":[]}"#)
            }
            Some("/cluster/alive") if is_proved => ("204 No Content", ""),
            _ => ("404 Not Found", "{}"),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The called one's answer to the first message.
fn challenge(about: &Handshake) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mooring-cluster\r\n\
         Mooring-Link: 1 {}\r\n\r\n",
        about.nonces[1]
    )
}

fn answer_handshake(
    stream: &mut TcpStream,
    head: &str,
    own: &Party,
    key: &str,
    seen: &Seen,
) -> bool {
    let about = Handshake::read(proofs::header(head, "mooring-link").unwrap_or(""), own);
    if stream.write_all(challenge(&about).as_bytes()).is_err() {
        return false;
    }
    let Ok(line) = proofs::read_until(stream, "\n") else { return false };
    locked(seen).push(line.clone());
    // It proves itself as well as it can, whoever calls.
    let proof = format!("proof {}\n", about.proof(key, "called"));
    stream.write_all(proof.as_bytes()).is_ok()
        && line == format!("proof {}\n", about.proof(key, "caller"))
}

/// Passes the bytes of a proved connection on, over another one.
fn pass_on(stream: TcpStream, own: &Party, onward: &Onward) {
    let connected = match onward {
        Onward::Plain(address) => TcpStream::connect(address).ok(),
        Onward::Node(behind) => {
            let about = Handshake {
                caller: own.clone(),
                called: behind.party.clone(),
                address: format!("http://{}", behind.node),
                nonces: [proofs::random(), String::new()],
            };
            proofs::call(behind.node, &behind.key, about).ok()
        }
    };
    let Some(node) = connected else { return };
    let (mut from, mut to) = (stream, node);
    let (Ok(mut back_to), Ok(mut back_from)) = (from.try_clone(), to.try_clone()) else { return };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A coordinator that a test plays: it takes every registration, and keeps what it was told.
pub struct PlayedCoordinator {
    seen: Seen,
    listening: Listening,
}

impl Default for PlayedCoordinator {
    fn default() -> Self {
        Self::start()
    }
}

impl PlayedCoordinator {
    #[must_use]
    pub fn start() -> Self {
        let seen = Seen::default();
        let log = Arc::clone(&seen);
        let listening = Listening::at(0, move |mut stream| {
            while let Ok(head) = proofs::read_until(&mut stream, "\r\n\r\n") {
                let length = proofs::header(&head, "content-length").and_then(|v| v.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                if stream.read_exact(&mut body).is_err() {
                    return;
                }
                locked(&log).push(format!("{head}{}", String::from_utf8_lossy(&body)));
                let answer =
                    "HTTP/1.1 200 OK\r\nMooring-Revision: 2\r\nContent-Length: 2\r\n\r\n{}";
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Self { seen, listening }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.listening.address.port()
    }

    /// All requests so far, as they came.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        locked(&self.seen).clone()
    }

    /// Waits for a registration, and returns the node behind it.
    #[track_caller]
    pub fn registered(&self, node: &Gateway, token: Option<&str>) -> Behind {
        let registration = eventually("the node registers", || {
            let seen = self.seen();
            let found = seen.iter().find(|text| text.starts_with("POST /api/cluster/register "))?;
            let (_, body) = found.split_once("\r\n\r\n")?;
            serde_json::from_str::<Value>(body).ok()
        });
        let text = |name: &str| registration[name].as_str().map(str::to_owned);
        Behind {
            node: node.address(),
            key: token.map(str::to_owned).or_else(|| text("secret")).expect("a secret"),
            party: Party {
                id: text("id").expect("an id"),
                incarnation: text("incarnation").expect("an incarnation"),
            },
        }
    }
}
