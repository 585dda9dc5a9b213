//! Finds out in a process of its own whether a component can be compiled at a bearable cost.
//!
//! Compilation cannot be interrupted, and a file of half a megabyte can make it take a minute and
//! gigabytes. So a component that is not ours is compiled twice: first by the same executable, as a
//! child that the kernel ends at its limits of CPU time and memory; its result is thrown away. Only
//! what that child could compile, the gateway compiles itself, at the cost that is now known.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::refusal::PluginRefusal;
use crate::wasm::engine;

/// The argument that makes the executable such a child.
const ARGUMENT: &str = "mooring:compile-probe";

/// The cost of components of ordinary size. The built-ins take 0.1 s.
const ORDINARY: Budget = Budget { cpu: 8, memory: 512 << 20 };
/// The cost of interpreters: the largest known takes ten seconds.
const LARGE: Budget = Budget { cpu: 60, memory: 2 << 30 };

/// The child's exit code if it could not even begin.
const NOT_RUN: i32 = 2;

/// Wall time allowed for one second of CPU time: the machine may be busy.
const PATIENCE: u32 = 8;
/// Pause between two looks at the child.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
struct Budget {
    /// Seconds.
    cpu: u64,
    /// Bytes of address space.
    memory: u64,
}

/// Compiles a component in a child of `executable`.
pub(in crate::wasm) fn probe(
    executable: &Path,
    bytes: &[u8],
    is_large: bool,
) -> Result<(), PluginRefusal> {
    let budget = if is_large { LARGE } else { ORDINARY };
    let status = run(executable, bytes, budget).map_err(PluginRefusal::host)?;
    match status.and_then(|status| status.code()) {
        // What it could not compile at all, the gateway refuses with the reason, at no greater cost.
        Some(0 | 1) => Ok(()),
        Some(NOT_RUN) => Err(PluginRefusal::Host("its cost could not be found out".to_owned())),
        _ => Err(PluginRefusal::TooCostly(format!(
            "compiling it takes more than {} s of CPU time or {} MiB of memory",
            budget.cpu,
            budget.memory >> 20
        ))),
    }
}

/// `None` if the child took too long and was ended.
fn run(executable: &Path, bytes: &[u8], budget: Budget) -> std::io::Result<Option<ExitStatus>> {
    let mut child = Command::new(executable)
        .args([ARGUMENT, &budget.cpu.to_string(), &budget.memory.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A child that has ended already reads no more; its status says why.
        let _ = input.write_all(bytes);
    }
    let patience = Duration::from_secs(budget.cpu) * PATIENCE;
    let ended = wait(&mut child, patience)?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(ended)
}

fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

/// Runs the child's side, if the process was started as one: compiles what stdin holds. Call it
/// before anything else.
#[must_use]
pub fn probe_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let mut number = || args.next().and_then(|text| text.to_str()?.parse().ok());
    let budget = number().and_then(|cpu| Some(Budget { cpu, memory: number()? }));
    Some(match budget.map(compile_within) {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(_)) | None => ExitCode::from(NOT_RUN as u8),
    })
}

/// Whether the component on stdin can be compiled. The process ends at a limit.
fn compile_within(budget: Budget) -> anyhow::Result<bool> {
    // It must not outlive the gateway; if that is gone already, nobody reads the result.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    for (resource, most) in
        [(Resource::Core, 0), (Resource::Cpu, budget.cpu), (Resource::As, budget.memory)]
    {
        // The operator's own limit may be lower.
        let allowed = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(allowed), maximum: Some(allowed) })?;
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let engine = wasmtime::Engine::new(&engine::base_config())?;
    Ok(engine.precompile_component(&bytes).is_ok())
}
