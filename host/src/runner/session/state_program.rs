//! Runs the programs that write and read a server's state: as the server itself runs, without a
//! shell, for a bounded time.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::model::{ServerName, SessionId};
use crate::runner::process::program::Program;
use crate::runner::stdio::running::StartedProcess;

use super::resources::Resources;
use super::served::StatePrograms;

/// How an exit without a failure is told.
const SUCCESS: &str = "exit status: 0";
/// Longest wait for the exit of a program that has closed its output.
const EXIT: Duration = Duration::from_secs(2);

/// Whose state it is.
pub struct StateOwner<'a> {
    pub server: &'a ServerName,
    pub session: SessionId,
    /// The session's own process.
    pub pid: Option<u32>,
}

/// Runs a program with `input` on its stdin. Returns what it has written to its stdout.
///
/// # Errors
/// Why that is no state: in words for the operator, without anything that it has written.
pub async fn run(
    program: &Program,
    programs: &StatePrograms,
    owner: StateOwner<'_>,
    input: Bytes,
    resources: &Resources,
) -> Result<Bytes, String> {
    let turn = resources.state_programs.acquire();
    let running = async {
        let _turn = turn.await;
        run_once(&named(program, &owner), owner.server, input, programs.most_bytes, resources).await
    };
    let ran = tokio::time::timeout(programs.timeout, running).await;
    ran.unwrap_or_else(|_| {
        Err(format!("its program did not end within {} ms", programs.timeout.as_millis()))
    })
}

/// The program with the variables that say whose state is meant.
fn named(program: &Program, owner: &StateOwner<'_>) -> Program {
    let mut program = program.clone();
    let mut set = |name: &str, value: String| program.env.insert(name.to_owned(), value);
    set("MOORING_STATE_SESSION", owner.session.to_string());
    set("MOORING_STATE_SERVER", owner.server.to_string());
    if let Some(pid) = owner.pid {
        set("MOORING_STATE_PID", pid.to_string());
    }
    program
}

async fn run_once(
    program: &Program,
    server: &ServerName,
    input: Bytes,
    most: usize,
    resources: &Resources,
) -> Result<Bytes, String> {
    let (children, journal) = (&resources.children, &resources.journal);
    let started = StartedProcess::start(server, program, children, journal).await;
    // Dropping the child ends it.
    let StartedProcess { child, mut stdin, stdout, .. } = started.map_err(|e| e.to_string())?;
    let writing = async move {
        // A program that does not read its stdin is none that fails.
        let _ = stdin.write_all(&input).await;
    };
    let mut written = Vec::new();
    let mut limited = stdout.take(most as u64 + 1);
    let reading = limited.read_to_end(&mut written);
    let ((), read) = tokio::join!(writing, reading);
    read.map_err(|error| format!("its program's output cannot be read: {error}"))?;
    if written.len() > most {
        return Err(format!("its program wrote more than {most} bytes (state.maxBytes)"));
    }
    let mut exit = child.exit();
    let how = tokio::time::timeout(EXIT, exit.wait_for(Option::is_some)).await;
    let how = match how {
        Ok(Ok(how)) => how.clone().unwrap_or_default(),
        Ok(Err(_)) | Err(_) => return Err("its program closed its output, and runs on".to_owned()),
    };
    if how != SUCCESS {
        return Err(format!("its program has ended with {how}"));
    }
    Ok(written.into())
}
