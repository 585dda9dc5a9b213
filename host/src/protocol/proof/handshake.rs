//! The handshake that begins every connection from a coordinator to a node. No IO: the carriers
//! move the four messages, each of which is one line of text.
//!
//! ```text
//! caller                                                        called
//!   │ Hello: nonce, both ids, the caller's start, the address ───► │ is that me, and there?
//!   │ ◄──────────────────────────────────────── Challenge: nonce   │
//!   │ Proof with the caller's label ─────────────────────────────► │ right? Only then:
//!   │ ◄───────────────────────── Proof with the called one's label │
//! ```
//!
//! A proof is an HMAC over both nonces, both ids, both incarnations and the address that was
//! called. The secret never travels, and neither does the incarnation of the called one: the
//! caller has to know it. So what a stranger overhears or is sent shows him nothing that he could
//! try keys on, as long as he does not know the incarnation. The label is another one in each
//! direction, so that nobody gets his own proof back as an answer; and the address makes a proof
//! useless to whoever passes it on from another place.

use subtle::ConstantTimeEq as _;

use crate::model::SessionId;

use super::mac;

/// Bytes of the longest message. A URL of 2 KiB fits.
pub const MAX_MESSAGE: usize = 4 * 1024;
/// Bytes of a proof's line, its line break included.
pub const PROOF_LINE: usize = PROOF_WORD.len() + 64 + 1;

/// The version of these messages, which stands at the beginning of the first two.
const VERSION: &str = "1";
const PROOF_WORD: &str = "proof ";
/// Bytes of the longest id, nonce or incarnation.
const MAX_WORD: usize = 64;
/// Bytes of the longest address.
const MAX_ADDRESS: usize = 2 * 1024;

const OF_CALLER: &str = "mooring link 1: caller";
const OF_CALLED: &str = "mooring link 1: called";

/// Why the called one ends the handshake. It travels as one word, and each side has its own text
/// for it: nothing that the other side writes is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The first message is of another version, or none.
    Message,
    /// The caller looks for another id.
    Node,
    /// The address that was called is not one of the called one's.
    Address,
    /// The caller's connection comes from an address that is not served.
    Peer,
    /// The caller's connection has no TLS and has to, or its certificate is not a coordinator's.
    Certificate,
    /// The caller's proof is wrong: another secret, or another incarnation of the called one.
    Proof,
}

impl Refusal {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Message, "message"),
        (Self::Node, "node"),
        (Self::Address, "address"),
        (Self::Peer, "peer"),
        (Self::Certificate, "certificate"),
        (Self::Proof, "proof"),
    ];

    /// The word that travels.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(refusal, _)| *refusal == self).map_or("", |(_, word)| word)
    }

    /// The inverse of [`Self::word`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(refusal, _)| *refusal)
    }
}

/// One side: its id, and the random text of its start.
#[derive(Clone, PartialEq, Eq)]
pub struct Party {
    /// A node's id, or `coordinator`.
    pub id: String,
    /// New at each start. A node's is a secret between it and its coordinator.
    pub incarnation: String,
}

impl std::fmt::Debug for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/…", self.id)
    }
}

/// The first message, from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Random.
    nonce: String,
    /// Who calls. Nothing is required of the caller's incarnation but that it is new.
    pub from: Party,
    /// The id of the one that is looked for.
    pub to: String,
    /// The URL that the caller has called.
    pub address: String,
}

impl std::fmt::Display for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nonce, from, to, address } = self;
        write!(f, "{VERSION} {nonce} {} {} {to} {address}", from.id, from.incarnation)
    }
}

impl Hello {
    /// `None` if it is not such a message.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let [version, nonce, id, incarnation, to, address] = words(text)?;
        let are_words = [nonce, id, incarnation, to].iter().all(|word| is_word(word));
        let from = Party { id: id.to_owned(), incarnation: incarnation.to_owned() };
        (version == VERSION && are_words && is_address(address)).then(|| Self {
            nonce: nonce.to_owned(),
            from,
            to: to.to_owned(),
            address: address.to_owned(),
        })
    }
}

/// The second message, from the called one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    nonce: String,
}

impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{VERSION} {}", self.nonce)
    }
}

impl Challenge {
    /// `None` if it is not such a message.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let [version, nonce] = words(text)?;
        (version == VERSION && is_word(nonce)).then(|| Self { nonce: nonce.to_owned() })
    }
}

/// The third and the fourth message.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof([u8; 32]);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl Proof {
    /// Its line, with the line break.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{PROOF_WORD}{}\n", mac::hex(&self.0))
    }

    /// Reads a whole line. `None` if it is no proof, or anything follows it.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let digits = line.strip_prefix(PROOF_WORD.as_bytes())?.strip_suffix(b"\n")?;
        mac::from_hex(digits).map(Self)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What both sides have to agree on.
