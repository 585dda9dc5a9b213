//! Turns rounds into medians, and medians into a table.

use std::fmt;

use serde_json::{Value, json};

use crate::drive::{Price, Sample};
use crate::options::Options;
use crate::table;
use crate::targets::Target;
use crate::usage::load_average;

const MIB: f64 = 1024.0 * 1024.0;

pub struct Report {
    setting: String,
    rows: Vec<Row>,
}

struct Row {
    target: Target,
    /// One for each round; a target that has failed is not tried again.
    samples: Vec<Sample>,
    skipped: Option<String>,
}

/// The median and the extremes of a ratio taken within each round.
struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

impl Report {
    pub fn new(options: &Options) -> Self {
        let Options { sessions, rounds, seconds, body_bytes, .. } = options;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = load_average().map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        let setting = format!(
            "{sessions} sessions, {body_bytes} B of text, medians of {rounds} × {seconds} s; \
             {cores} cores, load average before: {load}"
        );
        let rows = options.targets().into_iter().map(Row::new).collect();
        Self { setting, rows }
    }

    /// The targets that have not failed.
    pub fn pending(&self) -> Vec<Target> {
        self.rows.iter().filter(|row| row.skipped.is_none()).map(|row| row.target).collect()
    }

    pub fn add(&mut self, target: Target, outcome: anyhow::Result<Sample>) {
        let Some(row) = self.rows.iter_mut().find(|row| row.target == target) else {
            return;
        };
        match outcome {
            Ok(sample) => row.samples.push(sample),
            Err(error) => row.skipped = Some(format!("{error:#}").replace('\n', " ")),
        }
    }

    pub fn json(&self) -> Value {
        let targets = self.rows.iter().map(|row| (row.target.name(), row.json()));
        json!({
            "setting": self.setting,
            "targets": serde_json::Map::from_iter(targets),
            "ratios": {
                "passThroughCpuToHaproxy": self
                    .cpu_ratio(Target::MooringPassThrough, Target::Haproxy).map(|r| r.json()),
                "modernPassThroughCpuToPassThrough": self
                    .cpu_ratio(Target::MooringModernPassThrough, Target::MooringPassThrough)
                    .map(|r| r.json()),
                "stdioCpuToBridge": self
                    .cpu_ratio(Target::MooringStdio, Target::Bridge).map(|r| r.json()),
                "clusterCallsPerSecond": self
                    .row(Target::MooringCluster).and_then(|row| row.median(|s| s.calls_per_second)),
            },
        })
    }

    fn row(&self, target: Target) -> Option<&Row> {
        self.rows.iter().find(|row| row.target == target)
    }

    fn cpu_ratio(&self, ours: Target, theirs: Target) -> Option<Ratio> {
        let rounds = self.row(ours)?.samples.iter().zip(&self.row(theirs)?.samples);
        let ratios = rounds.map(|(ours, theirs)| cpu_us(ours) / cpu_us(theirs));
        let sorted = sorted(ratios.filter(|ratio| ratio.is_finite()));
        Some(Ratio { median: median(&sorted)?, least: *sorted.first()?, most: *sorted.last()? })
    }
}

impl Row {
    fn new(target: Target) -> Self {
        Self { target, samples: Vec::new(), skipped: None }
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(&sorted(self.samples.iter().map(of)))
    }

    fn total(&self, of: impl Fn(&Sample) -> u64) -> u64 {
        self.samples.iter().map(of).sum()
    }

