//! What the client is asked in a server's place: real requests of a session, whose answers go back
//! with the server's request for input.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::protocol::era::input::Question;
use crate::protocol::era::outgoing::Introduction;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::lenient::Members;
use crate::protocol::splice::quoted;
use crate::runner::channel::message_ids::key;
use crate::runner::channel::pipe::Pipe;
use crate::sync::Locked;

/// How long a client may take for one answer: a person may have to think.
const PATIENCE: Duration = Duration::from_secs(600);

/// The result of the client, as JSON, or why there is none.
type Said = Result<String, String>;

/// The questions of one session that are not answered yet.
#[derive(Default)]
pub struct Questions {
    open: Locked<HashMap<String, oneshot::Sender<Said>>>,
    next: AtomicU64,
}

impl Questions {
    /// Takes an answer of the client.
    pub fn answer(&self, answer: &Envelope<'_>) {
        let Some(id) = answer.id_text().map(key) else { return };
        let Some(asked) = self.open.lock().remove(&id) else { return };
        let said = match (answer.result, answer.error) {
            (Some(result), _) => Ok(result.get().to_owned()),
            (None, Some(error)) => {
                let message = Members::of(error.get()).and_then(|error| error.text("message"));
                Err(message.unwrap_or_else(|| error.get().to_owned()))
            }
            (None, None) => return,
        };
        drop(asked.send(said));
    }

    /// A question as this client is asked it.
    ///
    /// # Errors
    /// Why it cannot be asked that, for the model or the user to read.
    pub fn ready(&self, client: &Introduction, question: &Question) -> Result<Ready, String> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = quoted(&format!("input-{number}"));
        let params = question.for_session(client, &id).map_err(|error| error.to_string())?;
        Ok(Ready {
            message: request(&id, &question.method, &params),
            id,
            method: question.method.clone(),
        })
    }

    /// Asks the client, for the request with this id. Dropped before the answer, it takes the question
    /// back.
    ///
    /// # Errors
    /// Why there is no answer, for the model or the user to read.
    pub async fn ask(&self, pipe: &Pipe, request_id: &str, question: Ready) -> Said {
        let Ready { id, method, message } = question;
        let (said, hearing) = oneshot::channel();
        self.open.lock().insert(id.clone(), said);
        let asked = Asked { questions: self, pipe, request: request_id, id: &id };
        pipe.take_about(request_id, message).await;
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        match heard {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(why))) => Err(format!("the client has not answered {method}: {why}")),
            Ok(Err(_)) => Err(format!("the session ended before {method} was answered")),
            Err(_) => {
                drop(asked);
                let seconds = PATIENCE.as_secs();
                Err(format!("the client has not answered {method} within {seconds} s"))
            }
        }
    }
}

fn request(id: &str, method: &str, params: &str) -> Bytes {
    let method = quoted(method);
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}").into()
}

/// A question that can be asked.
pub struct Ready {
    /// As JSON.
    id: String,
    method: String,
    message: Bytes,
}

/// A question that is open.
struct Asked<'a> {
    questions: &'a Questions,
    pipe: &'a Pipe,
    /// The id of the request that it belongs to.
    request: &'a str,
    id: &'a str,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.questions.open.lock().remove(self.id).is_none() {
            return;
        }
        let cancelled = jsonrpc::cancelled(self.id, "the request that it belongs to is over");
        if let Ok(envelope) = Envelope::parse(&cancelled) {
            self.pipe.hand_about(Some(self.request), cancelled.clone(), &envelope);
        }
    }
}
