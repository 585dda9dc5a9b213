//! What goes wrong, and how it is mended again.

use std::time::Duration;

use mooring_tests::process;
use rustix::process::Signal;

use super::ground::Ground;

/// How long something stands still or is cut off, in a test of every run.
const SHORT: Duration = Duration::from_secs(5);
/// The same in the whole matrix: longer than a lease.
const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    KillServer,
    KillNode,
    KillCoordinator,
    KillSupervisor,
    StopNode,
    StopCoordinator,
    TermNode,
    TermCoordinator,
    RestartNode,
    Partition,
    AcceptAndClose,
    KillRedis,
    StopRedis,
    EmptyRedis,
}

impl Fault {
    pub const ALL: [Self; 14] = [
        Self::KillServer,
        Self::KillNode,
        Self::KillCoordinator,
        Self::KillSupervisor,
        Self::StopNode,
        Self::StopCoordinator,
        Self::TermNode,
        Self::TermCoordinator,
        Self::RestartNode,
        Self::Partition,
        Self::AcceptAndClose,
        Self::KillRedis,
        Self::StopRedis,
        Self::EmptyRedis,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::KillServer => "kill -9 of a server",
            Self::KillNode => "kill -9 of a node",
            Self::KillCoordinator => "kill -9 of the coordinator",
            Self::KillSupervisor => "kill -9 of a supervisor",
            Self::StopNode => "SIGSTOP of a node",
            Self::StopCoordinator => "SIGSTOP of the coordinator",
            Self::TermNode => "SIGTERM of a node",
            Self::TermCoordinator => "SIGTERM of the coordinator, and its start",
            Self::RestartNode => "kill -9 of a node, and its start",
            Self::Partition => "a cable is cut",
            Self::AcceptAndClose => "a proxy accepts and closes",
            Self::KillRedis => "kill -9 of Redis, later an empty one",
            Self::StopRedis => "SIGSTOP of Redis",
            Self::EmptyRedis => "Redis is emptied",
        }
    }

    /// Whether it happens to the store that coordinators share.
    pub fn is_of_the_store(self) -> bool {
        matches!(self, Self::KillRedis | Self::StopRedis | Self::EmptyRedis)
    }

    /// Whether a call that is under way dies with what dies.
    pub fn breaks_calls(self) -> bool {
        let is_harmless =
            matches!(self, Self::TermNode | Self::StopCoordinator | Self::TermCoordinator);
        !is_harmless && !self.is_of_the_store()
    }

    /// Whether clients cannot connect for a while.
    pub fn is_of_the_coordinator(self) -> bool {
        matches!(self, Self::KillCoordinator | Self::StopCoordinator | Self::TermCoordinator)
    }

    /// Whether nothing tells that it has happened: only silence does.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::StopNode | Self::StopCoordinator | Self::Partition)
    }

    /// How long a session may take until it is served, as the last column of the table marks it.
    pub fn target(self) -> Duration {
        Duration::from_secs(if self.is_silent() { 3 } else { 1 })
    }

    /// Lets it happen, and says when it has. Returns what mends it, to be done after a while.
    pub fn strike(self, ground: &mut Ground, struck: &dyn Fn()) -> Mend {
        let mend = self.begin(ground, struck);
        struck();
        mend
    }

    /// What begins after it is said here at once: a start takes time.
    fn begin(self, ground: &mut Ground, struck: &dyn Fn()) -> Mend {
        match self {
            Self::KillServer => {
                for pid in process::servers(ground.n1().pid()) {
                    process::signal(pid, Signal::KILL);
                }
                Mend::Nothing
            }
            Self::KillNode => {
                ground.n1().kill9();
                Mend::Nothing
            }
            Self::RestartNode => {
                ground.n1().kill9();
                struck();
                ground.n1().spawn();
                Mend::Nothing
            }
            Self::KillCoordinator => {
                ground.coordinator.kill9();
                struck();
                ground.coordinator.spawn();
                Mend::Nothing
            }
            Self::TermCoordinator => {
                ground.coordinator.signal(Signal::TERM);
                struck();
                ground.coordinator.wait_for_end();
                ground.coordinator.spawn();
                Mend::Nothing
            }
            Self::KillSupervisor => {
                for pid in process::supervisors(ground.n1().pid()) {
                    process::signal(pid, Signal::KILL);
                }
                Mend::Nothing
            }
            Self::TermNode => {
                ground.n1().signal(Signal::TERM);
                Mend::Nothing
            }
            Self::StopNode => {
                ground.n1().signal(Signal::STOP);
                Mend::ContinueNode
            }
            Self::StopCoordinator => {
                ground.coordinator.signal(Signal::STOP);
                Mend::ContinueCoordinator
            }
            Self::Partition => {
                ground.cut();
                Mend::Join
            }
            Self::AcceptAndClose => {
                ground.close_proxy(true);
                Mend::OpenProxy
            }
            Self::KillRedis => {
                ground.redis().kill9();
                Mend::StartRedis
            }
            Self::StopRedis => {
                ground.redis().signal(Signal::STOP);
                Mend::ContinueRedis
            }
            Self::EmptyRedis => {
                let said = ground.redis().say("FLUSHALL");
                assert!(said.starts_with("+OK"), "{said}");
                Mend::Nothing
            }
        }
    }
}

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    Nothing,
    ContinueNode,
    ContinueCoordinator,
    Join,
    OpenProxy,
    StartRedis,
    ContinueRedis,
}

impl Mend {
    /// When it is done.
    pub fn after(self, is_long: bool) -> Duration {
        match self {
            Self::Nothing => Duration::ZERO,
            _ if is_long => LONG,
            _ => SHORT,
        }
    }

    pub fn mend(self, ground: &mut Ground) {
        match self {
            Self::Nothing => {}
            Self::ContinueNode => ground.n1().signal(Signal::CONT),
            Self::ContinueCoordinator => ground.coordinator.signal(Signal::CONT),
            Self::Join => ground.join(),
            Self::OpenProxy => ground.close_proxy(false),
            Self::StartRedis => ground.redis().start_again(),
            Self::ContinueRedis => ground.redis().signal(Signal::CONT),
        }
    }
}