struct Transcript<'a> {
    caller_nonce: &'a str,
    called_nonce: &'a str,
    caller: &'a Party,
    called: &'a Party,
    address: &'a str,
}

impl Transcript<'_> {
    fn proof(&self, key: &[u8], label: &str) -> Proof {
        Proof(mac::of_texts(
            key,
            &[
                label.as_bytes(),
                self.caller_nonce.as_bytes(),
                self.called_nonce.as_bytes(),
                self.caller.id.as_bytes(),
                self.caller.incarnation.as_bytes(),
                self.called.id.as_bytes(),
                self.called.incarnation.as_bytes(),
                self.address.as_bytes(),
            ],
        ))
    }
}

/// The caller, before the challenge has come.
pub struct Caller<'a> {
    hello: Hello,
    called: &'a Party,
}

impl<'a> Caller<'a> {
    /// Begins a handshake with the one that is expected at the address.
    #[must_use]
    pub fn begin(own: &Party, called: &'a Party, address: &str) -> (Self, Hello) {
        let hello = Hello {
            nonce: nonce(),
            from: own.clone(),
            to: called.id.clone(),
            address: address.to_owned(),
        };
        (Self { hello: hello.clone(), called }, hello)
    }

    /// The caller's own proof, and the one that it expects in return.
    #[must_use]
    pub fn answer(self, key: &[u8], challenge: &Challenge) -> (Proof, Expected) {
        let transcript = Transcript {
            caller_nonce: &self.hello.nonce,
            called_nonce: &challenge.nonce,
            caller: &self.hello.from,
            called: self.called,
            address: &self.hello.address,
        };
        (transcript.proof(key, OF_CALLER), Expected(transcript.proof(key, OF_CALLED)))
    }
}

/// The caller, before the called one's proof has come.
pub struct Expected(Proof);

impl Expected {
    /// Whether that is the proof of the one that was called.
    #[must_use]
    pub fn is(&self, proof: &Proof) -> bool {
        self.0.is_same(proof)
    }
}

/// The called one, before the caller's proof has come.
pub struct Called {
    expected: Proof,
    own: Proof,
}

impl Called {
    /// Takes the first message. Whether the address is one of the called one's, only the carrier
    /// can tell.
    ///
    /// # Errors
    /// If the caller looks for another one.
    pub fn receive(key: &[u8], own: &Party, hello: &Hello) -> Result<(Self, Challenge), Refusal> {
        if hello.to != own.id {
            return Err(Refusal::Node);
        }
        let challenge = Challenge { nonce: nonce() };
        let transcript = Transcript {
            caller_nonce: &hello.nonce,
            called_nonce: &challenge.nonce,
            caller: &hello.from,
            called: own,
            address: &hello.address,
        };
        let (expected, own) = (transcript.proof(key, OF_CALLER), transcript.proof(key, OF_CALLED));
        Ok((Self { expected, own }, challenge))
    }

    /// Its own proof, for a caller that has given the right one.
    ///
    /// # Errors
    /// If the caller has not.
    pub fn prove(self, given: &Proof) -> Result<Proof, Refusal> {
        if self.expected.is_same(given) { Ok(self.own) } else { Err(Refusal::Proof) }
    }
}

/// 122 random bits.
fn nonce() -> String {
    SessionId::mint().to_string()
}

