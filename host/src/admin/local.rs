//! The runner of this process, described in the cluster's types.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::cluster::{
    ErrorReport, InstancePage, InstanceQuery, InstanceReport, LogEvent, MOST_ERRORS, RunnerView,
    ServerHealth, Since, StderrLine,
};
use crate::model::{NodeId, ServerName};
use crate::runner::{self, InstanceView, Line, Said, ServerState, usage};

/// Bytes of one stderr line in a list of instances; the log has the whole line.
const SHOWN: usize = 256;
/// Bytes of the reason why a server does not run; a longer one is cut.
const ERROR: usize = 1024;
/// Session ids that a list names for one shared instance; it counts all of them.
const SESSIONS: usize = 100;

pub struct Local {
    pub runner: Arc<runner::SharedRunner>,
    pub node: NodeId,
}

impl RunnerView for Local {
    fn instances(&self, look: InstanceQuery) -> BoxFuture<'static, InstancePage> {
        let seen = self.runner.look(look.server.as_ref());
        let mut instances: Vec<InstanceReport> =
            seen.into_iter().map(|seen| report(seen, &self.node, look.lines)).collect();
        instances.sort_by_key(InstanceReport::place);
        if let Some(after) = &look.after {
            instances.retain(|instance| instance.place() > *after);
        }
        let (servers, mut errors) = match &look.after {
            Some(_) => (Vec::new(), Vec::new()),
            None => (self.servers(look.server.as_ref()), self.errors(look.server.as_ref())),
        };
        let more_errors = errors.len().saturating_sub(MOST_ERRORS) as u64;
        errors.truncate(MOST_ERRORS);
        let more = instances.len() > look.limit;
        instances.truncate(look.limit);
        Box::pin(async move {
            measure(&mut instances).await;
            InstancePage { instances, more, servers, errors, more_errors }
        })
    }

    fn hosts(&self, server: &ServerName) -> bool {
        self.runner.has(server)
    }

    fn log(&self, server: ServerName, since: Since, follow: bool) -> BoxStream<'static, LogEvent> {
        let journal = self.runner.journal();
        let (lost, last, next) = match since {
            Since::Last(lines) => {
                let (last, next) = journal.listen(&server, lines);
                (0, last, next)
            }
            Since::After(number) => journal.listen_after(&server, number),
        };
        let node = self.node.to_string();
        let named = node.clone();
        let gap = (lost > 0).then(|| LogEvent::Lost { lost, node: node.clone() });
        let last = last.into_iter().map(move |said| event(said, &named));
        let last = stream::iter(gap.into_iter().chain(last));
        if follow { last.chain(following(next, node)).boxed() } else { last.boxed() }
    }
}

impl Local {
    fn servers(&self, only: Option<&ServerName>) -> Vec<ServerHealth> {
        let states = self.runner.states().into_iter();
        let asked = states.filter(|(server, _)| only.is_none_or(|only| only == server));
        asked
            .map(|(server, state)| ServerHealth {
                server: server.to_string(),
                node: self.node.to_string(),
                ..health(&state)
            })
            .collect()
    }

    /// The errors of servers, those that came most often first.
    fn errors(&self, only: Option<&ServerName>) -> Vec<ErrorReport> {
        let counted = self.runner.errors();
        let asked = counted.iter().filter(|(server, _)| only.is_none_or(|only| only == *server));
        let mut errors: Vec<ErrorReport> = asked
            .flat_map(|(server, counts)| {
                counts.each().map(|(emitter, kind, count)| ErrorReport {
                    server: server.to_string(),
                    emitter: emitter.as_str().to_owned(),
                    kind: kind.as_str().to_owned(),
                    count,
                })
            })
            .collect();
        errors.sort_by_key(|error| std::cmp::Reverse(error.count));
        errors
    }
}

/// The state of a server, without its name and node.
pub fn health(state: &ServerState) -> ServerHealth {
    let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    ServerHealth {
        status: state.status.as_str().to_owned(),
        failures: state.failures,
        next_attempt_ms: state.next_attempt.map(millis),
        last_error: state.last_error.as_deref().map(|text| beginning(text, ERROR)),
        flaws: state.flaws.iter().map(|text| beginning(text, ERROR)).collect(),
        ..ServerHealth::default()
    }
}

fn report(seen: InstanceView, node: &NodeId, lines: usize) -> InstanceReport {
    let skipped = seen.stderr.len().saturating_sub(lines);
    InstanceReport {
        server: seen.server.to_string(),
        node: node.to_string(),
        pid: seen.pid,
        transport: seen.transport.to_owned(),
        state: seen.phase.as_str().to_owned(),
        session_count: seen.sessions.len(),
        sessions: seen.sessions.iter().take(SESSIONS).map(|session| session.short()).collect(),
        started_at: seen.opened_at.0,
        last_used: seen.last_used.0,
        rss_bytes: None,
        cpu_ms: None,
        restarts: seen.restarts,
        stderr: seen.stderr.iter().skip(skipped).map(shown).collect(),
    }
}

fn shown(line: &Line) -> StderrLine {
    StderrLine { at: line.at.0, text: beginning(&line.text, SHOWN) }
}

fn beginning(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}

/// Reads memory and CPU time of the servers of a page, off the worker's thread.
async fn measure(instances: &mut [InstanceReport]) {
    let pids: Vec<u32> = instances.iter().filter_map(|instance| instance.pid).collect();
    if pids.is_empty() {
        return;
    }
    // If the task fails, no usage is known.
    let used = tokio::task::spawn_blocking(move || usage::of(&pids)).await.unwrap_or_default();
    for instance in instances {
        let usage = instance.pid.and_then(|pid| used.get(&pid));
        instance.rss_bytes = usage.map(|usage| usage.rss_bytes);
        instance.cpu_ms = usage.map(|usage| usage.cpu_ms);
    }
}

fn following(
    next: broadcast::Receiver<Said>,
    node: String,
) -> impl stream::Stream<Item = LogEvent> + Send {
    stream::unfold((next, node), |(mut next, node)| async move {
        let event = match next.recv().await {
            Ok(said) => event(said, &node),
            Err(RecvError::Lagged(lost)) => LogEvent::Lost { lost, node: node.clone() },
            Err(RecvError::Closed) => return None,
        };
        Some((event, (next, node)))
    })
}

fn event(said: Said, node: &str) -> LogEvent {
    let Said { number, pid, line: Line { at, text } } = said;
    let (node, text) = (node.to_owned(), text.as_ref().to_owned());
    LogEvent::Line { at: at.0, node, pid, text, number }
}
