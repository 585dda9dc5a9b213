//! The WASI that a plugin gets on request: complete, but with nothing behind it.
//!
//! No files, no environment, no arguments, no network; output is discarded; the
//! clock stands still and randomness repeats, so that a guest stays a function
//! of its inputs. Every way to wait is a trap: epochs do not interrupt WASI's
//! host functions, so a guest that sleeps could hold its worker for any time.
//!
//! The host functions are wasmtime's asynchronous ones. The synchronous ones
//! enter tokio, which panics on a worker that is already inside. Here a call is
//! polled exactly once ([`at_once`]): one that is not ready then is a fault of
//! the guest.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

/// Bytes of one request for randomness; a guest that seeds a generator asks for 32.
const RANDOM_BYTES: u64 = 4096;

/// The version of `wasi:io` that wasmtime-wasi registers.
const WASI_POLL: &str = "wasi:io/poll@0.2.12";

/// Packages that the sandbox provides; `wasi:http` and others are not among them.
pub(super) const WASI_PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// WASI's state for one guest.
pub(super) struct Sandbox {
    context: WasiCtx,
    table: ResourceTable,
}

impl Sandbox {
    pub(super) fn deny_all() -> Self {
        let mut builder = WasiCtxBuilder::new();
        builder
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .wall_clock(StoppedClock)
            .monotonic_clock(StoppedClock)
            .secure_random(Deterministic::new(vec![4, 8, 15, 16, 23, 42]))
            .insecure_random(Deterministic::new(vec![42, 23, 16, 15, 8, 4]))
            .insecure_random_seed(42)
            .max_random_size(RANDOM_BYTES);
        Self { context: builder.build(), table: ResourceTable::new() }
    }

    pub(super) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

pub(super) fn add_to_linker<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance(WASI_POLL)?;
    for name in ["[method]pollable.block", "[method]pollable.ready", "poll"] {
        poll.func_new(name, |_, _, _, _| {
            wasmtime::bail!("waiting is not allowed in a routing plugin")
        })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// Polls a future once; one that is not ready is an error.
pub(super) fn at_once<T>(future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => wasmtime::bail!("the plugin called a WASI function that has to wait"),
    }
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(1_000_000_000)
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}
