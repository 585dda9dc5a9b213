//! What a server sends outside of requests: the session's GET stream carries it, as if the server
//! had sent it there by itself (2026-07-28, basic/patterns/subscriptions).
//!
//! A change of the resources opens another subscription first, and then ends the one before, so that
//! nothing is missed between the two. After a break lists and resources may have changed unseen, which
//! is told.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::protocol::era::answered::{acknowledged, notice_params};
use crate::protocol::era::methods::{ACKNOWLEDGED, LISTEN};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::methods::{self, List};
use crate::protocol::splice::quoted;

use super::exchange::Heard;
use super::server::Exchange;
use super::talk::{Acknowledged, Talk, Turn};

/// First pause before a subscription that broke is opened again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The doubling stops here.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// A subscription that has lasted for so long makes the next pause a short one.
const LASTED: Duration = Duration::from_secs(10);
/// Longest wait for an acknowledgement while an earlier subscription is kept for it, and until a
/// client is told that it has subscribed.
const ACKNOWLEDGES: Duration = Duration::from_secs(2);

/// Listens for as long as the session lasts.
pub async fn listen(talk: &Talk) {
    let mut wanted = talk.subscribed.subscribe();
    let mut pause = FIRST_PAUSE;
    let mut before: Option<Exchange> = None;
    let mut was_broken = false;
    loop {
        let uris = wanted.borrow_and_update().clone();
        if uris.is_empty() && !talk.announced.has_lists() {
            before = None;
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let opened = Instant::now();
        let subscription = open(talk, &uris, before.take(), was_broken).await;
        let Some(mut subscription) = subscription else { return };
        let end = tokio::select! {
            biased;
            end = subscription.read() => end,
            changed = wanted.changed() => match changed {
                Ok(()) => End::Changed,
                Err(_) => return,
            },
        };
        match end {
            End::Changed => {
                before = Some(subscription.now);
                was_broken = false;
            }
            // It has said why, and would say it again.
            End::Refused => {
                talk.acknowledged.send_replace(Acknowledged { asked: uris, honoured: None });
                if wanted.changed().await.is_err() {
                    return;
                }
                was_broken = false;
            }
            End::Broken => {
                let lasted = opened.elapsed() > LASTED;
                pause = if lasted { FIRST_PAUSE } else { pause };
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
                was_broken = true;
            }
        }
    }
}

/// Subscribes the session to a resource, or ends that. Returns an error's text if the server does
/// not tell of the resource.
pub async fn subscribe(talk: &Talk, uri: &str, is_wanted: bool) -> Result<(), String> {
    let mut heard = talk.acknowledged.subscribe();
    let changes = talk.subscribed.send_if_modified(|uris| match is_wanted {
        true => uris.insert(uri.to_owned()),
        false => uris.remove(uri),
    });
    if !is_wanted || !changes {
        return Ok(());
    }
    let answered = heard.wait_for(|heard| heard.asked.contains(uri));
    let Ok(Ok(heard)) = tokio::time::timeout(ACKNOWLEDGES, answered).await else { return Ok(()) };
    let is_told_of = match &heard.honoured {
        Some(honoured) => honoured.iter().any(|honoured| honoured == uri),
        None => false,
    };
    drop(heard);
    if is_told_of {
        return Ok(());
    }
    talk.subscribed.send_if_modified(|uris| uris.remove(uri));
    Err(format!("the server does not tell of changes of {uri}"))
}

enum End {
    /// Other resources are wanted.
    Changed,
    /// The server has answered with an error.
    Refused,
    Broken,
}

/// A subscription that is open, and the one before, until this one is acknowledged.
struct Subscription<'a> {
    talk: &'a Talk,
    asked: BTreeSet<String>,
    now: Exchange,
    before: Option<Exchange>,
    /// Until when the one before is kept.
    kept_until: Instant,
    was_broken: bool,
}

