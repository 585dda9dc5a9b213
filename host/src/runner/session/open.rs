//! Opens a session at a server, in the era and the revision that it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::{methods, own_id};
use crate::runner::admission::open_error::OpenError;
use crate::runner::admission::starts::Opener;
use crate::runner::bridge::discover::NotDiscovered;
use crate::runner::bridge::eras::Verdict;
use crate::runner::bridge::setting::EraSetting;
use crate::runner::channel::answer;

use super::instance::{Backend, Instance};
use super::modern_opening::ModernOpening;
use super::opening::{Opening, SessionStart, primes};
use super::resources::Resources;
use super::revision::{Asking, asked_in, may_be_modern};
use super::served::{Recipe, Served};
use super::server_start::ServerStart;

/// Starts the server and opens its session with the client's parameters. One that may have no
/// sessions is asked whether it serves the revision without them, unless its entry says so.
///
/// # Errors
/// Why the session could not be opened.
pub async fn open(
    server: &ServerName,
    served: &Arc<Served>,
    opening: Opening<'_>,
    pool: &Pool,
    resources: &Resources,
) -> Result<Instance, OpenError> {
    let eras = &resources.eras;
    let start = SessionStart { server, served, opening, pool, resources };
    let is_auto = served.era == EraSetting::Auto;
    let known = if is_auto { eras.known(server, served) } else { None };
    if served.era == EraSetting::Modern || known == Some(Verdict::Modern) {
        match Box::pin(start.modern(false)).await {
            Ok(instance) => return Ok(instance),
            Err(NotDiscovered::Open(error)) => return Err(error),
            // It has been replaced by one that has sessions.
            Err(NotDiscovered::OtherEra(_)) if is_auto => eras.doubt(server),
            Err(NotDiscovered::OtherEra(reason)) => {
                let reason = format!("server/discover: {reason}");
                return Err(OpenError::Start { server: server.clone(), reason });
            }
        }
    }
    let probes = is_auto && known != Some(Verdict::Legacy);
    let looks_modern = AtomicBool::new(false);
    let error = match start.legacy(probes, &looks_modern).await {
        Ok(instance) => return Ok(instance),
        Err(error) => error,
    };
    if !probes || !looks_modern.load(Ordering::Relaxed) {
        return Err(error);
    }
    match Box::pin(start.modern(true)).await {
        Ok(instance) => {
            tracing::info!(server = %server, "the server opens no sessions, and is used without; set its \"era\" to \"modern\" to skip the attempt");
            eras.note(server, served, Verdict::Modern);
            Ok(instance)
        }
        // It wants a token before it says anything.
        Err(NotDiscovered::Open(error)) if error.wants_token() => Err(error),
        Err(not_discovered) => {
            tracing::debug!(server = %server, "server/discover: {not_discovered}");
            let is_shown = matches!(not_discovered, NotDiscovered::OtherEra(_))
                || matches!(served.recipe, Recipe::Stdio(_));
            if is_shown {
                eras.note(server, served, Verdict::Legacy);
            }
            if matches!(served.recipe, Recipe::Stdio(_)) {
                // The question took a process, too.
                start.resources.starts.probed_in_vain(server, &error.to_string());
            }
            Err(error)
        }
    }
}

impl SessionStart<'_> {
    /// Opens a session of the server's own, in the revision that it takes.
    async fn legacy(&self, probes: bool, looks_modern: &AtomicBool) -> Result<Instance, OpenError> {
        let Self { server, served, opening, pool, resources } = *self;
        let wanted = Bytes::copy_from_slice(opening.params);
        let mut asking = Asking::of(server, wanted, &resources.revisions);
        asking.probes = probes;
        loop {
            let opening = Opening { params: &asking.params, ..opening };
            let asking_now = &asking;
            let start = ServerStart {
                server,
                served,
                opening,
                asking: asking_now,
                looks_modern,
                pool,
                resources,
            };
            let error = match start.run_in_time().await {
                Ok(instance) => {
                    self.note_opened();
                    asking.granted();
                    return Ok(instance);
                }
                Err(error) => error,
            };
            self.note_token(&error);
            let OpenError::Refused { reason, .. } = &error else {
                asking.given_up();
                return Err(error);
            };
            if may_be_modern(reason) {
                looks_modern.store(true, Ordering::Relaxed);
            }
            if !asking.asks_again(reason) {
                return Err(error);
            }
        }
    }

    /// Plays a session at a server that has none.
    async fn modern(&self, is_trial: bool) -> Result<Instance, NotDiscovered> {
        let Self { server, served, opening, pool, resources } = *self;
        let is_remote = !matches!(served.recipe, Recipe::Stdio(_));
        let opener = if opening.owner.is_some() { Opener::Client } else { Opener::Gateway };
        let attempt = match is_remote && !is_trial {
            true => {
                let began = resources.starts.begin_elsewhere(server).await;
                let paused = |pause| OpenError::Paused { server: server.clone(), pause };
                Some(began.map_err(paused)?)
            }
            false => None,
        };
        let revision = asked_in(opening.params).unwrap_or_default();
        let modern = ModernOpening {
            server,
            served,
            params: opening.params,
            revision: &revision,
            forwarded: opening.forwarded,
            owner: opening.owner,
            terms: self.terms(),
            pool,
            resources,
            is_trial,
        };
        let bridged = match modern.run().await {
            Ok(bridged) => bridged,
            Err(error) => {
                if let NotDiscovered::Open(error) = &error {
                    self.note_token(error);
                }
                return Err(error);
            }
        };
        match attempt {
            Some(attempt) => attempt.opened_elsewhere(opener),
            // What it has refused before counts no more.
            None if is_remote => {
                resources.starts.lives(server, Duration::MAX, true);
                resources.starts.reached(server);
            }
            None => {}
        }
        self.note_opened();
        let params = String::from_utf8_lossy(opening.params);
        let message = jsonrpc::request(own_id::OPENING, methods::INITIALIZE, &params);
        let failed = |reason: String| OpenError::Start { server: server.clone(), reason };
        let envelope = Envelope::parse(&message).map_err(|error| failed(error.to_string()))?;
        let response = bridged.pipe().post(message.clone(), &envelope, true).await;
        let result =
            answer::result_of(response).await.map_err(|error| failed(error.to_string()))?;
        bridged.pipe().may_prime(primes(&result));
        Ok(self.instance(Backend::Bridged(bridged), result).await)
    }
}
