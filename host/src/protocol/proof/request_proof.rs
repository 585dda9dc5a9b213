//! The header by which a node proves a request to its coordinator; no IO.
//!
//! It is an HMAC over everything that the request says: method, path and body, the node's id, the
//! URL that was called, which nobody compares, a time and a nonce. The secret never travels, and a request that is heard
//! on the way cannot be changed, nor be sent a second time.

use subtle::ConstantTimeEq as _;

use crate::model::{SessionId, UnixMillis};

use super::mac;

/// The version of the header, which stands at its beginning.
const VERSION: &str = "1";
const LABEL: &[u8] = b"mooring request 1";
/// Bytes of the longest header that is read.
const MAX_TEXT: usize = 4 * 1024;
/// Bytes of the longest id.
const MAX_WORD: usize = 64;

/// The request that is proved.
#[derive(Debug, Clone, Copy)]
pub struct Proved<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// Below the coordinator's URL, without a query.
    pub path: &'a str,
    /// All of it.
    pub body: &'a [u8],
}

/// The header's content.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestProof {
    /// The node's clock when it sent the request.
    pub time: UnixMillis,
    /// Random.
    pub nonce: SessionId,
    /// The node that sends the request.
    pub id: String,
    /// The coordinator's URL, as the node's operator wrote it. The coordinator does not know by
    /// which URLs it is called, so this is proved and not compared: of several coordinators that
    /// share a token, a proof of one is refused at another because the node's start is not
    /// registered there, or does not answer it.
    pub called: String,
    mac: [u8; 32],
}

impl std::fmt::Debug for RequestProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestProof({} at {})", self.id, self.time.iso8601())
    }
}

impl std::fmt::Display for RequestProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { time, nonce, id, called, mac } = self;
        write!(f, "{VERSION} {} {nonce} {id} {called} {}", time.0, mac::hex(mac))
    }
}

impl RequestProof {
    /// Proves a request that is sent now.
    #[must_use]
    pub fn make(key: &[u8], id: &str, called: &str, time: UnixMillis, of: &Proved<'_>) -> Self {
        let nonce = SessionId::mint();
        let (id, called) = (id.to_owned(), called.to_owned());
        let mut proof = Self { time, nonce, id, called, mac: [0; 32] };
        proof.mac = proof.expected(key, of);
        proof
    }

    /// Reads the header. `None` if it is not one of these.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TEXT)?;
        let mut words = text.split(' ');
        let mut next = || words.next().filter(|word| !word.is_empty());
        let (version, time, nonce, id, called) = (next()?, next()?, next()?, next()?, next()?);
        let mac = mac::from_hex(next()?.as_bytes())?;
        let is_whole = words.next().is_none() && version == VERSION;
        let is_short = id.len() <= MAX_WORD;
        (is_whole && is_short).then_some(Self {
            time: UnixMillis(time.parse().ok()?),
            nonce: SessionId::parse(nonce)?,
            id: id.to_owned(),
            called: called.to_owned(),
            mac,
        })
    }

    /// Whether whoever made it knows the key, and meant this request.
    #[must_use]
    pub fn holds(&self, key: &[u8], of: &Proved<'_>) -> bool {
        self.mac.ct_eq(&self.expected(key, of)).into()
    }

    fn expected(&self, key: &[u8], of: &Proved<'_>) -> [u8; 32] {
        let time = self.time.0.to_be_bytes();
        let (nonce, id, called): (&[u8], _, _) =
            (self.nonce.as_bytes(), self.id.as_bytes(), self.called.as_bytes());
        let (method, path) = (of.method.as_bytes(), of.path.as_bytes());
        mac::of_texts(key, &[LABEL, &time, nonce, id, called, method, path, of.body])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Proved<'_> =
        Proved { method: "POST", path: "/api/cluster/heartbeat", body: b"{}" };

    fn made() -> RequestProof {
        RequestProof::make(b"key", "n", "http://c:3000", UnixMillis(1000), &REQUEST)
    }

    #[test]
    fn a_proof_is_for_one_request_and_one_key() {
        let proof = RequestProof::parse(made().to_string().as_bytes()).unwrap();
        assert!(proof.holds(b"key", &REQUEST));
        assert!(!proof.holds(b"yek", &REQUEST));
        for other in [
            Proved { method: "PUT", ..REQUEST },
            Proved { path: "/api/cluster/deregister", ..REQUEST },
            Proved { body: b"{ }", ..REQUEST },
            // The same bytes, cut at another place.
            Proved { path: "/api/cluster/heartbea", body: b"t{}", ..REQUEST },
        ] {
            assert!(!proof.holds(b"key", &other), "{other:?}");
        }
    }

    #[test]
    fn nothing_in_the_header_can_be_changed() {
        let proof = made();
        let (nonce, called) = (SessionId::mint(), "http://d".to_owned());
        for other in [
            RequestProof { time: UnixMillis(1001), ..proof.clone() },
            RequestProof { nonce, ..proof.clone() },
            RequestProof { id: "m".into(), ..proof.clone() },
            RequestProof { called, ..proof.clone() },
        ] {
            assert!(!other.holds(b"key", &REQUEST), "{other:?}");
        }
        assert_ne!(made().nonce, proof.nonce);
    }

    #[test]
    fn only_whole_headers_of_this_version_are_read() {
        let text = made().to_string();
        assert_eq!(RequestProof::parse(text.as_bytes()).unwrap().to_string(), text);
        for bad in [
            String::new(),
            text[2..].to_owned(),
            text.replacen('1', "2", 1),
            format!("{text} more"),
            format!("{text} "),
            text[..text.len() - 1].to_owned(),
            text.replacen(' ', "  ", 1),
            text.replacen("1000", "soon", 1),
            text.replacen(" n ", &format!(" {} ", "n".repeat(65)), 1),
            "Bearer token".to_owned(),
        ] {
            assert_eq!(RequestProof::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
