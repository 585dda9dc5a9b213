//! Logins that have begun here and end at another coordinator: the sessions that wait for them have their
//! streams here, and are told all the same.

use std::sync::Arc;
use std::time::Duration;

use crate::edge::worker::Worker;
use crate::oauth::LoginTerms;
use crate::sync::now;

use super::login_routes::tell;
use super::pending::{LoginFate, PATIENCE};
use super::user_lists::LoginKey;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time from the end of a login to its token: another coordinator asks for it.
const TOKEN: Duration = Duration::from_secs(15);

/// Watches a login that has begun just now, on a task, until it has ended somewhere.
pub fn watch(worker: &Worker, id: String, key: LoginKey, terms: Arc<LoginTerms>) {
    let worker = worker.clone();
    tokio::spawn(async move {
        let pending = &worker.edge.logins.pending;
        let given_up = now() + PATIENCE;
        let sessions = loop {
            if now() > given_up {
                return;
            }
            tokio::time::sleep(LOOK).await;
            match pending.fate(&id).await {
                LoginFate::NotYet => {}
                LoginFate::Here => return,
                LoginFate::Elsewhere(sessions) => break sessions,
            }
        };
        let given_up = now() + TOKEN;
        while worker.edge.logins.ready(&key, &terms, worker.link.pool()).await.is_err() {
            if now() > given_up {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        tell(&worker, &id, &sessions);
    });
}
