//! On other systems than Linux no process takes the sockets of another over: the calls by which they
//! change hands, and by which both know that they are of the same user, are Linux's.

#![allow(dead_code, reason = "none of these is ever made: each stands in for what Linux has")]

use std::io;
use std::path::Path;

use crate::edge::{Listeners, SharedSockets};

const LINUX_ONLY: &str = "--take-over works on Linux only";

/// Stands in for the offer of the sockets, which is never made here.
pub struct Offer;

impl Offer {
    /// # Errors
    /// Always.
    pub fn open(_: &Path, _: u16, _: SharedSockets) -> io::Result<Self> {
        Err(io::Error::other(LINUX_ONLY))
    }

    /// Waits for ever.
    pub async fn taken<F: Future<Output = ()>>(&self, _: impl Fn() -> F) {
        std::future::pending().await
    }
}

/// Stands in for the sockets of another process.
pub struct TakenOver(Listeners, Before);

impl TakenOver {
    /// # Errors
    /// Always.
    pub fn take(_: &Path, _: (&str, u16), _: usize) -> io::Result<Option<Self>> {
        Err(io::Error::other(LINUX_ONLY))
    }

    #[must_use]
    pub fn into_parts(self) -> (Listeners, Before) {
        (self.0, self.1)
    }
}

/// Stands in for the process of before.
pub struct Before;

impl Before {
    /// Nobody is told.
    pub fn serves(self) {}
}
