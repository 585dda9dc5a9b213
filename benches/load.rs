//! Measures gateways from outside, side by side:
//!
//! ```text
//! cargo bench -p mooring-benches --bench load -- --help
//! ```
//!
//! Starts everything itself, takes a bounded time, and ends every process that it has started.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Parser;
use mooring_benches::drive::{self, Load, Sample};
use mooring_benches::options::Options;
use mooring_benches::report::Report;
use mooring_benches::targets::{Kit, Target};
use tokio::signal::unix::{SignalKind, signal};

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let report = tokio::select! {
        report = run(&options) => report,
        // Dropping the run ends its processes.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    };
    print!("{report}");
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", report.json()))?;
    }
    Ok(())
}

async fn run(options: &Options) -> Report {
    let (kit, load) = (kit(options), options.load());
    let mut report = Report::new(options);
    for round in 1..=options.rounds {
        for target in report.pending() {
            eprintln!("round {round} of {}: {}", options.rounds, target.name());
            report.add(target, measure(target, &kit, &load).await);
        }
    }
    report
}

async fn measure(target: Target, kit: &Kit, load: &Load) -> Result<Sample> {
    drive::measure(&mut target.start(kit).await?, load).await
}

fn kit(options: &Options) -> Kit {
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-bridge"));
    Kit::beside(fixture, options.mooring.clone(), options.fixture_threads)
}
