//! What the processes of a cluster prove themselves by, for tests that play one of them: written
//! down a second time, from its description.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::deadline::PATIENCE;

/// One side of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub id: String,
    pub incarnation: String,
}

impl Party {
    /// With a new incarnation.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), incarnation: random() }
    }
}

/// 36 characters that were never there before.
#[must_use]
pub fn random() -> String {
    let mut bytes = [0_u8; 16];
    let mut source = std::fs::File::open("/dev/urandom").expect("random bytes");
    source.read_exact(&mut bytes).expect("random bytes");
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

/// HMAC-SHA256 over texts, each with its length in front, in hexadecimal digits.
#[must_use]
pub fn hmac_of(key: &str, texts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key");
    for text in texts {
        mac.update(&(text.len() as u64).to_be_bytes());
        mac.update(text);
    }
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a handshake is about.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub caller: Party,
    pub called: Party,
    pub address: String,
    pub nonces: [String; 2],
}

impl Handshake {
    /// The proof of one side: `caller` or `called`.
    #[must_use]
    pub fn proof(&self, key: &str, side: &str) -> String {
        let label = format!("mooring link 1: {side}");
        let texts = [
            &label,
            &self.nonces[0],
            &self.nonces[1],
            &self.caller.id,
            &self.caller.incarnation,
            &self.called.id,
            &self.called.incarnation,
            &self.address,
        ];
        hmac_of(key, &texts.map(|text| text.as_bytes()))
    }

    /// The header of the caller's first message.
    #[must_use]
    pub fn hello(&self) -> String {
        let Self { caller, called, address, nonces } = self;
        format!("1 {} {} {} {} {address}", nonces[0], caller.id, caller.incarnation, called.id)
    }

    /// Reads a caller's first message, for a called one with its own nonce.
    #[must_use]
    pub fn read(hello: &str, called: &Party) -> Self {
        let words: Vec<&str> = hello.split(' ').collect();
        let [_, nonce, id, incarnation, _, address] = words[..] else { panic!("hello {hello:?}") };
        Self {
            caller: Party { id: id.to_owned(), incarnation: incarnation.to_owned() },
            called: called.clone(),
            address: address.to_owned(),
            nonces: [nonce.to_owned(), random()],
        }
    }
}

/// The request that a caller's first message comes with.
#[must_use]
pub fn upgrade(hello: &str) -> String {
    format!(
        "GET /cluster/link HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n\
         Upgrade: mooring-cluster\r\nMooring-Link: {hello}\r\n\r\n"
    )
}

/// A connection to a node, up to the node's challenge: with the head of its answer.
///
/// # Errors
/// If there is no answer.
pub fn greet(node: SocketAddr, hello: &str) -> io::Result<(TcpStream, String)> {
    let mut stream = TcpStream::connect(node)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(upgrade(hello).as_bytes())?;
    let head = read_until(&mut stream, "\r\n\r\n")?;
    Ok((stream, head))
}

/// A connection to a node that has begun with a whole handshake.
///
/// # Errors
/// What the node has answered instead.
pub fn call(node: SocketAddr, key: &str, mut about: Handshake) -> Result<TcpStream, String> {
    let (mut stream, head) = greet(node, &about.hello()).map_err(|error| error.to_string())?;
    let nonce = header(&head, "mooring-link").and_then(|link| link.strip_prefix("1 "));
    let Some(nonce) = nonce else { return Err(head) };
    about.nonces[1] = nonce.to_owned();
    let line = format!("proof {}\n", about.proof(key, "caller"));
    stream.write_all(line.as_bytes()).map_err(|error| error.to_string())?;
    let answer = read_until(&mut stream, "\n").map_err(|error| error.to_string())?;
    if answer == format!("proof {}\n", about.proof(key, "called")) {
        Ok(stream)
    } else {
        Err(answer)
    }
}

/// The value of a header in the head of a message.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut named = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim())
}

/// Reads up to the end, with it, and not a byte more.
///
/// # Errors
/// If it does not come.
pub fn read_until(stream: &mut TcpStream, end: &str) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        stream.read_exact(&mut byte)?;
        text.extend(byte);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What a node's request to its coordinator is proved with.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub path: &'a str,
    pub body: &'a [u8],
    pub id: &'a str,
    /// The coordinator's URL.
    pub called: &'a str,
    /// Unix ms.
    pub time: u64,
    pub nonce: String,
}

impl Request<'_> {
    /// The header `Mooring-Proof`.
    #[must_use]
    pub fn header(&self, key: &str) -> String {
        let Self { path, body, id, called, time, nonce } = self;
        let mut number = [0; 16];
        let digits = nonce.replace('-', "");
        for (place, byte) in number.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * place..2 * place + 2], 16).expect("a nonce");
        }
        let texts: [&[u8]; 8] = [
            b"mooring request 1",
            &time.to_be_bytes(),
            &number,
            id.as_bytes(),
            called.as_bytes(),
            b"POST",
            path.as_bytes(),
            body,
        ];
        format!("1 {time} {nonce} {id} {called} {}", hmac_of(key, &texts))
    }
}

/// Unix ms.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("a time")
}
