//! Opens a server whose state comes along, and brings the state back before the client's messages
//! reach it.
//!
//! What is done runs on a task of its own: it goes on if the client leaves. The new instance is held
//! meanwhile, so that every message of the client meets this opening and waits for its end, which
//! comes within the plan's time.

use std::sync::Arc;

use tokio::time::Instant;

use crate::edge::delivery::call::Call;
use crate::edge::delivery::open::{NodeOpened, OpenedAt};
use crate::edge::delivery::tried::NotOpened;
use crate::model::{Node, StateAction, StatePlan, UnixMillis};
use crate::seam::{Handshake, Start, StateStep};
use crate::store::{KeptCall, OthersLogs, SavedState, StateLog};

use super::arguments::{self, SavedValue};
use super::kept_state::bounds;
use super::outcome::Restored;
use super::steps::StepResult;

/// Instances that may end while one state is brought back to them. A call during which one has ended
/// is not repeated again.
const MAX_STARTS: usize = 4;

/// How a restoration at one instance ended.
enum BroughtBack {
    Done(Restored),
    /// The server has ended during this step.
    ServerLost(Restored),
    NodeLost(String),
}

/// What all coordinators keep.
fn with_others(mut own: StateLog, others: &OthersLogs, plan: &StatePlan) -> StateLog {
    if !others.logs.is_empty() {
        own.take_over(&others.own, &others.logs, &bounds(plan));
    }
    own
}

