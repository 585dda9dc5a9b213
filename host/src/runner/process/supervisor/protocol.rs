//! The protocol between the gateway and a reaper, on the reaper's own socket.
//!
//! ```text
//! gateway ─► reaper   StartOrder, then END at most once, then end-of-file: kill
//! reaper ─► gateway   Started or Refused, then Exited, then end-of-file: nothing is left
//! ```
//!
//! Both ends are the same executable, so the protocol has no version.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::runner::process::program::{Confinement, Program, Sandbox, User, environment};

/// Asks the reaper to shut its server down: stdin closed, then SIGTERM, then SIGKILL.
pub const END: u8 = b'E';
/// Longest order, in bytes. Far above the kernel's own limit on arguments and environment (about
/// 2 MiB), so that an order too long gets the kernel's error.
const LONGEST_ORDER: usize = 16 * 1024 * 1024;

/// The server that a reaper is to run.
#[derive(Debug, PartialEq, Eq)]
pub struct StartOrder {
    pub command: OsString,
    pub args: Vec<OsString>,
    /// The complete environment: a reaper adds nothing.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: Option<PathBuf>,
    pub confinement: Confinement,
    /// What the server must not read.
    pub hidden: Vec<PathBuf>,
    /// The control group that its reaper makes for it.
    pub group: Option<PathBuf>,
}

impl StartOrder {
    pub fn of(program: &Program, group: Option<PathBuf>) -> Self {
        Self {
            command: program.command.clone().into(),
            args: program.args.iter().map(OsString::from).collect(),
            env: environment(program).into_iter().collect(),
            cwd: program.cwd.clone(),
            confinement: program.confinement.clone(),
            hidden: program.hidden.clone(),
            group,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(1024);
        put_text(&mut body, &self.command);
        put_number(&mut body, self.args.len() as u64);
        for arg in &self.args {
            put_text(&mut body, arg);
        }
        put_number(&mut body, self.env.len() as u64);
        for (name, value) in &self.env {
            put_text(&mut body, name);
            put_text(&mut body, value);
        }
        put_path(&mut body, self.cwd.as_deref());
        self.put_confinement(&mut body);
        put_paths(&mut body, &self.hidden);
        put_path(&mut body, self.group.as_deref());
        let mut order = Vec::with_capacity(body.len() + 8);
        put_number(&mut order, body.len() as u64);
        order.append(&mut body);
        order
    }

    fn put_confinement(&self, body: &mut Vec<u8>) {
        let Confinement { memory, files, processes, cpu_seconds, user, .. } = &self.confinement;
        for limit in [*memory, *files, *processes, *cpu_seconds] {
            put_option(body, limit);
        }
        put_option(body, user.as_ref().map(|user| user.uid.into()));
        put_option(body, user.as_ref().map(|user| user.gid.into()));
        put_number(body, self.confinement.allow_privileges.into());
        let sandbox = self.confinement.sandbox.as_ref();
        put_option(body, sandbox.map(|sandbox| sandbox.network.into()));
        if let Some(Sandbox { read, write, .. }) = sandbox {
            put_paths(body, read);
            put_paths(body, write);
        }
    }

    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST_ORDER {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Self::decode(&body).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    fn decode(mut body: &[u8]) -> Option<Self> {
        let from = &mut body;
        let command = text(from)?;
        let args = (0..number(from)?).map(|_| text(from)).collect::<Option<_>>()?;
        let env = (0..number(from)?).map(|_| Some((text(from)?, text(from)?)));
        let env = env.collect::<Option<_>>()?;
        let cwd = path(from)?;
        let confinement = confinement(from)?;
        let hidden = paths(from)?;
        let group = path(from)?;
        Some(Self { command, args, env, cwd, confinement, hidden, group })
    }
}

fn confinement(from: &mut &[u8]) -> Option<Confinement> {
    Some(Confinement {
        memory: option(from)?,
        files: option(from)?,
        processes: option(from)?,
        cpu_seconds: option(from)?,
        user: match (option(from)?, option(from)?) {
            (Some(uid), Some(gid)) => {
                Some(User { uid: uid.try_into().ok()?, gid: gid.try_into().ok()? })
            }
            _ => None,
        },
        allow_privileges: number(from)? != 0,
        sandbox: match option(from)? {
            Some(network) => {
                Some(Sandbox { network: network != 0, read: paths(from)?, write: paths(from)? })
            }
            None => None,
        },
    })
}

/// What a reaper reports about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaperReport {
    /// The server runs, with this process id, below this reaper.
    Started { pid: u32, reaper: u32, hidden: bool },
    /// The server could not be started; the step that failed and the system's error number.
    Refused(StartStep, i32),
    /// The server has ended with this wait status. What it left behind is being killed.
    Exited(i32),
}

/// The step of a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartStep {
    /// Fork, limits, user, working directory or exec.
    Program,
    /// The rules of its sandbox.
    Sandbox,
    /// Hiding the gateway's own files from it.
    Hiding,
    /// The wall of Landlock around it.
    Wall,
    /// Its sandbox would let it write to the gateway's own files, which nothing covers.
    Exposed,
}

impl ReaperReport {
    pub const LENGTH: usize = 10;

