//! The address that Mooring listens on, and its data folder.

use std::path::PathBuf;

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

/// The port of the cluster guide.
const DEFAULT_PORT: u16 = 3000;

/// All interfaces: nodes and clients come from other machines.
const EVERYWHERE: &str = "0.0.0.0";

/// This machine alone.
const LOOPBACK: &str = "127.0.0.1";

/// Characters of the longest DNS name.
const MAX_HOST: usize = 253;

/// The address for clients and for the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// An IP address without brackets, or a host name.
    pub host: String,
    /// 0 lets the system choose a free port.
    pub port: u16,
    /// Whether the operator named the host.
    pub is_chosen: bool,
    /// What stands in front of every path, as in `/mcphub`; empty for nothing.
    pub base_path: String,
}

impl Listen {
    /// Whether only processes of this machine reach the address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Reads the address; `MOORING_HOST` and `PORT` override `systemConfig.listen`. Without either, only
/// this machine is served, unless the gateway `is_for_others`.
pub(in crate::config) fn read(
    system: &Section<'_>,
    sources: &Sources<'_>,
    is_for_others: bool,
) -> Listen {
    let listen = system.clone().with_defaults().section("listen");
    // Where it is not understood, the narrowest counts.
    let is_given = system.get("listen").is_some_and(|item| item.value.as_object().is_none());
    let given = listen.get("host");
    let from_file = match &given {
        Some(item) => host_of(item).or_else(|| Some(LOOPBACK.to_owned())),
        None => is_given.then(|| LOOPBACK.to_owned()),
    };
    let port = listen.whole("port", DEFAULT_PORT.into(), 0..=u16::MAX.into());
    let chosen = host_variable(system, sources).or(from_file);
    let default = if is_for_others { EVERYWHERE } else { LOOPBACK };
    Listen {
        is_chosen: chosen.is_some(),
        host: chosen.unwrap_or_else(|| default.to_owned()),
        base_path: base_path(system, sources).unwrap_or_default(),
        port: port_variable(system, sources).or(u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT),
    }
}

/// The data folder: `MOORING_DATA`, or `data` in the working directory.
#[must_use]
pub fn data_dir(sources: &Sources<'_>) -> PathBuf {
    let named = sources.variable("MOORING_DATA");
    sources.cwd.join(named.as_deref().unwrap_or("data"))
}

/// `BASE_PATH`, with one slash in front and none behind, as `/mcphub`; `/` alone is nothing.
fn base_path(system: &Section<'_>, sources: &Sources<'_>) -> Option<String> {
    let text = sources.variable("BASE_PATH")?;
    let path = text.trim().trim_matches('/');
    let is_plain = |segment: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
    };
    if path.is_empty() {
        return None;
    }
    if path.len() > MAX_HOST || !path.split('/').all(is_plain) {
        let advice = "write it like /mcphub, with letters, digits and -._~";
        system.notes.refuse_variable("BASE_PATH", "is not a path", advice);
        return None;
    }
    Some(format!("/{path}"))
}

fn host_of(item: &Item<'_>) -> Option<String> {
    let host = checked_host(&item.text()?);
    if host.is_none() {
        let advice = "write it like 127.0.0.1 or ::; until then only this machine is served";
        item.warn("is not an IP address or a host name", advice);
    }
    host
}

fn host_variable(system: &Section<'_>, sources: &Sources<'_>) -> Option<String> {
    let text = sources.variable("MOORING_HOST")?;
    let host = checked_host(&text);
    if host.is_none() {
        let message = "is not an IP address or a host name";
        let notes = system.notes;
        notes.refuse_variable("MOORING_HOST", message, "write it like 127.0.0.1 or ::");
    }
    host
}

fn port_variable(system: &Section<'_>, sources: &Sources<'_>) -> Option<u16> {
    let port = sources.variable("PORT")?.trim().parse();
    if port.is_err() {
        let advice = "use a whole number from 0 to 65535";
        system.notes.refuse_variable("PORT", "is not a port", advice);
    }
    port.ok()
}

fn checked_host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Some(host.to_owned());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let named = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(allowed);
    (named && bare.is_none()).then(|| host.to_owned())
}
