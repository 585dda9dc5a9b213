//! The client's answers and progress, for the server that they concern: with its own names.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::ServerName;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::splice;
use crate::protocol::strict::StrictParams;

use super::rewrite::{NamedEdit, RELATED_TASK, members};
use super::server_ids;

/// A client's message for one server, with the names that this server knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Addressed {
    pub server: ServerName,
    pub message: Bytes,
}

/// The client's response, for the server whose request it answers. `None` if its id names no
/// server.
#[must_use]
pub fn answer_of_client(message: &Bytes, envelope: &Envelope<'_>) -> Option<Addressed> {
    let id = envelope.id?;
    let (server, own) = server_ids::of_id(id.get())?;
    let mut edits = vec![(splice::span(message, id)?, own)];
    if let Some(meta) =
        envelope.result.and_then(members).and_then(|result| result.get("_meta").copied())
    {
        edits.extend(related_task_of_client(message, &server, meta));
    }
    Some(Addressed { message: splice::edit(message, edits), server })
}

/// The client's progress notification, for the server whose request it concerns. `None` if its
/// token names no server.
#[must_use]
pub fn progress_of_client(message: &Bytes, params: &StrictParams<'_>) -> Option<Addressed> {
    let token = params.target.progress_token?;
    let (server, own) = server_ids::of_id(token.get())?;
    let edits = vec![(splice::span(message, token)?, own)];
    Some(Addressed { message: splice::edit(message, edits), server })
}

fn related_task_of_client(text: &[u8], server: &ServerName, meta: &RawValue) -> Option<NamedEdit> {
    let meta = members(meta)?;
    let related = members(meta.get(RELATED_TASK)?)?;
    let task = related.get("taskId")?;
    let name = splice::string(task)?;
    let (_, own) = server_ids::of_thing(std::iter::once(server), &name)?;
    Some((splice::span(text, task)?, splice::quoted(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_progress_of_the_client_find_their_server() {
        let parse = |text: &'static str| Bytes::from_static(text.as_bytes());
        let message = parse(
            r#"{"jsonrpc":"2.0","id":"\"r\"@b","result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"b~t"}},"x":1}}"#,
        );
        let answer = answer_of_client(&message, &Envelope::parse(&message).unwrap()).unwrap();
        assert_eq!(answer.server.as_str(), "b");
        assert_eq!(
            answer.message,
            r#"{"jsonrpc":"2.0","id":"r","result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}},"x":1}}"#
        );
        let message = parse(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"7@b","progress":1}}"#,
        );
        let params = StrictParams::of(Envelope::parse(&message).unwrap().params).unwrap();
        let progress = progress_of_client(&message, &params).unwrap();
        assert_eq!(
            progress.message,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#
        );
        let foreign = parse(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
        assert_eq!(answer_of_client(&foreign, &Envelope::parse(&foreign).unwrap()), None);
    }
}
