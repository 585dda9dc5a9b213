//! Puts a server's own names into messages that name its tools and prompts with the server's name in
//! front.

use bytes::Bytes;

use crate::edge::aggregate::requested::Requested;
use crate::edge::delivery::call::Call;
use crate::model::Scope;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, Destination};
use crate::protocol::splice::{self, Edit};
use crate::protocol::strict::StrictParams;
use crate::protocol::version::Version;

impl Call<'_> {
    /// The message, or the messages of a batch, with the names that the server knows. What cannot be
    /// read stays as it is: the server answers it.
    pub(in crate::edge) async fn by_own_names(&self, message: Bytes) -> Bytes {
        let mut edits = Vec::new();
        match jsonrpc::batch(&message) {
            Ok(Some(parts)) if self.session.version == Version::V2025_03_26 => {
                for part in parts {
                    edits.extend(self.by_own_name(&message, part.get().as_bytes()).await);
                }
            }
            _ => edits.extend(self.by_own_name(&message, &message).await),
        }
        splice::edit(&message, edits)
    }

    /// The edit of one message within the body, if it names something with the prefix.
    async fn by_own_name(&self, body: &[u8], message: &[u8]) -> Option<Edit> {
        let envelope = Envelope::parse(message).ok()?;
        let destination = methods::destination(envelope.method());
        let names = matches!(
            destination,
            Destination::Tool | Destination::Prompt | Destination::Completion
        );
        if envelope.kind() != Kind::Request || !names {
            return None;
        }
        let params = StrictParams::of(envelope.params).ok()?;
        let requested = Requested::of(destination, &params).ok()?;
        let scope = Scope::Server(self.server.clone());
        let owner =
            self.worker.prefixed_owner(&scope, self.session, requested.asked, &requested.name);
        let own = owner.await?.name;
        Some((splice::span(body, requested.raw)?, splice::quoted(&own)))
    }
}
