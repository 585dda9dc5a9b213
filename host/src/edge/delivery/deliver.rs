//! Delivers a session's message to its replica. If that one is lost, another replica is opened.
//!
//! | the seam says | the edge does |
//! |---|---|
//! | not connected, not sent | next candidate, at once; the node becomes suspect |
//! | unknown session | opens it again, sends again |
//! | broke after sending, and a repeat does no harm | opens it elsewhere, sends once more |
//! | broke after sending, otherwise | tells the client that the call may have run |

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};

use crate::edge::metrics::Recovery;
use crate::edge::refusal::Refusal;
use crate::edge::relay::accepted;
use crate::edge::routing::affinity::Token;
use crate::edge::routing::bind::Holding;
use crate::model::{Node, StatePlan};
use crate::net::{Body, Failure, collect, is_event_stream};
use crate::seam::{Handshake, Outcome, UserTokenRefused, is_token_refused};

use super::call::Call;
use super::outgoing::Outgoing;
use super::tried::{MAX_RESULT, Tried, not_opened};

/// Attempts to deliver one message before it is refused: more nodes than that do not fail within
/// one request by accident.
const MAX_ATTEMPTS: usize = 8;

/// A replica's response, whose it is, and the affinity token for the client, if there is a new one.
pub struct Delivered {
    pub response: Response<Body>,
    /// The node of the replica.
    pub node: Arc<Node>,
    pub token: Option<Token>,
    /// The token of the client's user that was sent with the message, if the server wants one.
    pub user: Option<HeaderValue>,
}

impl Call<'_> {
    /// Delivers a message, and tries again until a replica answers.
    ///
    /// # Errors
    /// If no replica can take it, or if the connection to one broke: then it may have run.
    pub async fn deliver(&self, outgoing: &Outgoing) -> Result<Delivered, Refusal> {
        self.deliver_with(self.state_plan(), outgoing).await
    }

    /// The same where the plan for the server's state is known.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub(in crate::edge) async fn deliver_with(
        &self,
        plan: Option<Arc<StatePlan>>,
        outgoing: &Outgoing,
    ) -> Result<Delivered, Refusal> {
        match plan {
            None => self.deliver_plainly(outgoing).await,
            Some(plan) => Box::pin(self.deliver_tracked(outgoing, plan)).await,
        }
    }

    /// The same for a message that is not looked at.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub(in crate::edge) async fn deliver_plainly(
        &self,
        outgoing: &Outgoing,
    ) -> Result<Delivered, Refusal> {
        self.check_login().await?;
        let mut delivery = MessageDelivery::new(*self, outgoing);
        let mut why = String::new();
        for _ in 0..MAX_ATTEMPTS {
            let (attempt, node) = delivery.attempt().await?;
            match attempt {
                Attempt::Answered(response) => {
                    let MessageDelivery { token, user, .. } = delivery;
                    return Ok(Delivered { response, node, token, user });
                }
                Attempt::Again(reason) => why = reason,
            }
        }
        let absent = self.worker.edge.absent_beside(self.server, &delivery.tried);
        Err(absent.unwrap_or_else(|| delivery.tried.refusal(self.server, &why)))
    }
}

/// The outcome of one attempt.
enum Attempt {
    Answered(Response<Body>),
    /// The message may be sent again. Holds the reason why it was not answered.
    Again(String),
}

/// One message on its way, with the results of its attempts so far.
struct MessageDelivery<'a> {
    call: Call<'a>,
    outgoing: &'a Outgoing,
    tried: Tried,
    token: Option<Token>,
    /// The token of the client's user that was sent last.
    user: Option<HeaderValue>,
    /// Whether the message was sent again, where it was sent last, after it may have run.
    is_repeated: bool,
    /// Whether the session's node was given a second chance.
    is_second: bool,
}

impl<'a> MessageDelivery<'a> {
    fn new(call: Call<'a>, outgoing: &'a Outgoing) -> Self {
        Self {
            call,
            outgoing,
            tried: Tried::default(),
            token: None,
            user: None,
            is_repeated: false,
            is_second: false,
        }
    }

    /// Sends the message to the node that holds the session. If no node does, one is opened first.
    /// Rare branches are boxed, since this future is made for every call.
    async fn attempt(&mut self) -> Result<(Attempt, Arc<Node>), Refusal> {
        let Holding { node, was_open, must_open } = self.call.holder(&self.tried.nodes).await;
        let node = match node {
            Some(node) if must_open => {
                let attempt = Box::pin(self.open_first(&node)).await?;
                return Ok((attempt, node));
            }
            Some(node) => node,
            None => Box::pin(self.open_somewhere(was_open)).await?,
        };
        self.user = self.call.user_token();
        let attempt = match self.call.send(&node, self.outgoing).await {
            Ok(response) if is_token_refused(response.headers()) => {
                Box::pin(self.user_was_refused(response)).await?;
                Attempt::Again("it refuses the token that its user has logged in for".to_owned())
            }
            Ok(response) => match Outcome::read(response.headers()) {
                None => {
                    // What a server says to a notification is not told, and a stream may begin
                    // before it has said anything.
                    let is_answer = response.status() == StatusCode::OK;
                    if let Some(user) = &self.user
                        && is_answer
                        && !is_event_stream(&response)
                    {
                        self.call.token_was_accepted(user);
                    }
                    self.answered(response)
                }
                Some(outcome) => {
                    Box::pin(self.not_answered(&node, was_open, outcome, response)).await?
                }
            },
            Err(failure) => Box::pin(self.failed(&node, failure)).await?,
        };
        Ok((attempt, node))
    }

