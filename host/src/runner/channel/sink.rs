//! Who takes what a server's process says, and what can be told of a line that is
//! no whole message.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{Envelope, Kind};

/// One session, or all that share the process.
pub trait MessageSink: Send + Sync + 'static {
    fn server(&self) -> &ServerName;

    /// The longest line, in bytes.
    fn line(&self) -> usize;

    fn take(&self, message: Bytes) -> impl Future<Output = ()> + Send;

    /// A line is too long to be kept, of which this is the beginning.
    fn overflows(&self, head: &[u8], text: &str);

    /// The server is gone: what it said before must wait for nobody.
    fn hurry(&self) {}

    /// Lines that the server has not read a byte of, and will not.
    fn unsent(&self, lines: &[u8]);

    /// That line has ended, with this.
    fn overflowed(&self, _tail: &[u8]) {}

    /// How many requests the server has answered.
    fn answers(&self) -> u32;

    /// Nothing more comes from the server.
    fn end(&self);

    /// Says for what reason, to whoever waits for it.
    fn mark_lost(&self, how: &str);
}

/// The id of a request, as it stands in the line.
#[must_use]
pub fn id_of_request(line: &[u8]) -> Option<&str> {
    let envelope = Envelope::parse(line).ok()?;
    envelope.id_text().filter(|_| envelope.kind() == Kind::Request)
}

/// Which request a line that is no message should have answered, if it says so.
#[must_use]
pub fn id_of_malformed(line: &[u8]) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
        method: Option<serde::de::IgnoredAny>,
    }
    let read: Id<'_> = serde_json::from_slice(line).ok()?;
    read.method.is_none().then_some(read.id.get())
}
