//! The targets that can be measured: each starts its processes and returns where to send the load.

mod bridge;
mod direct;
mod haproxy;
pub mod mooring;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::endpoint::{ClientKind, Endpoint, Opening};
use crate::sandbox::Sandbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The HTTP fixture itself.
    Direct,
    /// HAProxy, consistent hash of the session id over two HTTP fixtures.
    Haproxy,
    /// Mooring at `/mcp/{server}` in front of one HTTP fixture.
    #[value(alias = "pass-through")]
    MooringPassThrough,
    /// The same without sessions: clients and fixture of 2026-07-28.
    #[value(alias = "modern-pass-through")]
    MooringModernPassThrough,
    /// Clients without sessions, in front of the HTTP fixture with sessions.
    #[value(alias = "modern-to-legacy")]
    MooringModernToLegacy,
    /// Clients with sessions, in front of the HTTP fixture without.
    #[value(alias = "legacy-to-modern")]
    MooringLegacyToModern,
    /// Mooring at `/mcp` in front of one HTTP fixture.
    #[value(alias = "aggregate")]
    MooringAggregate,
    /// The bare bridge, with a stdio fixture for each session.
    Bridge,
    /// Mooring at `/mcp/{server}` with the same stdio fixtures.
    #[value(alias = "stdio")]
    MooringStdio,
    /// A Mooring coordinator, a Mooring node, the stdio fixtures.
    #[value(alias = "cluster")]
    MooringCluster,
}

/// The programs that targets are made of.
pub struct Kit {
    pub stdio_server: PathBuf,
    pub http_server: PathBuf,
    pub bridge: PathBuf,
    pub leash: PathBuf,
    pub mooring: PathBuf,
    /// Threads of the HTTP fixture and of the bridge.
    pub threads: usize,
    /// Whether gateways run below callgrind, which counts their instructions.
    pub is_counted: bool,
}

/// A target that listens. Dropping it ends its processes.
pub struct Running {
    pub endpoint: Endpoint,
    pub gateways: Vec<Gateway>,
    pub sandbox: Sandbox,
}

/// A process whose CPU time and memory are the cost of the target.
pub struct Gateway {
    pub name: &'static str,
    pub pid: u32,
}

impl Target {
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub async fn start(self, kit: &Kit) -> Result<Running> {
        match self {
            Self::Direct => direct::start(kit).await,
            Self::Haproxy => haproxy::start(kit).await,
            Self::MooringPassThrough => mooring::pass_through(kit).await,
            Self::MooringModernPassThrough => mooring::modern_pass_through(kit).await,
            Self::MooringModernToLegacy => mooring::modern_to_legacy(kit).await,
            Self::MooringLegacyToModern => mooring::legacy_to_modern(kit).await,
            Self::MooringAggregate => mooring::aggregate(kit).await,
            Self::Bridge => bridge::start(kit).await,
            Self::MooringStdio => mooring::stdio(kit).await,
            Self::MooringCluster => mooring::cluster(kit).await,
        }
    }
}

impl Kit {
    /// The programs in the folder of `fixture`.
    pub fn beside(fixture: &Path, mooring: Option<PathBuf>, threads: usize) -> Self {
        let program = |name: &str| fixture.with_file_name(name);
        Self {
            stdio_server: program("bench-stdio-server"),
            http_server: program("bench-http-server"),
            bridge: program("bench-bridge"),
            leash: program("bench-leash"),
            mooring: mooring.unwrap_or_else(|| program("mooring")),
            threads,
            is_counted: false,
        }
    }

    /// Starts an HTTP fixture and returns its port.
    async fn http_server(&self, sandbox: &mut Sandbox, name: &'static str) -> Result<u16> {
        self.http_server_with(sandbox, name, &[]).await
    }

    /// The same with these options.
    async fn http_server_with(
        &self,
        sandbox: &mut Sandbox,
        name: &'static str,
        options: &[&str],
    ) -> Result<u16> {
        sandbox.start(name, &self.http_server, |command| {
            command.arg("--threads").arg(self.threads.to_string()).args(options);
        })?;
        sandbox.announced_port(name).await
    }
}

/// The endpoint of a fixture: the path `/mcp` and the tool's own name.
fn plain(port: u16) -> Endpoint {
    let (opening, client) = (Opening::Once, ClientKind::Session);
    Endpoint { port, path: "/mcp", tool: "echo", opening, client }
}
