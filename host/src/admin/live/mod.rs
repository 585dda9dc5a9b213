//! `GET /api/events`: what this process and its cluster are like, as a stream of differences.
//!
//! One task looks once a second, and only while somebody reads. Each reader gets everything first
//! and then what has changed since its last event: one that reads slowly gets fewer events, not
//! older ones.

mod counters;
mod difference;
mod limited;
mod log_lines;
mod nodes;
mod servers;
mod view;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{StatusCode, header};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::cluster::{self, InstanceQuery, MOST_INSTANCES, Overview};
use crate::model::{Rights, visible};
use crate::protocol::{headers, sse};
use crate::seam::Link;
use crate::sync::Locked;

use super::Admin;
use super::answer::ApiAnswer;
use super::extract::AdmittedCaller;

use self::counters::Rates;
use self::difference::{LiveState, difference};
use self::limited::limited;

pub use log_lines::{LOG, LogLines};

/// Streams that are open at the same time.
const MOST_READERS: usize = 16;
/// Time between two looks.
const TICK: Duration = Duration::from_secs(1);
/// Time between two questions to all nodes about their instances.
const ASK: Duration = Duration::from_secs(2);
/// Silence after which a stream gets a comment, so that its reader can tell a quiet gateway from a
/// broken connection.
const BEAT: Duration = Duration::from_secs(5);
/// After this time a stream ends, so that its key is checked again.
const LONGEST: Duration = Duration::from_secs(600);

/// What the readers share.
pub struct Live {
    readers: Arc<Semaphore>,
    /// Notified by a new reader.
    comes: Notify,
    state: watch::Sender<Arc<LiveState>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            readers: Arc::new(Semaphore::new(MOST_READERS)),
            comes: Notify::new(),
            state: watch::Sender::default(),
        }
    }
}

impl Live {
    fn is_read(&self) -> bool {
        self.readers.available_permits() < MOST_READERS
    }
}

/// Looks for as long as the process runs, while somebody reads.
pub async fn watch_for_readers(admin: Arc<Admin>, link: Link) {
    let live = &admin.live;
    loop {
        live.comes.notified().await;
        let asked = Locked::new(None);
        tokio::select! {
            () = publish(&admin, &asked) => {}
            () = ask(&admin, &link, &asked) => {}
        }
        // What nobody reads need not be kept.
        live.state.send_replace(Arc::default());
    }
}

/// Publishes what is seen, until nobody reads.
async fn publish(admin: &Admin, asked: &Locked<Option<Arc<Overview>>>) {
    let mut timer = tokio::time::interval(TICK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rates = Rates::default();
    loop {
        timer.tick().await;
        if !admin.live.is_read() {
            return;
        }
        let overview = asked.lock().clone();
        let state = view::look(admin, overview.as_deref(), rates.look(admin));
        admin.live.state.send_replace(Arc::new(state));
    }
}

/// Asks all nodes what runs there, again and again.
async fn ask(admin: &Admin, link: &Link, asked: &Locked<Option<Arc<Overview>>>) {
    loop {
        let look = InstanceQuery { server: None, after: None, limit: MOST_INSTANCES, lines: 0 };
        let overview = cluster::overview_of_all(&admin.registry, &admin.view, link, look).await;
        *asked.lock() = Some(Arc::new(overview));
        tokio::time::sleep(ASK).await;
    }
}

/// One reader of the stream.
struct LiveReader {
    states: watch::Receiver<Arc<LiveState>>,
    /// What it may see; `None` if that is everything.
    rights: Option<Arc<Rights>>,
    /// What it knows.
    known: Arc<LiveState>,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

impl LiveReader {
    /// The last look, as far as it is for this reader.
    fn now(&mut self) -> Arc<LiveState> {
        let all = Arc::clone(&self.states.borrow_and_update());
        match &self.rights {
            None => all,
            Some(rights) => Arc::new(limited(&all, rights)),
        }
    }
}

pub async fn events(
    AdmittedCaller(caller): AdmittedCaller,
    State(admin): State<Arc<Admin>>,
) -> Response {
    let live = &admin.live;
    let Ok(place) = Arc::clone(&live.readers).try_acquire_owned() else {
        let text = format!("{MOST_READERS} streams of events are open, and no more are");
        return ApiAnswer::failure(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let reader = LiveReader {
        states: live.state.subscribe(),
        rights: caller.rights().cloned(),
        known: Arc::default(),
        ends: Instant::now() + LONGEST,
        _place: place,
    };
    live.comes.notify_one();
    let headers = [
        (header::CONTENT_TYPE, headers::EVENT_STREAM),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that collects an answer would show nothing.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(differences(reader))).into_response()
}

fn differences(reader: LiveReader) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::unfold(reader, |mut reader| async move {
        loop {
            let now = reader.now();
            if let Some(data) = difference(&reader.known, &now) {
                reader.known = now;
                let text = format!("event: state\ndata: {}\n\n", visible::json(&data));
                return Some((Ok(Bytes::from(text)), reader));
            }
            if Instant::now() >= reader.ends {
                return None;
            }
            match tokio::time::timeout(BEAT, reader.states.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_silent) => return Some((Ok(Bytes::from_static(sse::KEEP_ALIVE)), reader)),
            }
        }
    })
}
