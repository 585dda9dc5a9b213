//! One discovery: opens the server, reads what it offers and closes it.
//!
//! A server that ends while it is read is opened again for the lists that are left: it may end at
//! one of them each time, and offer the others all the same.

use std::sync::Arc;

use crate::model::ServerName;
use crate::net::Pool;
use crate::protocol::initialize::{self, ClientSet};
use crate::protocol::methods::List;
use crate::runner::admission::open_error::OpenError;
use crate::runner::bridge::setting::EraSetting;
use crate::runner::session::instance::Instance;
use crate::runner::session::open;
use crate::runner::session::opening::Opening;
use crate::runner::session::resources::Resources;
use crate::runner::session::served::Served;
use crate::seam::Handshake;

use super::gathered::Gathered;
use super::read_lists::read_lists;

/// Times that a server is opened for one discovery.
const OPENINGS: usize = 5;

/// What is to be discovered.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub server: &'a ServerName,
    pub served: &'a Arc<Served>,
    pub set: ClientSet,
    /// The extensions of the set, as JSON.
    pub extensions: Option<&'a str>,
}

/// Reads what the server offers. `early` is called with what is known while the rest takes long.
///
/// # Errors
/// If it cannot be opened, or nothing can be read of it.
pub async fn discover(
    subject: Subject<'_>,
    pool: &Pool,
    resources: &Resources,
    mut early: impl FnMut(&Gathered),
) -> Result<Gathered, OpenError> {
    let mut gathered = Gathered::of(subject.served.era == EraSetting::Both);
    let mut suspect = None;
    for opening in 0..OPENINGS {
        let instance = match open_one(subject, pool, resources).await {
            Ok(instance) => instance,
            // What was read before counts.
            Err(error) if gathered.has_entries() => {
                gathered.note(format!("not all of its lists were read: {error}"));
                break;
            }
            Err(error) => return Err(error),
        };
        let asked = gathered.wanted();
        read_lists(&instance, pool, &mut gathered, &mut early).await;
        let has_ended = instance.has_ended();
        instance.close(pool).await;
        if !has_ended {
            return Ok(gathered);
        }
        if opening + 1 == OPENINGS || !goes_on(&mut gathered, &asked, &mut suspect) {
            break;
        }
    }
    // Answers of a server that is going away do not show that it offers nothing.
    if gathered.has_entries() {
        return Ok(gathered);
    }
    let why = gathered.flaws().into_iter().next();
    let reason = why.unwrap_or_else(|| "it ended while its lists were read".to_owned());
    Err(OpenError::Start { server: subject.server.clone(), reason })
}

/// Whether another opening may read more. The server has ended at the first list that broke off;
/// if it does so twice, it is not asked for that one again.
fn goes_on(gathered: &mut Gathered, asked: &[List], suspect: &mut Option<List>) -> bool {
    let asked = if asked.is_empty() { gathered.began_with() } else { asked.to_vec() };
    let mut cut: Vec<List> = asked.into_iter().filter(|list| gathered.is_cut(*list)).collect();
    if cut.is_empty() {
        return false;
    }
    let culprit = cut.remove(0);
    cut.iter().for_each(|list| gathered.put_off(*list));
    if suspect.replace(culprit) == Some(culprit) {
        return !cut.is_empty();
    }
    // Last, so that it costs the others nothing.
    gathered.put_off(culprit);
    true
}

async fn open_one(
    subject: Subject<'_>,
    pool: &Pool,
    resources: &Resources,
) -> Result<Instance, OpenError> {
    let Subject { server, served, set, extensions } = subject;
    let params = initialize::own_params(set, extensions);
    let forwarded = http::HeaderMap::new();
    let opening = Opening {
        params: params.as_bytes(),
        handshake: Handshake::Runner,
        forwarded: &forwarded,
        owner: None,
    };
    open::open(server, served, opening, pool, resources).await
}