impl Call<'_> {
    /// Opens the server at one node, and brings its state back if it was started there.
    pub(in crate::edge) async fn open_with_state(
        &self,
        node: &Node,
        plan: Arc<StatePlan>,
    ) -> Result<NodeOpened, NotOpened> {
        let Self { worker, session, server, .. } = *self;
        let edge = &worker.edge;
        let turn = Arc::new(edge.state.turns.enter(session.id, server).await);
        edge.state.states.load(session.id).await;
        let own = edge.state.states.look(session.id, server, Clone::clone).unwrap_or_default();
        let was_open = self.was_open() || !own.is_empty();
        let others = match was_open {
            true => self.kept_elsewhere().await,
            false => Some(OthersLogs::default()),
        };
        let elsewhere = others.is_none();
        let others = others.unwrap_or_default();
        let has_state = !with_others(own, &others, &plan).is_empty();
        let is_all = !elsewhere && edge.state.states.knows_since(session.minted_at);
        let mut failed_before = Restored { elsewhere, ..Restored::default() };
        for _ in 0..MAX_STARTS {
            let hold = has_state.then_some(StateStep::Hold);
            if was_open && !has_state {
                // Nothing holds the new instance: those who hear of it may ask at once.
                let nothing = is_all.then(|| Arc::new(Restored::default()));
                edge.state.outcomes.keep(session.id, server, nothing);
            }
            let opened = self.open_at(node, Handshake::Runner, hold).await?;
            let OpenedAt { result, start, epoch } = opened;
            if start == Start::Existing {
                self.note_open(node, epoch).await?;
                return Ok(NodeOpened { result, is_lost: false, epoch });
            }
            let restored = match has_state {
                true => {
                    self.change_log(|log| *log = with_others(std::mem::take(log), &others, &plan));
                    // Whoever comes next finds what was taken over.
                    self.join_keepers().await;
                    // Taken by the task, so that nobody begins another one before its end.
                    let turn = Arc::clone(&turn);
                    match self.bring_back_beside(node, &plan, failed_before, turn).await? {
                        BroughtBack::Done(restored) => restored,
                        BroughtBack::ServerLost(so_far) => {
                            failed_before = so_far;
                            continue;
                        }
                        BroughtBack::NodeLost(why) => {
                            worker.suspect(&node.id, &why);
                            return Err(format!("node {}: {why}", node.id).into());
                        }
                    }
                }
                false => {
                    self.restore_settings(node, None).await;
                    Restored::default()
                }
            };
            // Of a session from before this process nothing may be known.
            let is_whole = (has_state || is_all) && restored.is_whole();
            if was_open && !has_state {
                self.report_loss();
            }
            self.note_open(node, epoch).await?;
            return Ok(NodeOpened { result, is_lost: was_open && !is_whole, epoch });
        }
        Err("the server has ended each time its state was brought back".to_owned().into())
    }

    async fn bring_back_beside(
        &self,
        node: &Node,
        plan: &Arc<StatePlan>,
        failed_before: Restored,
        turn: Arc<super::turns::RestorationTurn>,
    ) -> Result<BroughtBack, NotOpened> {
        let (worker, session) = (self.worker.clone(), self.session.clone());
        let (server, node, plan) = (self.server.clone(), node.clone(), Arc::clone(plan));
        let task = tokio::spawn(async move {
            let call = Call::own(&worker, &session, &server);
            let brought = call.bring_back(&node, &plan, failed_before).await;
            drop(turn);
            brought
        });
        task.await.map_err(|error| error.to_string().into())
    }

    /// Restores what was saved, repeats the kept calls, and sets what the client has set.
    async fn bring_back(
        &self,
        node: &Node,
        plan: &StatePlan,
        mut restored: Restored,
    ) -> BroughtBack {
        let deadline = Instant::now() + plan.timeout;
        let log = self.log_to_restore(plan, &mut restored);
        if let Some(saved) = &log.saved {
            match self.restore_saved(node, plan, saved, deadline).await {
                StepResult::Done(_) => restored.saved_at = Some(saved.at.iso8601()),
                StepResult::Failed(why) => restored.failed("what it had saved", &why),
                StepResult::ServerLost => {
                    // It is not tried again: the server might end each time.
                    restored.failed("what it had saved", "the server ended when it was restored");
                    self.change_log(|log| log.saved = None);
                    return BroughtBack::ServerLost(restored);
                }
                StepResult::NodeLost(why) => return BroughtBack::NodeLost(why),
            }
        }
        restored.repeated = 0;
        for call in log.calls() {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                restored.untried += 1;
                continue;
            }
            match self.tool_step(StateStep::Own, node, &call.params, patience).await {
                StepResult::Done(_) => restored.repeated += 1,
                StepResult::Failed(_) if call.was_error => restored.repeated += 1,
                StepResult::Failed(why) => restored.failed(&call.tool, &why),
                StepResult::ServerLost => {
                    restored.failed(&call.tool, "the server ended when it was repeated");
                    self.forget_call(call);
                    return BroughtBack::ServerLost(restored);
                }
                StepResult::NodeLost(why) => return BroughtBack::NodeLost(why),
            }
        }
        self.restore_settings(node, Some(StateStep::Own)).await;
        // Before anybody meets the new instance, and could say that all is lost.
        let outcome = Some(Arc::new(restored.clone()));
        self.worker.edge.state.outcomes.keep(self.session.id, self.server, outcome);
        self.report_loss();
        if let Err(failure) = self.release(node).await {
            return BroughtBack::NodeLost(failure.to_string());
        }
        self.change_log(StateLog::begin_anew);
        let metrics = &self.worker.edge.metrics;
        match restored.is_whole() {
            true => metrics.state_restored(),
            false => metrics.state_failed(),
        }
        BroughtBack::Done(restored)
    }

    /// A copy of the log, and what it does not have.
    fn log_to_restore(&self, plan: &StatePlan, restored: &mut Restored) -> StateLog {
        let bounds = bounds(plan);
        let log = self.change_log(|log| {
            log.expire(UnixMillis::now(), &bounds);
            log.clone()
        });
        restored.dropped = log.dropped;
        restored.unsaved = log.unsaved;
        restored.unsettled.clone_from(&log.unsettled);
        restored.untried = 0;
        log
    }

    fn change_log<T>(&self, change: impl FnOnce(&mut StateLog) -> T) -> T {
        self.worker.edge.state.states.change(self.session.id, self.server, change)
    }

    fn forget_call(&self, call: &KeptCall) {
        self.change_log(|log| log.remove(call));
    }

    async fn restore_saved(
        &self,
        node: &Node,
        plan: &StatePlan,
        saved: &SavedState,
        deadline: Instant,
    ) -> StepResult {
        let value = match saved.is_result {
            true => SavedValue::of_result(&saved.bytes),
            false => Some(SavedValue::of_text(String::from_utf8_lossy(&saved.bytes).into_owned())),
        };
        let Some(value) = value else {
            return StepResult::Failed("it cannot be read".to_owned());
        };
        let session = self.session.id.to_string();
        let mut last = StepResult::Done(saved.bytes.clone());
        for action in plan.saving.iter().flat_map(|saving| &saving.restore) {
            let patience = deadline.saturating_duration_since(Instant::now());
            last = match action {
                StateAction::Tool { name, arguments } => {
                    match arguments::call_of(name, arguments, &session, Some(&value)) {
                        Ok(params) => self.tool_step(StateStep::Own, node, &params, patience).await,
                        Err(why) => StepResult::Failed(why),
                    }
                }
                StateAction::Command => {
                    let input = match saved.is_result {
                        true => value.text().to_owned().into(),
                        false => saved.bytes.clone(),
                    };
                    self.program_step(StateStep::Restore, node, input, patience).await
                }
            };
            if !matches!(last, StepResult::Done(_)) {
                break;
            }
        }
        last
    }
}
