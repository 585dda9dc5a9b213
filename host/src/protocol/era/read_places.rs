//! Where a message has what was read in it. The edge tells a runner of its own process, which then need
//! not read the message again, nor be given the headers that repeat it.

use http::{HeaderMap, HeaderValue};

use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION};

use super::REVISION;
use super::usual_request::UsualRequest;

/// The places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlaces {
    id: Place,
    method: Place,
    named: Option<Place>,
}

type Place = (u32, u32);

/// What stands there: as a [`UsualRequest`] has it, whose headers repeat it word for word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest<'a> {
    /// As JSON.
    pub id: &'a str,
    /// The method.
    pub method: &'a [u8],
    /// The tool, prompt or resource, where the method has one.
    pub named: Option<&'a [u8]>,
}

impl ReadPlaces {
    /// Where this message, of which the request was read, has it.
    #[must_use]
    pub fn of(request: &UsualRequest<'_>, message: &[u8]) -> Option<Self> {
        let place = |text: &str| -> Option<Place> {
            let begin = (text.as_ptr() as usize).checked_sub(message.as_ptr() as usize)?;
            let end = begin.checked_add(text.len())?;
            Some((u32::try_from(begin).ok()?, u32::try_from(end).ok()?))
        };
        let named = match request.named {
            Some(named) => Some(place(named)?),
            None => None,
        };
        Some(Self { id: place(request.id)?, method: place(request.method)?, named })
    }

    /// The request that this message is, in which it was read.
    #[must_use]
    pub fn within<'a>(&self, message: &'a [u8]) -> Option<ReadRequest<'a>> {
        let text = |(begin, end): Place| {
            message.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)
        };
        let named = match self.named {
            Some(place) => Some(text(place)?),
            None => None,
        };
        let id = std::str::from_utf8(text(self.id)?).ok()?;
        Some(ReadRequest { id, method: text(self.method)?, named })
    }
}

impl ReadRequest<'_> {
    /// Its headers, as they are sent.
    #[must_use]
    pub fn lines(&self) -> Vec<u8> {
        const BEGIN: &[u8] = b"mcp-protocol-version: 2026-07-28\r\nmcp-method: ";
        const NAMED: &[u8] = b"\r\nmcp-name: ";
        const END: &[u8] = b"\r\n";
        let named = self.named.unwrap_or_default();
        let most = BEGIN.len() + self.method.len() + NAMED.len() + named.len() + END.len();
        let mut lines = Vec::with_capacity(most);
        lines.extend_from_slice(BEGIN);
        lines.extend_from_slice(self.method);
        if self.named.is_some() {
            lines.extend_from_slice(NAMED);
            lines.extend_from_slice(named);
        }
        lines.extend_from_slice(END);
        lines
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(REVISION));
        for (name, value) in [(METHOD, Some(self.method)), (NAME, self.named)] {
            if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_found_again() {
        let message = r#"{"id":7,"method":"tools/call","name":"echo"}"#;
        let text = |text: &str| {
            let begin = message.find(text).unwrap();
            message.get(begin..begin + text.len()).unwrap()
        };
        let begin = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\n";
        for (named, last) in [(Some(text("echo")), "mcp-name: echo\r\n"), (None, "")] {
            let read = UsualRequest { id: text("7"), method: text("tools/call"), named };
            let places = ReadPlaces::of(&read, message.as_bytes()).unwrap();
            let found = places.within(message.as_bytes()).unwrap();
            assert_eq!((found.id, found.method), ("7", &b"tools/call"[..]));
            assert_eq!(found.named, named.map(str::as_bytes));
            let lines = String::from_utf8(found.lines()).unwrap();
            assert_eq!(lines, format!("{begin}{last}"));
            assert_eq!(found.headers().len(), lines.lines().count());
            assert_eq!(places.within(b"{}"), None);
        }
    }
}
