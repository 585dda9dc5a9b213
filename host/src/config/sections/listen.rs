//! The address that Mooring listens on, and its data folder.

use std::path::{Path, PathBuf};

use crate::config::reader::item::Item;
use crate::config::reader::place::{Place, Stops};
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;

use super::cluster::NodeMode;
use super::listen_tls::{self, ListenTls};

/// What a host that is a Unix socket begins with, before its path.
const UNIX: &str = "unix:";
/// Bytes of such a path that the system has room for: one less than `sun_path`, for the zero behind.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Who may connect to a Unix socket: the gateway's own user.
const SOCKET_MODE: u32 = 0o600;

/// The port of the cluster guide.
const DEFAULT_PORT: u16 = 3000;

/// All interfaces: nodes and clients come from other machines.
const EVERYWHERE: &str = "0.0.0.0";

/// This machine alone.
const LOOPBACK: &str = "127.0.0.1";

/// Characters of the longest DNS name.
const MAX_HOST: usize = 253;

pub const HOST_VARIABLE: &str = "MOORING_HOST";
pub const HOST_KEY: &str = "systemConfig.listen.host";
pub const PORT_VARIABLE: &str = "PORT";
pub const PORT_KEY: &str = "systemConfig.listen.port";

/// The address for clients and for the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// An IP address without brackets, or a host name.
    pub host: String,
    /// 0 lets the system choose a free port.
    pub port: u16,
    /// By which key or variable the operator named the host.
    pub host_key: Option<&'static str>,
    /// By which the port is named, if it is.
    pub port_key: &'static str,
    /// What stands in front of every path, as in `/mcphub`; empty for nothing.
    pub base_path: String,
    /// A Unix socket in place of host and port, which then are those of this machine.
    pub file: Option<SocketPlace>,
    /// What the port speaks TLS with.
    pub tls: Option<ListenTls>,
}

/// Where a Unix socket is, and the mode of the file: who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPlace {
    pub path: PathBuf,
    pub mode: u32,
}

/// A host of the settings.
enum Host {
    Name(String),
    File(PathBuf),
}

impl Listen {
    /// Whether the operator named the host.
    #[must_use]
    pub fn is_chosen(&self) -> bool {
        self.host_key.is_some()
    }

