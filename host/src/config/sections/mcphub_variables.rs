//! Environment variables by which MCPHub is set up and Mooring is not: one sentence for each, so
//! that nobody relies on them.

use crate::config::reader::finding::Notes;
use crate::config::reader::source::Sources;

const FILE: &str = "the settings file alone counts";

/// Variable, what it does not do here, and what to do.
const UNUSED: &[(&str, &str, &str)] = &[
    (
        "DB_URL",
        "names MCPHub's database, which Mooring does not read: servers, groups, users and keys in it are not here",
        "write them into mcp_settings.json",
    ),
    ("USE_DB", "is MCPHub's database mode, which Mooring does not have", FILE),
    (
        "SMART_ROUTING_ENABLED",
        "is MCPHub's smart routing, which Mooring does not have",
        "clients use /mcp, /mcp/{group} or /mcp/{server}",
    ),
    (
        "REQUEST_TIMEOUT",
        "is not used: a call takes as long as it takes",
        "set options.timeout of a server",
    ),
    ("INIT_TIMEOUT", "is not used", "set startTimeoutMs of a server"),
    ("READONLY", "is not used: Mooring never changes its settings", "remove it"),
    ("SKIP_AUTH", "is not used", "systemConfig.routing says who may come in"),
    ("MCP_DATA_DIR", "is not used", "set MOORING_DATA"),
];

/// Warns of each variable that is set, unless it switches something off.
pub(in crate::config) fn warn(sources: &Sources<'_>, notes: &Notes<'_>) {
    for (name, message, advice) in UNUSED {
        let value = sources.variable(name);
        let is_off = |value: &str| {
            ["false", "0", "no", "off"].contains(&value.trim().to_ascii_lowercase().as_str())
        };
        if value.is_some_and(|value| !is_off(&value)) {
            notes.warn_variable(name, *message, advice);
        }
    }
}
