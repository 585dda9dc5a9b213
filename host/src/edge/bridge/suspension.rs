//! Requests that wait for their client's input.
//!
//! The call goes on at its server, and its stream is kept by its runner. Here is only a timer: a
//! client that does not come back must not have its server wait for ever.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::edge::aggregate::addressed;
use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::edge::worker::{Edge, Worker};
use crate::model::{Principal, Scope, SessionId, UnixMillis};
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::Members;
use crate::protocol::request_state::{PATIENCE, RequestState, WaitingQuestion};

use super::questions;

/// What a client has sent back for a request that waits.
#[derive(Debug)]
pub struct Returned {
    pub session: SessionId,
    /// When the request began to wait.
    pub since: UnixMillis,
    pub state: RequestState,
}

impl Edge {
    /// The request that a client goes on with, which asks for what `digest` says, in the conversation
    /// that `handle` names.
    ///
    /// # Errors
    /// For every reason alike: it was not this gateway that sealed it, or for another client, scope,
    /// conversation or request, or the time is over.
    pub fn returned(
        &self,
        text: &str,
        scope: &Scope,
        principal: &Principal,
        (digest, handle): (&str, Option<SessionId>),
    ) -> Result<Returned, Refusal> {
        let opened = self.keys.open_request_state(text, scope, principal);
        returned(opened, digest, handle, UnixMillis::now()).ok_or_else(|| {
            let minutes = PATIENCE.as_secs() / 60;
            Refusal::InvalidParams(format!(
                "params.requestState is not that of this request, or older than {minutes} minutes; send the request without it"
            ))
        })
    }
}

/// What was sealed, if it is of this request, and in time.
fn returned(
    opened: Option<(SessionId, UnixMillis, Vec<u8>)>,
    digest: &str,
    handle: Option<SessionId>,
    now: UnixMillis,
) -> Option<Returned> {
    let (session, since, state) = opened.filter(|(_, at, _)| now.since(*at) <= PATIENCE)?;
    let state = RequestState::read(&state).filter(|state| state.digest == digest)?;
    // A client that names no conversation has the state itself.
    let is_same = match (handle, state.handle.is_empty()) {
        (Some(handle), false) => state.handle == handle.to_string(),
        _ => true,
    };
    is_same.then_some(Returned { session, since, state })
}

/// The client's answer to a question, if it has sent a valid one under this name.
#[must_use]
pub fn input_of<'a>(
    responses: Option<&'a RawValue>,
    key: &str,
    method: &str,
) -> Option<&'a RawValue> {
    let answer = Members::of(responses?.get())?.get(key)?;
    questions::is_answer(method, answer).then_some(answer)
}

/// Whether a client was to open URLs before its request is sent anew, and has not.
#[must_use]
pub fn is_declined(state: &RequestState, responses: Option<&RawValue>) -> bool {
    let declines = |question: &WaitingQuestion| {
        let answer = input_of(responses, &question.key, &question.method);
        let action = answer.and_then(|answer| Members::of(answer.get())?.text("action"));
        action.is_some_and(|action| action != "accept")
    };
    state.request.is_empty() && state.questions.iter().any(declines)
}

impl Worker {
    /// Sends an answer to the server of which it names the question.
    pub(in crate::edge) async fn answer_question(
        &self,
        context: Option<&ClientRequest>,
        session: &Session,
        answer: &Bytes,
    ) {
        let Ok(envelope) = Envelope::parse(answer) else { return };
        if let Some(addressed) = addressed::answer_of_client(answer, &envelope) {
            self.tell_one(context, session, addressed, None).await;
        }
    }

    /// Has the questions answered with an error, should the client not come back.
    pub(in crate::edge) fn expire_later(&self, session: &Session, state: &RequestState) {
        // Nothing is opened for it, so that what the client has said of itself need not be kept.
        let params = Bytes::from_static(b"{}");
        let (worker, session) = (self.clone(), Session { params, ..session.clone() });
        let ids: Vec<String> = state.questions.iter().map(|asked| asked.id.clone()).collect();
        let key = (session.id, state.first.clone());
        let timer = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            for id in ids {
                worker.answer_question(None, &session, &questions::unanswered(&id)).await;
            }
        });
        self.edge.suspended.insert(key, timer.abort_handle());
    }

    /// The client has come back.
    pub(in crate::edge) fn expires_no_more(&self, returned: &Returned) {
        self.edge.suspended.remove(returned.session, &returned.state.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_counts_for_its_request_and_conversation_and_not_for_ever() {
        let (session, handle, at) = (SessionId::mint(), SessionId::mint(), UnixMillis::now());
        let state = RequestState {
            digest: "d".to_owned(),
            handle: handle.to_string(),
            ..RequestState::default()
        };
        let counts = |digest, handle, now| {
            let opened = Some((session, at, state.to_bytes()));
            returned(opened, digest, handle, now).is_some()
        };
        assert!(counts("d", Some(handle), at) && counts("d", None, at));
        assert!(!counts("e", Some(handle), at), "another request");
        assert!(!counts("d", Some(SessionId::mint()), at), "another conversation");
        let end = UnixMillis(at.0 + u64::try_from(PATIENCE.as_millis()).unwrap());
        assert!(counts("d", None, end));
        assert!(!counts("d", None, UnixMillis(end.0 + 1)), "too late");
        assert!(returned(None, "d", None, at).is_none());
        let spoilt = Some((session, at, b"{}".to_vec()));
        assert!(returned(spoilt, "d", None, at).is_none());
    }

    #[test]
    fn a_url_is_declined_by_an_answer_that_says_so() {
        let state = |request: &str| RequestState {
            request: request.to_owned(),
            questions: ["url-1", "url-2"].map(WaitingQuestion::of_url).to_vec(),
            ..RequestState::default()
        };
        for (answers, declined) in [
            (r#"{"url-1":{"action":"accept"},"url-2":{"action":"cancel"}}"#, true),
            (r#"{"url-1":{"action":"decline"}}"#, true),
            (r#"{"url-1":{"action":"accept"},"url-3":{"action":"decline"}}"#, false),
            ("{}", false),
        ] {
            let answers: &RawValue = serde_json::from_str(answers).unwrap();
            assert_eq!(is_declined(&state(""), Some(answers)), declined, "{answers}");
            assert!(!is_declined(&state("7"), Some(answers)), "the server hears it");
        }
        assert!(!is_declined(&state(""), None));
    }

    #[test]
    fn only_a_valid_answer_counts() {
        let responses: &RawValue = serde_json::from_str(
            r#"{"1":{"action":"accept"},"2":12345,"other":{"action":"accept"}}"#,
        )
        .unwrap();
        let of = |key| input_of(Some(responses), key, "elicitation/create").is_some();
        assert!(of("1") && !of("2") && !of("3"));
        assert!(input_of(None, "1", "elicitation/create").is_none());
        let null: &RawValue = serde_json::from_str("null").unwrap();
        assert!(input_of(Some(null), "1", "elicitation/create").is_none());
    }
}
