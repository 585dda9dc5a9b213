//! The start of a server within its bounds: limits, user, privileges, control group, rules of
//! Landlock.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{self, Pid, Resource, Rlimit, Signal};
use rustix::thread::CapabilitySet;

use crate::runner::process::program::Confinement;

use super::cgroup;
use super::landlock::{self, Rules};
use super::protocol::{StartOrder, StartStep};
use super::system;

/// Capabilities with which a process could read the memory of others, change what is mounted, reach
/// files by other ways than their path, or change the kernel.
const DROPPED: [CapabilitySet; 10] = [
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_BOOT,
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::MKNOD,
    CapabilitySet::PERFMON,
    CapabilitySet::BPF,
    CapabilitySet::CHECKPOINT_RESTORE,
];
/// Bytes of a script's first line, as the kernel reads it.
const FIRST_LINE: u64 = 256;

/// The step that failed, and why.
pub struct StartFailure(pub StartStep, pub io::Error);

impl From<io::Error> for StartFailure {
    fn from(error: io::Error) -> Self {
        Self(StartStep::Program, error)
    }
}

/// What the server's process does to itself between fork and exec.
struct Bounds {
    confinement: Confinement,
    /// Takes the process into its control group.
    group: Option<File>,
    rules: Option<Rules>,
    reaper: Pid,
}

/// Starts the server with these ends of its pipes, as a child of the reaper.
///
/// `is_covered`: something lies over the gateway's own files already.
pub fn start(
    order: &StartOrder,
    pipes: [OwnedFd; 3],
    reaper: Pid,
    is_covered: bool,
) -> Result<Pid, StartFailure> {
    let mut command = Command::new(&order.command);
    command.args(&order.args).env_clear();
    command.envs(order.env.iter().map(|(name, value)| (name, value)));
    if let Some(cwd) = &order.cwd {
        command.current_dir(cwd);
    }
    let [stdin, stdout, stderr] = pipes.map(|pipe| Stdio::from(File::from(pipe)));
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if let Some(user) = &order.confinement.user {
        // `uid` also drops the gateway's supplementary groups.
        command.uid(user.uid).gid(user.gid);
    }
    let rules = rules(order, if is_covered { &[] } else { &order.hidden })?;
    // Opened with the rights of the gateway's user; the server's may have none.
    let group = order.group.as_ref().and_then(|group| cgroup::make(group).ok());
    run_within(
        &mut command,
        Bounds { confinement: order.confinement.clone(), group, rules, reaper },
    );
    // Afterwards `command` is dropped, and with it the reaper's copies of the server's pipes.
    let server = command.spawn()?;
    let server = Pid::from_raw(server.id().cast_signed());
    Ok(server.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?)
}

/// `hidden` is what only these rules keep from the server.
fn rules(order: &StartOrder, hidden: &[PathBuf]) -> Result<Option<Rules>, StartFailure> {
    let Confinement { sandbox, allow_privileges, .. } = &order.confinement;
    match sandbox {
        Some(sandbox) if landlock::may_write(sandbox, hidden) => {
            Err(StartFailure(StartStep::Exposed, io::Error::from_raw_os_error(libc::EACCES)))
        }
        Some(sandbox) => Rules::of(sandbox, &needed(order), hidden)
            .map(Some)
            .map_err(|error| StartFailure(StartStep::Sandbox, error)),
        None if *allow_privileges => Ok(None),
        None => Rules::wall().map_err(|error| StartFailure(StartStep::Wall, error)),
    }
}

#[allow(unsafe_code, reason = "the only way to run code between fork and exec")]
fn run_within(command: &mut Command, mut bounds: Bounds) {
    // SAFETY: a reaper has one thread, so anything is allowed here; these are plain system calls
    // in any case.
    unsafe {
        command.pre_exec(move || bounds.enter());
    }
}

impl Bounds {
    fn enter(&mut self) -> io::Result<()> {
        process::setsid()?;
        if let Some(group) = &mut self.group {
            // A group that was removed meanwhile costs the server nothing but the group.
            let _ = group.write_all(b"0");
        }
        for (resource, limit) in limits(&self.confinement) {
            let limit = Some(limit);
            process::setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
        }
        if !self.confinement.allow_privileges {
            rustix::thread::set_no_new_privs(true)?;
            drop_capabilities()?;
        }
        // Here, because the change of user that comes before it would reset it.
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if process::getppid() != Some(self.reaper) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if let Some(rules) = &self.rules {
            rules.enforce()?;
        }
        // Last: a signal that is pending acts from here on.
        system::unblock_signals()
    }
}

/// Without them and without new privileges, root too cannot read what is not its own. Nothing to do
/// for other users: they have none.
fn drop_capabilities() -> io::Result<()> {
    for capability in DROPPED {
        // Fails for a capability that this kernel does not know.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let dropped = DROPPED.iter().fold(CapabilitySet::empty(), |all, one| all | *one);
    let mut sets = rustix::thread::capabilities(None)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(dropped);
    }
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn limits(confinement: &Confinement) -> impl Iterator<Item = (Resource, u64)> {
    let Confinement { memory, files, processes, cpu_seconds, .. } = confinement;
    let limits = [
        // A core dump would leave the server's secrets on disk.
        (Resource::Core, Some(0)),
        (Resource::Nofile, *files),
        (Resource::Nproc, *processes),
        (Resource::Cpu, *cpu_seconds),
        (Resource::As, *memory),
    ];
    limits.into_iter().filter_map(|(resource, limit)| Some((resource, limit?)))
}

/// Files that a sandboxed server reads at its start: its working directory if it is its own, its
/// program, and the interpreter that the program names.
fn needed(order: &StartOrder) -> Vec<PathBuf> {
    let program = located(order);
    let interpreter = program.as_deref().and_then(interpreter);
    order.cwd.iter().cloned().chain(program).chain(interpreter).collect()
}

/// The file of the server's program, as exec will find it.
fn located(order: &StartOrder) -> Option<PathBuf> {
    let folder = order.cwd.as_deref().unwrap_or(Path::new("."));
    if order.command.as_bytes().contains(&b'/') {
        return folder.join(&order.command).canonicalize().ok();
    }
    let (_, path) = order.env.iter().find(|(name, _)| name == "PATH")?;
    let files = std::env::split_paths(path).map(|entry| folder.join(entry).join(&order.command));
    files.filter_map(|file| file.canonicalize().ok()).find(|file| file.is_file())
}

/// The program in the first line of a script.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut line = Vec::new();
    let start = io::BufReader::new(File::open(program).ok()?.take(FIRST_LINE));
    { start }.read_until(b'\n', &mut line).ok()?;
    let rest = line.strip_prefix(b"#!")?.trim_ascii();
    let name = rest.split(u8::is_ascii_whitespace).next()?;
    Path::new(OsStr::from_bytes(name)).canonicalize().ok()
}
