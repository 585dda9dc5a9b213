//! `mooring ps`: every server of the gateway, or of its cluster: the running instances, spares, idle
//! servers, and those in trouble.

use std::collections::BTreeSet;
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
use super::known_names;
use super::table::{age, bytes, known, table};
use super::terminal;

/// Most pages that are fetched: 100,000 instances, far more than a person reads.
const MAX_PAGES: usize = 200;
const HEAD: [&str; 9] =
    ["SERVER", "NODE", "PID", "STATE", "SESSIONS", "RSS", "CPU", "RESTARTS", "AGE"];
/// Status of a healthy server, whether or not it has an instance now.
const WELL: &str = "running";
/// What is shown for one that has none.
const IDLE: &str = "idle";
/// Shown for a server whose last start failed.
const FAILED: &str = "failed";
/// Status of the servers of a node that does not answer.
const UNREACHABLE: &str = "unreachable";

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
    if let Some(name) = server.filter(|_| all.servers.is_empty() && all.instances.is_empty()) {
        return super::failed(&known_names::no_server(name, node));
    }
    let text = if json {
        let all = json!({
            "instances": all.instances, "servers": all.servers, "unreachable": all.unreachable,
        });
        visible::json(&all.to_string()).into_owned()
    } else {
        table(HEAD, &rows(&all.instances, &all.servers, UnixMillis::now()))
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
        // Since when is known of its servers.
        let since = all.servers.iter().find(|server| is_of(server, node));
        let since = since.and_then(|server| server.last_error.as_deref());
        // Before its silence is noticed, its servers say no more than the reason.
        let since = since.filter(|since| !since.contains(reason.as_str()));
        let since = since.map(|since| format!(": {}", visible(since, super::MAX_WHY)));
        let (node, reason) = (visible(node, super::MAX_WHY), visible(reason, super::MAX_WHY));
        let since = since.unwrap_or_default();
        terminal::warn(format!("mooring: node {node} is unreachable: {reason}{since}"));
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

/// One row an instance, then one row a server that has none, or with which something is wrong.
fn rows(
    instances: &[InstanceReport],
    servers: &[ServerHealth],
    now: UnixMillis,
) -> Vec<[String; HEAD.len()]> {
    let running: BTreeSet<(&str, &str)> =
        instances.iter().map(|seen| (seen.server.as_str(), seen.node.as_str())).collect();
    let others = servers.iter().filter(|server| {
        server.status != WELL || !running.contains(&(server.server.as_str(), server.node.as_str()))
    });
    let other = |server: &ServerHealth| {
        let [_, _, _, _, _, rss, cpu, restarts, age] = ["-"; HEAD.len()].map(str::to_owned);
        let (name, node, pid) = (server.server.clone(), server.node.clone(), known(None));
        let state = match state_of(server) {
            WELL => IDLE.to_owned(),
            state => state.to_owned(),
        };
        [name, node, pid, state, "0".to_owned(), rss, cpu, restarts, age]
    };
    instances.iter().map(|instance| row(instance, now)).chain(others.map(other)).collect()
}

/// Whether stderr need not mention the server. One that is starting is well, and of a node that does
/// not answer the node is mentioned.
fn is_well(server: &ServerHealth) -> bool {
    matches!(state_of(server), WELL | "starting" | UNREACHABLE)
}

/// The status; of a server whose last start failed, and which may be started again at once, that.
fn state_of(server: &ServerHealth) -> &str {
    if server.status == WELL && server.failures > 0 { FAILED } else { &server.status }
}

/// Whether the server is one of this node, which does not answer.
fn is_of(server: &ServerHealth, node: &str) -> bool {
    server.status == UNREACHABLE && server.node == node
}

fn why(server: &ServerHealth) -> String {
    let status = state_of(server);
    let ServerHealth { server, node, failures, next_attempt_ms, last_error, .. } = server;
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
    [
        instance.server.clone(),
        instance.node.clone(),
        known(instance.pid.map(|pid| pid.to_string())),
        instance.state.clone(),
        instance.session_count.to_string(),
        known(instance.rss_bytes.map(bytes)),
        known(instance.cpu_ms.map(|ms| format!("{}.{}s", ms / 1000, ms % 1000 / 100))),
        instance.restarts.to_string(),
        age(now.since(UnixMillis(instance.started_at)).as_secs()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_a_row() {
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
        let idle =
            ServerHealth { server: "c".into(), node: "n1".into(), failures: 0, ..well.clone() };
        let failed = ServerHealth { server: "d".into(), failures: 1, ..idle.clone() };
        let running = ServerHealth { server: "a-long-name".into(), node: "n1".into(), ..well };
        let said = why(&ill);
        assert!(said.starts_with("b on n2: crash-loop, 5 failures, next attempt in 1m1s: no"));
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(
            table(
                HEAD,
                &rows(&[instance, remote], &[running, ill, idle, failed], UnixMillis(62_000))
            ),
            "\
SERVER       NODE  PID   STATE       SESSIONS  RSS   CPU   RESTARTS  AGE
a-long-name  n1    4711  ready       1         2.0M  1.2s  0         1m1s
a-long-name  n1    -     ready       1         -     -     0         1m1s
b            n2    -     crash-loop  0         -     -     -         -
c            n1    -     idle        0         -     -     -         -
d            n1    -     failed      0         -     -     -         -
"
        );
    }
}