/// Exactly that number of words, with one space between two.
fn words<const N: usize>(text: &[u8]) -> Option<[&str; N]> {
    if text.len() > MAX_MESSAGE {
        return None;
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let mut found = [""; N];
    for place in &mut found {
        *place = words.next()?;
    }
    words.next().is_none().then_some(found)
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_address(text: &str) -> bool {
    (1..=MAX_ADDRESS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"the key of both";

    fn party(id: &str) -> Party {
        Party { id: id.to_owned(), incarnation: format!("{id}-start") }
    }

    /// What comes of a handshake between a caller and a called one that may be mistaken.
    fn run(caller: (&[u8], &Party, &str), called: (&[u8], &Party, &str)) -> Result<bool, Refusal> {
        let ((key, peer, address), (own_key, own, own_address)) = (caller, called);
        let (waiting, hello) = Caller::begin(&party("coordinator"), peer, address);
        let mut hello = Hello::parse(hello.to_string().as_bytes()).unwrap();
        // Whoever passes it on may write another address into it.
        hello.address = own_address.to_owned();
        let (called, challenge) = Called::receive(own_key, own, &hello)?;
        let challenge = Challenge::parse(challenge.to_string().as_bytes()).unwrap();
        let (proof, expected) = waiting.answer(key, &challenge);
        let proof = Proof::parse(proof.line().as_bytes()).unwrap();
        assert_eq!(proof.line().len(), PROOF_LINE);
        let answer = called.prove(&proof)?;
        assert!(!expected.is(&proof), "a proof of one direction counts in the other");
        Ok(expected.is(&answer))
    }

    #[test]
    fn those_who_agree_on_everything_prove_it_to_each_other() {
        let (n, address) = (party("n"), "http://10.0.0.1:3000");
        assert_eq!(run((KEY, &n, address), (KEY, &n, address)), Ok(true));
    }

    #[test]
    fn whoever_differs_in_anything_gets_no_proof() {
        let (n, address) = (party("n"), "http://10.0.0.1:3000");
        let right = (KEY, &n, address);
        let other_start = Party { incarnation: "another-start".into(), ..n.clone() };
        assert_eq!(run((b"another key", &n, address), right), Err(Refusal::Proof));
        assert_eq!(run((KEY, &other_start, address), right), Err(Refusal::Proof));
        assert_eq!(run((KEY, &n, "http://10.0.0.2:3000"), right), Err(Refusal::Proof));
        assert_eq!(run((KEY, &party("m"), address), right), Err(Refusal::Node));
    }

    #[test]
    fn each_handshake_has_its_own_proofs() {
        let (own, n) = (party("coordinator"), party("n"));
        let challenge = Challenge { nonce: nonce() };
        let (first, hello) = Caller::begin(&own, &n, "http://n");
        let (second, other) = Caller::begin(&own, &n, "http://n");
        assert_ne!(hello.nonce, other.nonce);
        assert_ne!(first.answer(KEY, &challenge).0, second.answer(KEY, &challenge).0);
        let (called, challenge) = Called::receive(KEY, &n, &hello).unwrap();
        let (_, another) = Called::receive(KEY, &n, &hello).unwrap();
        assert_ne!(challenge, another);
        let (replayed, _) = Caller { hello, called: &n }.answer(KEY, &another);
        assert_eq!(called.prove(&replayed), Err(Refusal::Proof));
    }

    #[test]
    fn only_whole_messages_of_this_version_are_read() {
        let hello = "1 n c s to http://h:1/p";
        assert!(Hello::parse(hello.as_bytes()).is_some());
        for bad in [
            "",
            "1",
            "2 n c s to http://h:1",
            "1 n c s to",
            "1 n c s to http://h:1 more",
            "1  n c s to http://h:1",
            " 1 n c s to http://h:1",
            "1 n c s to http://h:1\n",
            "1 n c/d s to http://h:1",
            "1 n c s to http://h:\u{e4}",
        ] {
            assert_eq!(Hello::parse(bad.as_bytes()), None, "{bad:?}");
        }
        let long = format!("1 {} c s to http://h", "n".repeat(MAX_WORD + 1));
        assert_eq!(Hello::parse(long.as_bytes()), None);
        let long = format!("1 n c s to http://{}", "h".repeat(MAX_ADDRESS));
        assert_eq!(Hello::parse(long.as_bytes()), None);
        assert_eq!(Hello::parse(&[b'1'; MAX_MESSAGE + 1]), None);
        assert_eq!(Hello::parse(b"1 n c s to http://h:\xff"), None);
        assert!(Challenge::parse(b"1 n").is_some());
        for bad in ["", "1", "2 n", "1 n ", "1 n\r"] {
            assert_eq!(Challenge::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_proof_is_one_line_of_digits_and_nothing_more() {
        let line = Proof([7; 32]).line();
        assert_eq!(Proof::parse(line.as_bytes()), Some(Proof([7; 32])));
        for bad in [
            &line[..line.len() - 1],
            &line[1..],
            &format!("{line}\n"),
            &format!("{line}GET / HTTP/1.1\r\n"),
            &line.replace("07", "0g"),
            "refused proof\n",
            "",
        ] {
            assert_eq!(Proof::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_survives_its_word() {
        for (refusal, word) in Refusal::ALL {
            assert_eq!((Refusal::parse(word), refusal.word()), (Some(refusal), word));
        }
        assert_eq!(Refusal::parse("because"), None);
    }

    #[test]
    fn neither_incarnation_nor_proof_is_shown_in_a_log() {
        let shown = format!("{:?} {:?}", party("n"), Proof([7; 32]));
        assert!(!shown.contains("start") && !shown.contains("07"), "{shown}");
    }
}
