//! Instructions per call, counted by callgrind, which has to be installed (Debian: `valgrind`):
//!
//! ```text
//! cargo bench -p mooring-benches --bench instructions -- --help
//! ```
//!
//! A server over stdio cannot be counted: callgrind does not know the system calls by which the
//! supervisor confines its children.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use mooring_benches::instructions::{Calls, count};
use mooring_benches::table::Table;
use mooring_benches::targets::{Kit, Running, mooring};

#[derive(Parser)]
struct Options {
    /// Counts only these ways of a call.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Way>,
    /// Calls that are counted.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Calls before them.
    #[arg(long, default_value_t = 300)]
    before: u32,
    /// Bytes of text in each call, and so in each answer.
    #[arg(long, value_name = "N", default_value_t = 16)]
    body_bytes: usize,
    /// The binary to count; by default the one beside this harness.
    #[arg(long, value_name = "PATH")]
    mooring: Option<PathBuf>,
    /// Keeps the costs by function in this folder, for `callgrind_annotate --inclusive=yes`. The
    /// binary must have its symbols: build it with CARGO_PROFILE_RELEASE_STRIP=none.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The way of a call through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// `/mcp/{server}`, one HTTP fixture.
    PassThrough,
    /// The same without sessions: clients and fixture of 2026-07-28.
    ModernPassThrough,
    /// Clients without sessions, in front of the fixture with sessions.
    ModernToLegacy,
    /// Clients with sessions, in front of the fixture without.
    LegacyToModern,
    /// `/mcp`, the fixture of pass-through.
    Aggregate,
    /// Coordinator and node, that fixture behind the node.
    Cluster,
}

impl Way {
    async fn start(self, kit: &Kit) -> Result<Running> {
        match self {
            Self::PassThrough => mooring::pass_through(kit).await,
            Self::ModernPassThrough => mooring::modern_pass_through(kit).await,
            Self::ModernToLegacy => mooring::modern_to_legacy(kit).await,
            Self::LegacyToModern => mooring::legacy_to_modern(kit).await,
            Self::Aggregate => mooring::aggregate(kit).await,
            Self::Cluster => mooring::cluster_before_http(kit).await,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-http-server"));
    let kit = Kit { is_counted: true, ..Kit::beside(fixture, options.mooring.clone(), 1) };
    let calls =
        Calls { before: options.before, counted: options.calls, body_bytes: options.body_bytes };
    let mut table = Table::new(&["process", "instructions per call"]);
    for way in Way::value_variants().iter().copied() {
        if !options.only.is_empty() && !options.only.contains(&way) {
            continue;
        }
        let folder = options.keep.as_ref().map(|folder| folder.join(way.name()));
        folder.iter().try_for_each(fs::create_dir_all)?;
        let mut running = way.start(&kit).await.with_context(|| way.name())?;
        let counts = count(&mut running, calls, folder.as_deref()).await;
        for counted in counts.with_context(|| way.name())? {
            let per_call = format!("{:.0}", counted.per_call);
            table.row(vec![format!("{}: {}", way.name(), counted.name), per_call]);
        }
    }
    print!("{table}");
    Ok(())
}
