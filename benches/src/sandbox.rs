//! The processes of one target, with a temporary folder for their logs; all end with the sandbox.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest start of a process, even on a slow and busy machine.
const START: Duration = Duration::from_secs(60);
/// Time for a gateway to drain; afterwards it is killed.
const END: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

pub struct Sandbox {
    folder: TempDir,
    leash: PathBuf,
    /// In the order of their start; ended in reverse.
    processes: Vec<Process>,
}

struct Process {
    name: &'static str,
    child: Child,
}

impl Sandbox {
    pub fn new(leash: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mooring-load-").tempdir()?;
        Ok(Self { folder, leash: leash.to_owned(), processes: Vec::new() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Starts a program. `name` names its log files; `set_up` adds arguments and variables.
    pub fn start(
        &mut self,
        name: &'static str,
        program: &Path,
        set_up: impl FnOnce(&mut Command),
    ) -> Result<u32> {
        let mut command = Command::new(&self.leash);
        command.arg(program);
        set_up(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(self.output(name))?)
            // A program that is started again goes on with its log.
            .stderr(File::options().create(true).append(true).open(self.log(name))?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let pid = child.id();
        self.processes.push(Process { name, child });
        Ok(pid)
    }

    /// Ends a program with SIGKILL.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let at = self.processes.iter().position(|process| process.name == name);
        let mut process = self.processes.remove(at.context("no such process")?);
        process.child.kill()?;
        process.child.wait()?;
        Ok(())
    }

    /// The port that a program prints as its only line of output.
    pub async fn announced_port(&mut self, name: &'static str) -> Result<u16> {
        self.port(name, &self.output(name)).await
    }

    /// The port that a program writes into a file once it listens.
    pub async fn port(&mut self, name: &'static str, file: &Path) -> Result<u16> {
        let deadline = Instant::now() + START;
        loop {
            let port = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(port) = port {
                return Ok(port);
            }
            if let Some(reason) = self.ended() {
                bail!(reason);
            }
            if Instant::now() > deadline {
                bail!("{name} named no port in {START:?}: {}", self.last_words(name));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Describes a process that has ended by itself: its name and its output.
    pub fn ended(&mut self) -> Option<String> {
        let (name, status) = self.processes.iter_mut().find_map(|process| {
            let status = process.child.try_wait().ok()??;
            Some((process.name, status))
        })?;
        Some(format!("{name} ended with {status}: {}", self.last_words(name)))
    }

    fn last_words(&self, name: &str) -> String {
        let log = fs::read(self.log(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.trim_end().lines().next_back().unwrap_or("(no log)").to_owned()
    }

    fn output(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.out"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        while self.processes.pop().is_some() {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(None) = self.child.try_wait() else {
            return;
        };
        // Not reaped yet, so the id still belongs to this child.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
