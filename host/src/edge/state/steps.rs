//! The single steps by which state is saved and brought back: a tool that is called, or a program
//! that the server's node runs.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};

use crate::edge::delivery::call::Call;
use crate::edge::delivery::own_request::{Heard, Silent};
use crate::edge::delivery::tried::error_text;
use crate::model::Node;
use crate::net::{Body, Failure, collect};
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::objects::object_only;
use crate::seam::{Facts, Outcome, StateStep};

use super::answer_kind::{self, AnswerKind};

/// What became of a step.
pub enum StepResult {
    /// It was done: the tool's result as JSON, or what the program has written.
    Done(Bytes),
    /// It has failed, for this reason.
    Failed(String),
    /// The server has ended.
    ServerLost,
    /// The node does not answer.
    NodeLost(String),
}

impl Call<'_> {
    /// Calls a tool with these parameters. As a step of a restoration, a question to the client
    /// counts as a failure.
    pub(in crate::edge) async fn tool_step(
        &self,
        step: StateStep,
        node: &Node,
        params: &str,
        patience: Duration,
    ) -> StepResult {
        let heard = match self.ask_in(Some(step), node, ("tools/call", params), patience).await {
            Ok(heard) => heard,
            Err(Silent) => return StepResult::Failed("it did not answer in time".to_owned()),
        };
        let Heard { message, outcome, has_asked, failure } = heard;
        match (failure, outcome) {
            (Some(Failure::NotSent(why) | Failure::Short(why) | Failure::Broken(why)), _) => {
                return StepResult::NodeLost(why);
            }
            (None, Some(Outcome::UnknownSession | Outcome::Sent)) => return StepResult::ServerLost,
            (None, Some(Outcome::NotSent)) => {
                return StepResult::NodeLost("it does not serve the session".to_owned());
            }
            (None, None) => {}
        }
        let Some(message) = message else { return StepResult::ServerLost };
        if has_asked {
            return StepResult::Failed("it asked the client something".to_owned());
        }
        let Ok(answer) = Envelope::parse(&message) else {
            return StepResult::Failed("its answer cannot be read".to_owned());
        };
        match (answer_kind::kind_of(&answer), answer.result) {
            (AnswerKind::Result, Some(result)) => {
                StepResult::Done(Bytes::copy_from_slice(result.get().as_bytes()))
            }
            (_, Some(result)) => StepResult::Failed(text_of(result.get())),
            (_, None) => StepResult::Failed(error_text(&message)),
        }
    }

    /// Has the node run the server's program that saves or restores.
    pub(in crate::edge) async fn program_step(
        &self,
        step: StateStep,
        node: &Node,
        input: Bytes,
        patience: Duration,
    ) -> StepResult {
        let mut request = Request::new(Body::from(input));
        *request.method_mut() = Method::POST;
        let facts = Facts { state: Some(step), ..self.session.facts() };
        let most = self.worker.edge.config.line;
        let running = async {
            let response = match self.exchange(node, facts, request).await {
                Ok(response) => response,
                Err(Failure::NotSent(why) | Failure::Short(why) | Failure::Broken(why)) => {
                    return StepResult::NodeLost(why);
                }
            };
            if Outcome::read(response.headers()).is_some() {
                return StepResult::ServerLost;
            }
            let is_done = response.status().is_success();
            match collect(response.into_body(), most).await {
                Ok(written) if is_done => StepResult::Done(written),
                Ok(error) => StepResult::Failed(error_text(&error)),
                Err(error) => StepResult::Failed(error.to_string()),
            }
        };
        let ran = tokio::time::timeout(patience, running).await;
        ran.unwrap_or_else(|_| StepResult::Failed("its program did not end in time".to_owned()))
    }

    /// Lets the client's messages reach the instance.
    pub(in crate::edge) async fn release(&self, node: &Node) -> Result<(), Failure> {
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = Method::POST;
        let facts = Facts { state: Some(StateStep::Release), ..self.session.facts() };
        self.exchange(node, facts, request).await.map(drop)
    }
}

/// The first text of a result that says what has failed.
fn text_of(result: &str) -> String {
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct FailedResult {
        #[serde(default)]
        content: Vec<Part>,
    }
    object_only!(FailedResult);
    #[derive(serde::Deserialize)]
    #[serde(remote = "Self")]
    struct Part {
        #[serde(default)]
        text: String,
    }
    object_only!(Part);
    let read = serde_json::from_str::<FailedResult>(result).ok();
    let text = read.and_then(|result| result.content.into_iter().map(|part| part.text).next());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "it returned an error".to_owned())
}
