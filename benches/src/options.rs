//! The harness's command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::drive::Load;
use crate::targets::Target;

#[derive(Parser)]
#[command(name = "load", about = "Measures gateways from outside, side by side in one run.")]
pub struct Options {
    /// Sessions, each with one keep-alive connection and one call at a time.
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    pub sessions: usize,
    /// Seconds of measurement for each target and round.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 1.0)]
    pub warm_up: f64,
    /// Rounds; in each, the targets take turns.
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,
    /// Measures only these targets.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Target>,
    /// The gateway to measure [default: `mooring` beside the fixtures, target/release/mooring].
    #[arg(long, value_name = "PATH")]
    pub mooring: Option<PathBuf>,
    /// Bytes of text in each call, and so in each answer.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub body_bytes: usize,
    /// Threads that generate the load.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub load_threads: usize,
    /// Threads of the HTTP fixture and of the bridge.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub fixture_threads: usize,
    /// Also writes every round to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub fn targets(&self) -> Vec<Target> {
        let all = Target::value_variants().iter().copied();
        all.filter(|target| self.only.is_empty() || self.only.contains(target)).collect()
    }

    pub fn load(&self) -> Load {
        Load {
            sessions: self.sessions,
            body_bytes: self.body_bytes,
            warm_up: Duration::from_secs_f64(self.warm_up.max(0.0)),
            window: Duration::from_secs_f64(self.seconds.max(0.1)),
            threads: self.load_threads.min(self.sessions),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
