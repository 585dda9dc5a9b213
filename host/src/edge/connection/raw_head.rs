//! The heads of requests as they came, where that may matter.
//!
//! hyper drops a `Content-Length` that stands beside a `Transfer-Encoding`, and takes lines that end
//! without a carriage return; neither shows in the request that it makes. A proxy in front may have
//! read the first, or may not have seen a line, and would then take one client's bytes for another's
//! (RFC 9112, sections 2.2, 6.1 and 11.2). So the bytes of a head are kept, and read once more, if it
//! has a coding or does not end as heads do. All others are looked through once, and nothing is kept.

use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::Locked;

/// Bytes that are kept of one head. One that is longer is unknown.
const MOST: usize = 32 * 1024;

/// Of `Transfer-Encoding` and `transfer-encoding`, behind the first letter. Another spelling is not
/// found, and its head is unknown.
const CODING: &[u8] = b"ransfer-";

/// What the bytes of a head show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadForm {
    Plain,
    /// It has a coding and a length.
    TwoLengths,
    /// A line ends without a carriage return.
    BareLineFeed,
    /// The bytes are not here, so that a length may have stood beside the coding. The connection
    /// ends with its answer, as it has to after both (RFC 9112, section 6.1).
    Unknown,
}

/// The bytes of a connection's next head, if they have to be read once more.
#[derive(Default)]
pub struct RawHead {
    has_some: AtomicBool,
    kept: Locked<Vec<u8>>,
}

impl RawHead {
    /// Takes what was read while no request was in progress.
    pub fn read(&self, bytes: &[u8]) {
        if !self.has_some() && !is_unusual(bytes) {
            return;
        }
        let mut kept = self.kept.lock();
        let room = MOST.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        self.has_some.store(true, Ordering::Relaxed);
    }

    /// Whether bytes of the next head are here.
    #[must_use]
    pub fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Relaxed)
    }

    /// Forgets what was read: it was no head.
    pub fn forget(&self) {
        self.has_some.store(false, Ordering::Relaxed);
        *self.kept.lock() = Vec::new();
    }

    /// The form of the head that is complete now, and whose request has a coding or not. Its bytes
    /// are forgotten.
    #[must_use]
    pub fn form(&self, has_coding: bool) -> HeadForm {
        self.has_some.store(false, Ordering::Relaxed);
        form_of(&take(&mut *self.kept.lock()), has_coding)
    }
}

fn is_unusual(bytes: &[u8]) -> bool {
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        match bytes.get(begin..end) {
            // The empty line behind a head.
            Some([b'\r']) if begin > 0 => return false,
            Some([_, rest @ .., b'\r']) if rest.starts_with(CODING) => return true,
            Some([.., b'\r']) => begin = end + 1,
            _ => return true,
        }
    }
    !bytes.is_empty()
}

fn form_of(kept: &[u8], has_coding: bool) -> HeadForm {
    let unknown = if has_coding { HeadForm::Unknown } else { HeadForm::Plain };
    // A parser may skip empty lines in front of it.
    let begin = kept.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(kept.len());
    let mut lines = kept.get(begin..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
    if !lines.clone().next().is_some_and(is_request_line) {
        return unknown;
    }
    let (mut is_bare, mut is_whole) = (false, false);
    let (mut codings, mut lengths) = (0, 0);
    for line in &mut lines {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        is_bare |= !line.ends_with(b"\r");
        let line = line.trim_ascii_end();
        if line.is_empty() {
            is_whole = true;
            break;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
    }
    match (is_whole, is_bare) {
        (false, _) => unknown,
        (true, true) => HeadForm::BareLineFeed,
        (true, false) if codings > 0 && lengths > 0 => HeadForm::TwoLengths,
        (true, false) if has_coding && codings == 0 => HeadForm::Unknown,
        (true, false) => HeadForm::Plain,
    }
}

/// Whether a line is the first of a head. A header's name is followed by a colon at once.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ');
    let is_method = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_alphabetic);
    words.next().is_some_and(is_method)
        && words.next_back().is_some_and(|word| word.starts_with(b"HTTP/1."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of a head that comes in these pieces, if anything of it is kept.
    fn form(pieces: &[&str], has_coding: bool) -> Option<HeadForm> {
        let raw = RawHead::default();
        pieces.iter().for_each(|piece| raw.read(piece.as_bytes()));
        raw.has_some().then(|| raw.form(has_coding))
    }

    const CHUNKED: &str =
        "POST /mcp HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    #[test]
    fn of_most_heads_nothing_is_kept() {
        for head in [
            "GET /sse HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntransfer-encoding\n",
            "\r\nGET /mcp HTTP/1.1\r\nHost: a\r\n\r\n\n",
            "",
        ] {
            assert_eq!(form(&[head], false), None, "{head:?}");
        }
        let raw = RawHead::default();
        raw.read(CHUNKED.as_bytes());
        assert_eq!(raw.form(true), HeadForm::Plain);
        assert!(!raw.has_some() && raw.kept.lock().capacity() == 0);
    }

    #[test]
    fn two_lengths_and_bare_line_feeds_are_seen() {
        for (head, expect) in [
            (CHUNKED.to_owned(), HeadForm::Plain),
            (format!("\r\n{CHUNKED}"), HeadForm::Plain),
            (CHUNKED.replace("Host: a", "Content-Length: 5"), HeadForm::TwoLengths),
            (CHUNKED.replace("Host: a", "content-LENGTH:5"), HeadForm::TwoLengths),
            (
                CHUNKED.replace("chunked\r\n", "chunked\r\nContent-Length: 5\r\n"),
                HeadForm::TwoLengths,
            ),
            (CHUNKED.replace("0\r\n", "Content-Length: 5\r\n"), HeadForm::Plain),
            (CHUNKED.replace("a\r\n", "a\n"), HeadForm::BareLineFeed),
            (CHUNKED.replace("1.1\r\n", "1.1\n"), HeadForm::BareLineFeed),
            (CHUNKED.replace("\r\n", "\n"), HeadForm::BareLineFeed),
            (CHUNKED.replace("POST /mcp HTTP/1.1\r\n", ""), HeadForm::Unknown),
            (CHUNKED.replace("POST ", "X-A: "), HeadForm::Unknown),
            (CHUNKED.replace("Host: a", &format!("X-A: {}", "a".repeat(MOST))), HeadForm::Unknown),
        ] {
            assert_eq!(form(&[&head], true), Some(expect), "{head:?}");
            for cut in [1, 10, 30, 45, 60].into_iter().filter(|cut| *cut < head.len()) {
                let (one, two) = head.split_at(cut);
                assert_eq!(form(&[one, two], true), Some(expect), "{head:?} cut at {cut}");
            }
        }
        let one = "GET /livez HTTP/1.1\nHost: a\r\n\r\n";
        assert_eq!(form(&[one], false), Some(HeadForm::BareLineFeed));
        let bare = "GET /livez HTTP/1.1\nHost: a\n\n";
        assert_eq!(form(&[bare], false), Some(HeadForm::BareLineFeed));
        // The rest of a body that nobody has read stands in front of it.
        assert_eq!(form(&["}}}", bare], false), Some(HeadForm::Plain));
        let raw = RawHead::default();
        assert_eq!(raw.form(true), HeadForm::Unknown);
        assert_eq!(raw.form(false), HeadForm::Plain);
        raw.read(b"no head");
        raw.forget();
        assert!(!raw.has_some());
        raw.read(CHUNKED.as_bytes());
        assert_eq!(raw.form(true), HeadForm::Plain);
    }
}
