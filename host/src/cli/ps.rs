//! `mooring ps`: the servers that run.

use std::io::Write as _;
use std::process::ExitCode;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::{InstanceReport, MOST_INSTANCES, Unreachable};
use crate::model::UnixMillis;
use crate::seam::percent_encoded;

use super::gateway::{self, Gateway};

/// Pages that are fetched; nobody reads more.
const MAX_PAGES: usize = 200;
const HEAD: [&str; 9] =
    ["SERVER", "NODE", "PID", "STATE", "SESSIONS", "RSS", "CPU", "RESTARTS", "AGE"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    instances: Vec<InstanceReport>,
    unreachable: Vec<Unreachable>,
    next: Option<String>,
}

pub fn run(gateway: &Gateway, server: Option<&str>, node: Option<&str>, json: bool) -> ExitCode {
    let all = match all(gateway, server, node) {
        Ok(all) => all,
        Err(why) => return super::failed(&why),
    };
    let text = if json {
        format!("{}\n", json!({"instances": all.instances, "unreachable": all.unreachable}))
    } else {
        table(&all.instances, UnixMillis::now())
    };
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    for Unreachable { node, reason } in &all.unreachable {
        eprintln!("mooring: node {node} is unreachable: {}", super::printable(reason));
    }
    ExitCode::SUCCESS
}

fn all(gateway: &Gateway, server: Option<&str>, node: Option<&str>) -> Result<Page, String> {
    let mut path = format!("/api/cluster/instances?limit={MOST_INSTANCES}");
    for (name, value) in [("server", server), ("node", node)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
    }
    let mut all = Page::default();
    let mut after = String::new();
    for _ in 0..MAX_PAGES {
        let text = gateway.call(Method::GET, &format!("{path}{after}"))?;
        let page: Page = serde_json::from_value(gateway::data(&text)?)
            .map_err(|error| format!("the answer is not what is expected: {error}"))?;
        all.instances.extend(page.instances);
        all.unreachable.extend(page.unreachable);
        match page.next {
            Some(next) => after = format!("&after={}", percent_encoded(&next)),
            None => break,
        }
    }
    Ok(all)
}

fn table(instances: &[InstanceReport], now: UnixMillis) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(instances.iter().map(|instance| row(instance, now)));
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(instance: &InstanceReport, now: UnixMillis) -> [String; HEAD.len()] {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        super::printable(&instance.server),
        super::printable(&instance.node),
        known(instance.pid.map(|pid| pid.to_string())),
        super::printable(&instance.state),
        instance.session_count.to_string(),
        known(instance.rss_bytes.map(bytes)),
        known(instance.cpu_ms.map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))),
        instance.restarts.to_string(),
        age(now.since(UnixMillis(instance.started_at)).as_secs()),
    ]
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut tenths = bytes * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{}{}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&""))
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_for_people() {
        for (size, expect) in [(0, "0.0K"), (1536, "1.5K"), (10 << 20, "10.0M"), (3 << 30, "3.0G")]
        {
            assert_eq!(bytes(size), expect);
        }
        for (seconds, expect) in [(0, "0s"), (61, "1m1s"), (3600, "1h0m"), (200_000, "2d7h")] {
            assert_eq!(age(seconds), expect);
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let instance = InstanceReport {
            server: "a-long-name".into(),
            node: "n1".into(),
            pid: Some(4711),
            state: "ready".into(),
            session_count: 1,
            rss_bytes: Some(2 << 20),
            cpu_ms: Some(1234),
            started_at: 1000,
            ..InstanceReport::default()
        };
        let remote =
            InstanceReport { pid: None, rss_bytes: None, cpu_ms: None, ..instance.clone() };
        assert_eq!(
            table(&[instance, remote], UnixMillis(62_000)),
            "\
SERVER       NODE  PID   STATE  SESSIONS  RSS   CPU   RESTARTS  AGE
a-long-name  n1    4711  ready  1         2.0M  1.2s  0         1m1s
a-long-name  n1    -     ready  1         -     -     0         1m1s
"
        );
    }
}
