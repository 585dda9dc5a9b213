//! Metrics of this process: what it is, what it has of the machine, and what it is short of.

use crate::admin::Admin;
use crate::store::FolderState;
use crate::telemetry::MetricKind;

use super::exposition::Exposition;

/// Ticks a second of the times in `/proc`, as Linux has them everywhere.
const TICKS: f64 = 100.0;

pub fn add(admin: &Admin, page: &mut Exposition) {
    let version = env!("CARGO_PKG_VERSION");
    page.gauge("build_info", "1, with the version of the gateway")
        .add(&[("version", version)], 1_u8);
    let started = admin.started_at.0 as f64 / 1000.0;
    let name = "process_start_time_seconds";
    page.family(name, "When the process began, in seconds since 1970", MetricKind::Gauge)
        .is(started);
    if let Some(own) = own_usage() {
        let help = "CPU time of the process, without its servers";
        page.family("process_cpu_seconds_total", help, MetricKind::Counter).is(own.cpu_seconds);
        let help = "Memory of the process, without its servers";
        page.family("process_resident_memory_bytes", help, MetricKind::Gauge).is(own.memory);
    }
    let reading = admin.pressure.reading();
    page.gauge("open_files", "Open descriptors of this process")
        .is(reading.open_files.unwrap_or(0));
    page.gauge("open_files_limit", "Most open descriptors").is(admin.pressure.most_files());
    if let Some(memory) = reading.memory {
        page.gauge("memory_free_bytes", "Free memory of the machine or container").is(memory.free);
        page.gauge("memory_total_bytes", "Memory of the machine or container").is(memory.total);
    }
    let short_of: Vec<_> = admin.pressure.shortages().into_iter().map(|(what, _)| what).collect();
    let short = page.gauge("short_of", "1 for what this process or its machine is short of");
    for what in ["open-files", "memory", "data-folder"] {
        let is_folder = what == "data-folder" && admin.records.folder().0 != FolderState::Fine;
        let is_short = is_folder || short_of.contains(&what);
        short.add(&[("what", what)], u8::from(is_short));
    }
}

struct OwnUsage {
    cpu_seconds: f64,
    /// Bytes.
    memory: u64,
}

/// `None` where there is no `/proc`.
fn own_usage() -> Option<OwnUsage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, which may have spaces, is in brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(OwnUsage { cpu_seconds: ticks as f64 / TICKS, memory: kib * 1024 })
}