    pub fn encode(self) -> [u8; Self::LENGTH] {
        let (tag, detail, value, other) = match self {
            Self::Started { pid, reaper, hidden } => {
                (b's', u8::from(hidden), pid.to_le_bytes(), reaper)
            }
            Self::Refused(step, error) => (b'r', step.number(), error.to_le_bytes(), 0),
            Self::Exited(status) => (b'x', 0, status.to_le_bytes(), 0),
        };
        let ([a, b, c, d], [e, f, g, h]) = (value, other.to_le_bytes());
        [tag, detail, a, b, c, d, e, f, g, h]
    }

    pub fn decode([tag, detail, a, b, c, d, e, f, g, h]: [u8; Self::LENGTH]) -> Option<Self> {
        let (value, reaper) = ([a, b, c, d], u32::from_le_bytes([e, f, g, h]));
        let (pid, number) = (u32::from_le_bytes(value), i32::from_le_bytes(value));
        match (tag, detail) {
            (b's', 0 | 1) => Some(Self::Started { pid, reaper, hidden: detail == 1 }),
            (b'r', _) => StartStep::of(detail).map(|step| Self::Refused(step, number)),
            (b'x', 0) => Some(Self::Exited(number)),
            _ => None,
        }
    }
}

impl StartStep {
    const ALL: [Self; 5] = [Self::Program, Self::Sandbox, Self::Hiding, Self::Wall, Self::Exposed];

    fn number(self) -> u8 {
        self as u8
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.number() == number)
    }
}

fn put_number(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

/// Writes `None` as `u64::MAX`, which is neither a limit nor a user id.
fn put_option(to: &mut Vec<u8>, number: Option<u64>) {
    put_number(to, number.unwrap_or(u64::MAX));
}

fn put_text(to: &mut Vec<u8>, text: &OsStr) {
    put_number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

fn put_path(to: &mut Vec<u8>, path: Option<&Path>) {
    put_option(to, path.is_some().then_some(1));
    put_text(to, path.unwrap_or("".as_ref()).as_os_str());
}

fn put_paths(to: &mut Vec<u8>, paths: &[PathBuf]) {
    put_number(to, paths.len() as u64);
    for path in paths {
        put_text(to, path.as_os_str());
    }
}

fn path(from: &mut &[u8]) -> Option<Option<PathBuf>> {
    let (given, path) = (option(from)?.is_some(), text(from)?);
    Some(given.then(|| path.into()))
}

fn paths(from: &mut &[u8]) -> Option<Vec<PathBuf>> {
    (0..number(from)?).map(|_| Some(text(from)?.into())).collect()
}

fn number(from: &mut &[u8]) -> Option<u64> {
    let (number, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(u64::from_le_bytes(*number))
}

fn option(from: &mut &[u8]) -> Option<Option<u64>> {
    number(from).map(|number| Some(number).filter(|number| *number != u64::MAX))
}

fn text(from: &mut &[u8]) -> Option<OsString> {
    let length = usize::try_from(number(from)?).ok()?;
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(OsString::from_vec(text.to_vec()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not so")]

    use super::*;

    fn order() -> StartOrder {
        StartOrder {
            command: "npx".into(),
            args: vec!["-y".into(), "".into(), "a b\n".into()],
            env: vec![("A".into(), OsString::from_vec(vec![0xff, b'='])), ("B".into(), "".into())],
            cwd: Some("/srv".into()),
            confinement: Confinement {
                memory: Some(0),
                files: None,
                processes: Some(7),
                cpu_seconds: Some(u64::MAX - 1),
                user: Some(User { uid: 1000, gid: 0 }),
                allow_privileges: true,
                sandbox: Some(Sandbox {
                    read: vec!["/opt".into(), "/srv".into()],
                    write: vec!["/tmp/x".into()],
                    network: true,
                }),
            },
            hidden: vec!["/srv/data".into()],
            group: Some("/sys/fs/cgroup/x/1".into()),
        }
    }

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        let order = order();
        assert_eq!(StartOrder::read(&mut order.encode().as_slice()).unwrap(), order);
        let confinement =
            Confinement { sandbox: Some(Sandbox::default()), ..Confinement::default() };
        let walled = StartOrder { confinement, group: None, ..self::order() };
        assert_eq!(StartOrder::read(&mut walled.encode().as_slice()).unwrap(), walled);
        let bare = StartOrder { cwd: None, confinement: Confinement::default(), ..order };
        assert_eq!(StartOrder::read(&mut bare.encode().as_slice()).unwrap(), bare);
    }

    #[test]
    fn an_order_that_breaks_off_is_an_error() {
        let sent = order().encode();
        for length in 0..sent.len() {
            assert!(StartOrder::read(&mut sent.get(..length).unwrap()).is_err());
            assert_eq!(StartOrder::decode(sent.get(8..length).unwrap_or_default()), None);
        }
    }

    #[test]
    fn reports_arrive_as_they_were_sent() {
        for report in [
            ReaperReport::Started { pid: 1, reaper: 2, hidden: false },
            ReaperReport::Started { pid: 7, reaper: u32::MAX, hidden: true },
            ReaperReport::Refused(StartStep::Program, libc::ENOENT),
            ReaperReport::Refused(StartStep::Sandbox, libc::ENOSYS),
            ReaperReport::Refused(StartStep::Hiding, libc::ENOENT),
            ReaperReport::Refused(StartStep::Wall, libc::EPERM),
            ReaperReport::Refused(StartStep::Exposed, libc::EACCES),
            ReaperReport::Exited(9),
        ] {
            assert_eq!(ReaperReport::decode(report.encode()), Some(report));
        }
        assert_eq!(ReaperReport::decode(*b"?012345678"), None);
    }
}
