//! The receiver of a process's output.

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{Envelope, Kind};

/// Takes the output of one process, for one session or for all that share it.
pub trait MessageSink: Send + Sync + 'static {
    fn server(&self) -> &ServerName;

    /// The longest line that is taken, in bytes.
    fn line(&self) -> usize;

    /// Takes one line; may wait for a client that reads too slowly.
    fn take(&self, message: Bytes) -> impl Future<Output = ()> + Send;

    /// A line has become too long to be kept. `head` is its beginning, `text` the error.
    fn overflows(&self, head: &[u8], text: &str);

    /// The server is gone: its last messages no longer wait for readers.
    fn hurry(&self) {}

    /// The server has not read a byte of these lines, and will not.
    fn unsent(&self, lines: &[u8]);

    /// The line that was too long has ended, with this tail.
    fn overflowed(&self, _tail: &[u8]) {}

    /// The number of requests that the server has answered, `initialize` included.
    fn answers(&self) -> u32;

    /// Nothing more comes from the server.
    fn end(&self);

    /// The process is gone, and `how` it ended. Follows `end`.
    fn mark_lost(&self, how: &str);
}

/// The id of the request in this line, as it is written there.
#[must_use]
pub fn id_of_request(line: &[u8]) -> Option<&str> {
    let envelope = Envelope::parse(line).ok()?;
    envelope.id_text().filter(|_| envelope.kind() == Kind::Request)
}
