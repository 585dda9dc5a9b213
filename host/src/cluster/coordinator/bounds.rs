//! Bounds of what a node reports of itself and its servers.

use crate::cluster::messages::{LoadReport, Registration, SelectionReport, ServerReport};
use crate::cluster::state_report::StateReport;

/// Servers of one node.
const MAX_SERVERS: usize = 1000;
/// Labels of one node.
const MAX_LABELS: usize = 64;
/// Bytes of anything listed beyond its text, about.
const EACH: usize = 64;
/// Bytes of a name, zone, or label's name or value.
const MAX_WORD: usize = 256;
/// Bytes of an incarnation, a version or a catalog's digest.
const MAX_TAG: usize = 128;
/// Bytes of a URL.
const MAX_URL: usize = 2048;
/// Client headers that one server asks for.
const MAX_HEADERS: usize = 64;
/// Bytes of all that one node reports.
const MAX_REPORT: usize = 1 << 20;
/// Longest interval between two heartbeats, in milliseconds: a day.
pub const MAX_INTERVAL: u64 = 24 * 3600 * 1000;
/// Nodes that are known at once.
pub const MAX_NODES: usize = 4096;
/// Bytes of what all nodes report together.
pub const MAX_REPORTS: usize = 256 << 20;

/// Checks a registration's texts and numbers. Returns the bytes that its servers take, about.
///
/// # Errors
/// The first field that exceeds its bound, in words for the node.
pub fn check(registration: &Registration) -> Result<usize, String> {
    let words = [("zone", &registration.zone, MAX_WORD), ("url", &registration.url, MAX_URL)];
    let tags = [
        ("incarnation", &registration.incarnation, MAX_TAG),
        ("version", &registration.version, MAX_TAG),
    ];
    for (what, text, most) in words.into_iter().chain(tags) {
        check_text(what, text, most)?;
    }
    if let Some(protocol) = &registration.protocol {
        check_text("protocol.mcp", &protocol.mcp, MAX_TAG)?;
    }
    if registration.labels.len() > MAX_LABELS {
        return Err(format!("labels must be at most {MAX_LABELS}"));
    }
    for (name, value) in &registration.labels {
        check_text("the name of a label", name, MAX_WORD)?;
        check_text("a label", value, MAX_WORD)?;
    }
    registration.load.as_ref().map_or(Ok(()), check_load)?;
    check_servers(&registration.servers)
}

/// Bytes that a node's labels and load report take in memory, about.
#[must_use]
pub fn size_beside_servers(labels: &[(String, String)], load: Option<&LoadReport>) -> usize {
    let labels = labels.iter().map(|(name, value)| EACH + name.len() + value.len());
    let instances = load.into_iter().flat_map(|load| load.instances.keys());
    labels.chain(instances.map(|name| EACH + name.len())).sum()
}

/// Checks the servers of a registration or heartbeat. Returns the bytes that they take, about.
///
/// # Errors
/// As [`check`].
pub fn check_servers(servers: &[ServerReport]) -> Result<usize, String> {
    if servers.len() > MAX_SERVERS {
        return Err(format!("servers must be at most {MAX_SERVERS}"));
    }
    for server in servers {
        let ServerReport::Full { digest, passthrough, .. } = server else { continue };
        check_text("the digest of a server", digest.as_deref().unwrap_or(""), MAX_TAG)?;
        if passthrough.len() > MAX_HEADERS {
            return Err(format!("passthrough must be at most {MAX_HEADERS} names"));
        }
        for name in passthrough {
            check_text("the name of a header", name, MAX_WORD)?;
        }
    }
    let size = servers.iter().map(size_of).sum();
    if size > MAX_REPORT {
        return Err(format!("servers must be at most {MAX_REPORT} bytes together"));
    }
    Ok(size)
}

/// Checks a load report.
///
/// # Errors
/// As [`check`].
pub fn check_load(load: &LoadReport) -> Result<(), String> {
    if load.instances.len() > MAX_SERVERS {
        return Err(format!("load.instances must be at most {MAX_SERVERS}"));
    }
    load.instances.keys().try_for_each(|name| check_text("load.instances", name, MAX_WORD))
}

fn check_text(what: &str, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(format!("{what} must be at most {most} bytes without control characters"));
    }
    Ok(())
}

/// Bytes that a server's report takes in memory, about.
fn size_of(server: &ServerReport) -> usize {
    match server {
        ServerReport::Name(name) => EACH + name.len(),
        ServerReport::Full { name, digest, passthrough, selection, state, .. } => {
            EACH + name.len()
                + digest.as_ref().map_or(0, String::len)
                + passthrough.iter().map(|name| EACH + name.len()).sum::<usize>()
                + selection.as_ref().map_or(0, size_of_selection)
                + state.as_deref().map_or(0, StateReport::size)
        }
    }
}

fn size_of_selection(selection: &SelectionReport) -> usize {
    let SelectionReport { tools, prompts, resources } = selection;
    let entries = tools.iter().chain(prompts).chain(resources);
    let size = |(name, choice): (&String, &crate::cluster::messages::ChoiceReport)| {
        EACH + name.len() + choice.description.as_ref().map_or(0, String::len)
    };
    entries.map(size).sum()
}
