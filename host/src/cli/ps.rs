//! `mooring ps`: the running server instances, and the servers in trouble.

use std::process::ExitCode;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::cluster::{InstanceReport, MOST_INSTANCES, ServerHealth, Unreachable};
use crate::model::UnixMillis;
use crate::model::visible::{self, visible};
use crate::net::percent_encoded;
use crate::protocol::objects::object_only;

use super::gateway::{self, Gateway};
use super::terminal;

/// Most pages that are fetched: 100,000 instances, far more than a person reads.
const MAX_PAGES: usize = 200;
const HEAD: [&str; 9] =
    ["SERVER", "NODE", "PID", "STATE", "SESSIONS", "RSS", "CPU", "RESTARTS", "AGE"];
/// Bytes of a name in the table: as long as names may be.
const MAX_CELL: usize = 128;
/// Status of a healthy server, whether or not it has an instance now.
const WELL: &str = "running";

#[derive(Default, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
struct InstancesPage {
    instances: Vec<InstanceReport>,
    servers: Vec<ServerHealth>,
    unreachable: Vec<Unreachable>,
    next: Option<String>,
}
object_only!(InstancesPage);

pub fn run(gateway: &Gateway, server: Option<&str>, node: Option<&str>, json: bool) -> ExitCode {
    let all = match all(gateway, server, node) {
        Ok(all) => all,
        Err(why) => return super::failed(&why),
    };
    let text = if json {
        let all = json!({
            "instances": all.instances, "servers": all.servers, "unreachable": all.unreachable,
        });
        visible::json(&all.to_string()).into_owned()
    } else {
        table(&all.instances, &all.servers, UnixMillis::now())
    };
    terminal::say(text.trim_end());
    for server in all.servers.iter().filter(|server| !is_well(server)) {
        terminal::warn(format!("mooring: {}", why(server)));
    }
    for server in &all.servers {
        for flaw in &server.flaws {
            let flaw = format!("{} on {}: {flaw}", server.server, server.node);
            terminal::warn(format!("mooring: {}", visible(&flaw, super::MAX_WHY)));
        }
    }
    for Unreachable { node, reason } in &all.unreachable {
        let (node, reason) = (visible(node, MAX_CELL), visible(reason, super::MAX_WHY));
        terminal::warn(format!("mooring: node {node} is unreachable: {reason}"));
    }
    ExitCode::SUCCESS
}

fn all(
    gateway: &Gateway,
    server: Option<&str>,
    node: Option<&str>,
) -> Result<InstancesPage, String> {
    let mut path = format!("/api/cluster/instances?limit={MOST_INSTANCES}");
    for (name, value) in [("server", server), ("node", node)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
    }
    let mut all = InstancesPage::default();
    let mut after = String::new();
    for _ in 0..MAX_PAGES {
        let text = gateway.call(Method::GET, &format!("{path}{after}"))?;
        let page: InstancesPage = serde_json::from_value(gateway::data(&text)?)
            .map_err(|error| format!("the answer has an unexpected form: {error}"))?;
        all.instances.extend(page.instances);
        all.servers.extend(page.servers);
        all.unreachable.extend(page.unreachable);
        match page.next {
            Some(next) => after = format!("&after={}", percent_encoded(&next)),
            None => break,
        }
    }
    Ok(all)
}

/// One row an instance, then one row a server that is not healthy.
fn table(instances: &[InstanceReport], servers: &[ServerHealth], now: UnixMillis) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(instances.iter().map(|instance| row(instance, now)));
    rows.extend(servers.iter().filter(|server| server.status != WELL).map(|server| {
        let (name, node) = (cell(&server.server), cell(&server.node));
        let [_, _, _, _, _, rss, cpu, restarts, age] = ["-"; HEAD.len()].map(str::to_owned);
        let (pid, status) = ("-".to_owned(), cell(&server.status));
        [name, node, pid, status, "0".to_owned(), rss, cpu, restarts, age]
    }));
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

/// Whether stderr need not mention the server. One that is starting is well.
fn is_well(server: &ServerHealth) -> bool {
    matches!(server.status.as_str(), WELL | "starting")
}

fn why(server: &ServerHealth) -> String {
    let ServerHealth { server, node, status, failures, next_attempt_ms, last_error, .. } = server;
    let mut text = format!("{server} on {node}: {status}, {failures} failures");
    if let Some(left) = next_attempt_ms {
        text.push_str(&format!(", next attempt in {}", age(left.div_ceil(1000))));
    }
    if let Some(error) = last_error {
        text.push_str(&format!(": {error}"));
    }
    visible(&text, super::MAX_WHY).to_string()
}

fn row(instance: &InstanceReport, now: UnixMillis) -> [String; HEAD.len()] {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        cell(&instance.server),
        cell(&instance.node),
        known(instance.pid.map(|pid| pid.to_string())),
        cell(&instance.state),
        instance.session_count.to_string(),
        known(instance.rss_bytes.map(bytes)),
        known(instance.cpu_ms.map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))),
        instance.restarts.to_string(),
        age(now.since(UnixMillis(instance.started_at)).as_secs()),
    ]
}

fn cell(text: &str) -> String {
    visible(text, MAX_CELL).to_string()
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
        let server = |status: &str| ServerHealth {
            server: "b".into(),
            node: "n2".into(),
            status: status.into(),
            failures: 5,
            next_attempt_ms: Some(61_000),
            last_error: Some("no\u{1b} way".into()),
            flaws: Vec::new(),
        };
        let (well, ill) = (server("running"), server("crash-loop"));
        let said = why(&ill);
        assert!(said.starts_with("b on n2: crash-loop, 5 failures, next attempt in 1m1s: no"));
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(
            table(&[instance, remote], &[well, ill], UnixMillis(62_000)),
            "\
SERVER       NODE  PID   STATE       SESSIONS  RSS   CPU   RESTARTS  AGE
a-long-name  n1    4711  ready       1         2.0M  1.2s  0         1m1s
a-long-name  n1    -     ready       1         -     -     0         1m1s
b            n2    -     crash-loop  0         -     -     -         -
"
        );
    }
}
