//! What a server sends through the pipe: messages, invalid lines, and its end.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope};

use super::long_line;
use super::pipe::Pipe;
use super::sink::{MessageSink, id_of_request};
use super::spoilt;

impl MessageSink for Pipe {
    fn server(&self) -> &ServerName {
        &self.server
    }

    fn line(&self) -> usize {
        self.rules.line
    }

    async fn take(&self, message: Bytes) {
        let Ok(envelope) = Envelope::parse(&message) else {
            if let Ok(Some(batch)) = jsonrpc::batch(&message) {
                for part in batch {
                    let part = Bytes::copy_from_slice(part.get().as_bytes());
                    // Batches do not nest.
                    Box::pin(self.take_one(part)).await;
                }
                return;
            }
            for object in spoilt::objects_in(&message).unwrap_or_default() {
                Box::pin(self.take_one(object)).await;
            }
            match spoilt::answered(&message) {
                Some(id) if spoilt::is_id(&id) => self.answers_nonsense(&id, &message),
                _ if spoilt::answers_somebody(&message) => self.answers_only_nonsense(&message),
                _ => {
                    tracing::debug!(server = %self.server, bytes = message.len(), "ignored a line that is not a JSON-RPC message");
                }
            }
            return;
        };
        self.deliver(message.clone(), &envelope).await;
    }

    /// Fails the call that the long line answers: the others may still be answered.
    fn overflows(&self, head: &[u8], text: &str) {
        if long_line::is_no_answer(head) {
            return;
        }
        if !self.fail_one(long_line::id_at_the_beginning(head), text) {
            *self.overflowing() = Some(text.to_owned());
        }
    }

    fn overflowed(&self, tail: &[u8]) {
        let Some(text) = self.overflowing().take() else { return };
        if !self.fail_one(long_line::id_at_the_end(tail), &text) {
            self.fail_all(&text);
        }
    }

    fn hurry(&self) {
        self.hurries.raise();
    }

    fn unsent(&self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(id) = id_of_request(line) {
                self.note_unsent(id);
            }
        }
    }

    fn answers(&self) -> u32 {
        self.answers.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn end(&self) {
        let text = format!(
            "server {} has ended while the call was under way; it may have run",
            self.server
        );
        self.mailbox().end(&text);
    }

    fn mark_lost(&self, how: &str) {
        let why: Arc<str> = format!("server {} has ended ({how})", self.server).into();
        self.lost.send_replace(Some(why));
    }
}