async fn open<'a>(
    talk: &'a Talk,
    uris: &BTreeSet<String>,
    before: Option<Exchange>,
    was_broken: bool,
) -> Option<Subscription<'a>> {
    let params = params(talk, uris);
    let params: &RawValue = serde_json::from_str(&params).ok()?;
    let turn = Turn {
        method: LISTEN,
        params: Some(params),
        wants_progress: false,
        answers: None,
        state: None,
    };
    let now = talk.send(turn).await?;
    let kept_until = Instant::now() + ACKNOWLEDGES;
    Some(Subscription { talk, asked: uris.clone(), now, before, kept_until, was_broken })
}

fn params(talk: &Talk, uris: &BTreeSet<String>) -> String {
    let announced = talk.announced;
    let mut wanted = Vec::new();
    let flags = [
        (announced.tools, "toolsListChanged"),
        (announced.prompts, "promptsListChanged"),
        (announced.resources, "resourcesListChanged"),
    ];
    wanted.extend(flags.iter().filter(|(is, _)| *is).map(|(_, name)| format!("\"{name}\":true")));
    if !uris.is_empty() {
        let uris: Vec<String> = uris.iter().map(|uri| quoted(uri)).collect();
        wanted.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
    }
    format!("{{\"notifications\":{{{}}}}}", wanted.join(","))
}

impl Subscription<'_> {
    /// Passes on what comes, until it ends.
    async fn read(&mut self) -> End {
        loop {
            let until = self.kept_until;
            let (heard, is_before) = tokio::select! {
                biased;
                heard = next_of(&mut self.before) => (heard, true),
                heard = self.now.next() => (heard, false),
                () = tokio::time::sleep_until(until), if self.before.is_some() => {
                    self.before = None;
                    continue;
                }
            };
            match heard {
                Heard::Notice(notice) => self.pass(&notice, is_before),
                Heard::Answer(_) | Heard::Failed(_) if is_before => self.before = None,
                Heard::Answer(answer) => {
                    let is_error =
                        Envelope::parse(&answer).is_ok_and(|answer| answer.error.is_some());
                    return if is_error { End::Refused } else { End::Broken };
                }
                Heard::Failed(_) => return End::Broken,
            }
        }
    }

    fn pass(&mut self, notice: &Bytes, is_before: bool) {
        let Ok(envelope) = Envelope::parse(notice) else { return };
        if envelope.kind() != Kind::Notification {
            return;
        }
        let method = envelope.method();
        if method == ACKNOWLEDGED {
            if !is_before {
                self.acknowledge(&envelope);
            }
            return;
        }
        // Nothing else may come here.
        if !methods::is_list_changed(method) && method != methods::UPDATED {
            return;
        }
        self.talk.hand(match notice_params(envelope.params) {
            Some(params) => jsonrpc::notification_with(method, &params),
            None => jsonrpc::notification(method),
        });
    }

    fn acknowledge(&mut self, envelope: &Envelope<'_>) {
        self.before = None;
        let honoured = acknowledged(envelope.params);
        let told_of: Vec<String> =
            self.asked.iter().filter(|uri| honoured.contains(uri)).cloned().collect();
        let (asked, honoured) = (self.asked.clone(), Some(honoured));
        self.talk.acknowledged.send_replace(Acknowledged { asked, honoured });
        if !std::mem::take(&mut self.was_broken) {
            return;
        }
        let announced = self.talk.announced;
        for (is_announced, list) in [
            (announced.tools, List::Tools),
            (announced.prompts, List::Prompts),
            (announced.resources, List::Resources),
        ] {
            if is_announced {
                self.talk.hand(jsonrpc::notification(list.changed()));
            }
        }
        for uri in told_of {
            let params = format!("{{\"uri\":{}}}", quoted(&uri));
            self.talk.hand(jsonrpc::notification_with(methods::UPDATED, &params));
        }
    }
}

/// What comes next of an exchange that may not be there; never, if it is not.
async fn next_of(exchange: &mut Option<Exchange>) -> Heard {
    match exchange {
        Some(exchange) => exchange.next().await,
        None => std::future::pending().await,
    }
}
