//! User instructions that a gateway takes for each call, counted by callgrind:
//!
//! ```text
//! cargo bench -p mooring-benches --bench instructions -- --help
//! ```
//!
//! Each target runs twice, with few calls and with many; the difference is what the calls took. It
//! needs valgrind, and servers behind URLs: callgrind cannot follow the supervisor of processes.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use mooring_benches::drive;
use mooring_benches::table::Table;
use mooring_benches::targets::mooring::MOORING;
use mooring_benches::targets::{Kit, Target};

/// Longest time until a gateway under callgrind serves as it will, and until it has ended.
const READY: Duration = Duration::from_secs(300);
const END: Duration = Duration::from_secs(120);
/// Attempts count too, in both runs: few of them, so that one more or less does not matter.
const POLL: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    /// Calls of the first run.
    #[arg(long, default_value_t = 300)]
    few: u64,
    /// Further calls of the second run.
    #[arg(long, default_value_t = 2000)]
    more: u64,
    /// Measures only these targets.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Target>,
    /// Bytes of text in each call, and so in each answer.
    #[arg(long, value_name = "N", default_value_t = 16)]
    body_bytes: usize,
    /// The binary to measure; by default the one beside this harness.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const USUAL: [Target; 5] = [
    Target::MooringPassThrough,
    Target::MooringModernPassThrough,
    Target::MooringModernToLegacy,
    Target::MooringLegacyToModern,
    Target::MooringAggregate,
];

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let targets = if options.only.is_empty() { USUAL.to_vec() } else { options.only.clone() };
    let mut table = Table::new(&["target", "instructions a call"]);
    for target in targets {
        let each = measure(target, &options).await.with_context(|| target.name())?;
        table.row(vec![target.name(), each.to_string()]);
    }
    print!("{table}");
    Ok(())
}

async fn measure(target: Target, options: &Options) -> Result<u64> {
    let few = count(target, options, options.few).await?;
    let many = count(target, options, options.few + options.more).await?;
    ensure!(many > few, "{many} instructions with more calls, {few} with fewer");
    Ok((many - few) / options.more.max(1))
}

/// All user instructions of a gateway that has answered this many calls.
async fn count(target: Target, options: &Options, calls: u64) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let written = folder.path().join("callgrind.out");
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-http-server"));
    let mut kit = Kit::beside(fixture, options.mooring.clone(), 1);
    let file = format!("--callgrind-out-file={}", written.display());
    kit.runs_mooring = ["valgrind", "--tool=callgrind", &file].map(Into::into).to_vec();
    let mut running = target.start(&kit).await?;
    let mut session = drive::ready(&mut running, options.body_bytes, READY, POLL).await?;
    for _ in 0..calls {
        let status = session.call().await?;
        ensure!(status == 200, "a call was answered {status}");
    }
    drop(session);
    running.sandbox.end(MOORING, END).await?;
    total(&fs::read_to_string(&written).context("callgrind wrote nothing")?)
}

/// The total of a callgrind file.
fn total(text: &str) -> Result<u64> {
    for name in ["summary:", "totals:"] {
        let line = text.lines().rev().find_map(|line| line.strip_prefix(name));
        if let Some(first) = line.and_then(|line| line.split_whitespace().next()) {
            return Ok(first.parse()?);
        }
    }
    bail!("no total in what callgrind wrote")
}