    /// The names of the gateway's processes, in the order of their start.
    fn gateways(&self) -> Vec<&'static str> {
        let first = self.samples.first().into_iter();
        first.flat_map(|sample| sample.gateways.iter().map(|price| price.name)).collect()
    }

    /// The median of a sum over the gateway's processes; `None` without a gateway.
    fn gateway_median(&self, of: impl Fn(&Price) -> f64) -> Option<f64> {
        let sum = |sample: &Sample| sample.gateways.iter().map(&of).sum();
        if self.gateways().is_empty() { None } else { self.median(sum) }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.target.name(),
            cell(self.median(|sample| sample.calls_per_second), 0),
            cell(self.median(|sample| sample.p50_us), 0),
            cell(self.median(|sample| sample.p99_us), 0),
            cell(self.gateway_median(|price| price.cpu_us), 1),
            cell(self.gateway_median(|price| price.idle_memory_bytes as f64 / MIB), 1),
            cell(self.gateway_median(|price| price.memory_bytes as f64 / MIB), 1),
            cell(self.median(|sample| sample.initializes as f64), 0),
            self.total(|sample| sample.errors).to_string(),
            cell(self.median(|sample| sample.generator_us), 1),
        ]
    }

    fn json(&self) -> Value {
        let rounds = self.samples.iter().map(|sample| {
            let gateways = sample.gateways.iter().map(|price| {
                json!({
                    "name": price.name,
                    "cpuMicrosPerCall": price.cpu_us,
                    "idleRssBytes": price.idle_memory_bytes,
                    "rssBytes": price.memory_bytes,
                })
            });
            json!({
                "callsPerSecond": sample.calls_per_second,
                "p50Micros": sample.p50_us,
                "p99Micros": sample.p99_us,
                "gateways": gateways.collect::<Vec<_>>(),
                "cpuMicrosPerCall": (!sample.gateways.is_empty()).then(|| cpu_us(sample)),
                "generatorMicrosPerCall": sample.generator_us,
                "initializes": sample.initializes,
                "errors": sample.errors,
                "firstError": sample.first_error,
            })
        });
        json!({
            "skipped": self.skipped,
            "median": {
                "callsPerSecond": self.median(|sample| sample.calls_per_second),
                "p50Micros": self.median(|sample| sample.p50_us),
                "p99Micros": self.median(|sample| sample.p99_us),
                "cpuMicrosPerCall": self.gateway_median(|price| price.cpu_us),
            },
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }
}

impl Ratio {
    fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

const HEADINGS: [&str; 10] = [
    "target",
    "calls/s",
    "p50 µs",
    "p99 µs",
    "CPU µs/call",
    "idle MiB",
    "busy MiB",
    "initializes",
    "errors",
    "(load) µs/call",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setting)?;
        let measured = self.rows.iter().filter(|row| !row.samples.is_empty());
        table::write(f, &HEADINGS, &measured.map(Row::cells).collect::<Vec<_>>())?;
        writeln!(f)?;
        self.ratios(f)?;
        for row in &self.rows {
            notes(f, row)?;
        }
        Ok(())
    }
}

impl Report {
    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ours, theirs) in [
            (Target::MooringPassThrough, Target::Haproxy),
            (Target::MooringModernPassThrough, Target::MooringPassThrough),
            (Target::MooringModernToLegacy, Target::MooringPassThrough),
            (Target::MooringLegacyToModern, Target::MooringPassThrough),
            (Target::MooringAggregate, Target::Haproxy),
            (Target::MooringStdio, Target::Bridge),
            (Target::MooringCluster, Target::Bridge),
        ] {
            if let Some(Ratio { median, least, most }) = self.cpu_ratio(ours, theirs) {
                let (ours, theirs) = (ours.name(), theirs.name());
                writeln!(f, "CPU of {ours} to {theirs}: {median:.2} ({least:.2}–{most:.2})")?;
            }
        }
        Ok(())
    }
}

fn notes(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let name = row.target.name();
    let processes = row.gateways();
    if processes.len() > 1 {
        write!(f, "CPU of {name} by process:")?;
        for (index, process) in processes.iter().enumerate() {
            let cpu = row.median(|s| s.gateways.get(index).map_or(0.0, |price| price.cpu_us));
            write!(f, " {process} {}", cell(cpu, 1))?;
        }
        writeln!(f)?;
    }
    if let Some(error) = row.samples.iter().find_map(|sample| sample.first_error.as_ref()) {
        writeln!(f, "{name}: first error: {error}")?;
    }
    match &row.skipped {
        Some(reason) if row.samples.is_empty() => writeln!(f, "{name}: skipped: {reason}"),
        Some(reason) => writeln!(f, "{name}: {} rounds, then: {reason}", row.samples.len()),
        None => Ok(()),
    }
}

/// CPU time per call of all the gateway's processes.
fn cpu_us(sample: &Sample) -> f64 {
    sample.gateways.iter().map(|price| price.cpu_us).sum()
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
}

fn cell(number: Option<f64>, decimals: usize) -> String {
    number.map_or("–".to_owned(), |number| format!("{number:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
    }
}