    /// Whether only processes of this machine reach the address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

/// Reads the address; `MOORING_HOST` and `PORT` override `systemConfig.listen`. Without either, only
/// this machine is served, unless the gateway `is_for_others`. Paths in the file start at `folder`.
pub(in crate::config) fn read(
    system: &Section<'_>,
    sources: &Sources<'_>,
    is_for_others: bool,
    folder: &Path,
) -> Listen {
    let listen = system.clone().with_defaults().section("listen");
    // What keeps others out has no default.
    let strict = listen.clone().strict();
    // Where it is not understood, the narrowest counts.
    let is_given = system.get("listen").is_some_and(|item| item.value.as_object().is_none());
    let narrow = || Host::Name(LOOPBACK.to_owned());
    let from_file = match listen.get("host") {
        Some(item) => host_of(&item, folder).or_else(|| Some(narrow())),
        None => is_given.then(narrow),
    };
    let port = listen.whole("port", DEFAULT_PORT.into(), 0..=u16::MAX.into());
    let of_variable = host_variable(system, sources).map(|host| (host, HOST_VARIABLE));
    let chosen = of_variable.or(from_file.map(|host| (host, HOST_KEY)));
    let mode = strict.get("socketMode").and_then(|item| socket_mode(&item));
    let default = if is_for_others { EVERYWHERE } else { LOOPBACK };
    let base_path = base_path(system, sources).unwrap_or_default();
    let of_variable = port_variable(system, sources);
    let port_key = if of_variable.is_some() { PORT_VARIABLE } else { PORT_KEY };
    let port = of_variable.or(u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
    let tls = listen_tls::read(&strict, folder);
    let host_key = chosen.as_ref().map(|(_, key)| *key);
    let (host, port, file) = match chosen.map(|(host, _)| host) {
        Some(Host::File(path)) => {
            if tls.is_some() {
                let advice = "leave \"tls\" out: nothing of a Unix socket leaves the machine";
                strict.refuse_key("tls", "has no effect on a Unix socket", advice);
            }
            let file = SocketPlace { path, mode: mode.unwrap_or(SOCKET_MODE) };
            (LOOPBACK.to_owned(), 0, Some(file))
        }
        Some(Host::Name(host)) => (host, port, None),
        None => (default.to_owned(), port, None),
    };
    Listen { host, host_key, port, port_key, base_path, file, tls }
}

/// A node is called by its coordinator, over TCP and by plain HTTP unless its URL says otherwise.
pub(in crate::config) fn refuse_for_node(
    system: &Section<'_>,
    listen: &Listen,
    node: &NodeMode,
    has_cluster_tls: bool,
) {
    let section = system.section("listen");
    if listen.file.is_some() {
        let advice = "give it an address that its coordinator reaches";
        section.refuse("is a Unix socket, and the coordinator cannot call a node there", advice);
    }
    let is_https = node.advertise_url.as_ref().is_some_and(|url| url.scheme_str() == Some("https"));
    let is_only_tls = listen.tls.as_ref().is_some_and(|tls| tls.plain_from.is_empty());
    if is_only_tls && !is_https && !has_cluster_tls {
        let advice = "set node.advertiseUrl to an https URL of this node, or name the coordinator's \
                      address in listen.tls.plainFrom";
        section.refuse("speaks TLS, and the coordinator would call this node by http", advice);
    }
}

/// The mode of a socket's file, in octal as chmod takes it.
fn socket_mode(item: &Item<'_>) -> Option<u32> {
    let text = item.text()?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    if mode.is_none_or(|mode| mode & 0o600 != 0o600) {
        let advice =
            "write it in octal and quotes, like \"0660\"; the gateway itself reads and writes";
        item.refuse("is not the mode of a socket", advice);
        return None;
    }
    mode
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

const NO_HOST: &str = "is not an IP address, a host name or unix: with the path of a socket";
const SOCKET_ADVICE: &str = "write it like unix:/run/mooring/socket";
const SHORTER_ADVICE: &str = "use a shorter one, such as unix:/run/mooring/socket";
const HOST_ADVICE: &str = "write it like 127.0.0.1, :: or unix:/run/mooring/socket";

fn host_of(item: &Item<'_>, folder: &Path) -> Option<Host> {
    let text = match item.value.as_string_lit() {
        Some(text) if text.value.starts_with(UNIX) => text.value.clone().into_owned(),
        _ => item.text()?,
    };
    match checked_host(&text, folder) {
        Ok(host) => Some(host),
        Err((what, advice)) => {
            // Instead of a socket that is for few, no port is opened.
            if text.starts_with(UNIX) {
                let place = Place { stops: Stops::Load, ..item.place.clone() };
                item.notes.refuse(&place, what, advice);
            } else {
                item.warn(what, format!("{advice}; until then only this machine is served"));
            }
            None
        }
    }
}

fn host_variable(system: &Section<'_>, sources: &Sources<'_>) -> Option<Host> {
    let text = sources.variable(HOST_VARIABLE)?;
    match checked_host(&text, &sources.cwd) {
        Ok(host) => Some(host),
        Err((what, advice)) => {
            system.notes.refuse_variable(HOST_VARIABLE, what, advice);
            None
        }
    }
}

fn port_variable(system: &Section<'_>, sources: &Sources<'_>) -> Option<u16> {
    let port = sources.variable(PORT_VARIABLE)?.trim().parse();
    if port.is_err() {
        let advice = "use a whole number from 0 to 65535";
        system.notes.refuse_variable(PORT_VARIABLE, "is not a port", advice);
    }
    port.ok()
}

/// What is wrong with an address, and what to do.
type WrongHost = (String, &'static str);

fn checked_host(text: &str, folder: &Path) -> Result<Host, WrongHost> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return socket_file(path, folder);
    }
    let wrong = || (NO_HOST.to_owned(), HOST_ADVICE);
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(Host::Name(host.to_owned()));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let named = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(allowed);
    (named && bare.is_none()).then(|| Host::Name(host.to_owned())).ok_or_else(wrong)
}

fn socket_file(path: &str, folder: &Path) -> Result<Host, WrongHost> {
    let whole = folder.join(path);
    let length = whole.as_os_str().len();
    match path {
        "" => Err(("names no socket behind unix:".to_owned(), SOCKET_ADVICE)),
        _ if path.contains(char::is_control) => {
            Err(("names a socket by a path with control characters".to_owned(), SOCKET_ADVICE))
        }
        _ if length > MAX_SOCKET_PATH => {
            let what = format!(
                "names a socket by a path of {length} bytes, and the system takes {MAX_SOCKET_PATH} at most"
            );
            Err((what, SHORTER_ADVICE))
        }
        _ => Ok(Host::File(whole)),
    }
}