    /// The server has refused the token of the client's user, in this response: finds another one.
    async fn user_was_refused(&self, response: Response<Body>) -> Result<(), Refusal> {
        // An error of the runner's own.
        let error = collect(response.into_body(), MAX_RESULT).await.unwrap_or_default();
        let refused = UserTokenRefused::read(&error);
        self.call.token_was_refused(self.user.as_ref(), &refused).await
    }

    /// Opens the server at the node that the session has moved to, where an instance of before may
    /// still be.
    async fn open_first(&mut self, node: &Node) -> Result<Attempt, Refusal> {
        self.recovers(Recovery::Moved);
        self.call.open_again(node, &mut self.tried).await?;
        Ok(Attempt::Again("the session moved meanwhile".to_owned()))
    }

    async fn open_somewhere(&mut self, was_open: bool) -> Result<Arc<Node>, Refusal> {
        let call = self.call;
        if was_open && call.ends_at_once() {
            return Err(call.end_lost().await);
        }
        if was_open {
            self.recovers(Recovery::Node);
        }
        let (message, handshake) = (&self.outgoing.body, Handshake::Runner);
        let opened = call.establish(message, handshake, &mut self.tried).await?;
        self.token = opened.token.or(self.token.take());
        let streams = &call.worker.edge.streams;
        streams.wait_until_heard(call.session.id, call.server, &opened.node.id).await;
        Ok(opened.node)
    }

    fn answered(&self, response: Response<Body>) -> Attempt {
        self.call.note_setting(&response);
        Attempt::Answered(response)
    }

    /// Decides after a runner has answered in the server's place.
    async fn not_answered(
        &mut self,
        node: &Node,
        was_open: bool,
        outcome: Outcome,
        response: Response<Body>,
    ) -> Result<Attempt, Refusal> {
        let call = self.call;
        match outcome {
            Outcome::UnknownSession
                if (was_open || call.session.is_single_server) && call.ends_at_once() =>
            {
                Err(call.end_lost().await)
            }
            Outcome::UnknownSession => {
                self.recovers(Recovery::Instance);
                call.open_again(node, &mut self.tried).await?;
                let why = "its session was lost and could not be opened again";
                Ok(Attempt::Again(why.to_owned()))
            }
            Outcome::NotSent => {
                let refused = not_opened(node, response).await;
                let why = refused.reason.clone();
                self.tried.failed(&node.id, refused);
                Ok(Attempt::Again(why))
            }
            Outcome::Sent if self.may_repeat().await => {
                Ok(Attempt::Again("the server's connection broke twice during the call".to_owned()))
            }
            Outcome::Sent => Ok(self.answered(response)),
        }
    }

    /// Decides after the exchange itself has failed.
    async fn failed(&mut self, node: &Node, failure: Failure) -> Result<Attempt, Refusal> {
        let call = self.call;
        let why = match failure {
            Failure::Short(why) => return Err(Refusal::short(call.server, why)),
            Failure::NotSent(why) => {
                call.worker.suspect(&node.id, &why);
                if self.is_asked_again() {
                    return Ok(Attempt::Again(why));
                }
                call.report_refusal(node, &self.tried.nodes, &why);
                why
            }
            Failure::Broken(why) => {
                call.worker.suspect(&node.id, &why);
                if !self.may_repeat().await {
                    // It expects no answer, and nobody could send it again.
                    if self.outgoing.expects_nothing() {
                        return Ok(Attempt::Answered(accepted()));
                    }
                    return Err(Refusal::Lost { server: call.server.clone(), why });
                }
                if self.is_asked_again() {
                    // If it breaks there again, another node may still have it.
                    self.is_repeated = false;
                    return Ok(Attempt::Again(why));
                }
                why
            }
        };
        self.tried.failed(&node.id, why.clone().into());
        Ok(Attempt::Again(why))
    }

    fn recovers(&self, how: Recovery) {
        self.call.worker.edge.metrics.recovered(how);
    }

    /// Whether the node that holds the session is asked once more before the session leaves it, and
    /// its state with it: one connection may fail by accident. True at most once in a delivery. A
    /// node that is suspect is asked on a new connection, and one that is silent is not asked.
    fn is_asked_again(&mut self) -> bool {
        !std::mem::replace(&mut self.is_second, true)
    }

    /// Whether a message that may have run is sent once more. True once at the session's node, and
    /// once at another one.
    async fn may_repeat(&mut self) -> bool {
        let may = !self.is_repeated && self.call.is_safe_to_repeat(self.outgoing).await;
        if may {
            self.recovers(Recovery::Repeated);
        }
        self.is_repeated |= may;
        may
    }
}
