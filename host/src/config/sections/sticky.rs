//! The strategy that chooses a node, and how a client comes back to it:
//! `systemConfig.cluster.stickySession`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::words::nearest::suggestion;
use crate::config::reader::words::strategies::{BUILT_IN, is_plugin};
use crate::config::reader::{headers, json};

/// The member of a plugin's configuration that another part of the file says.
const TIMEOUT: &str = "affinityTimeout";

/// Settings of sticky sessions. They apply in every mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// If false, a new session goes to the least loaded replica and clients get no
    /// cookie or header; a session still stays where it is.
    pub enabled: bool,
    /// `consistent-hash`, `cookie`, `header`, or the path of a `.wasm` file.
    pub strategy: String,
    /// An RFC 6265 token.
    pub cookie_name: String,
    /// A valid header name, as written.
    pub header_name: String,
    /// Whether the value of cookie and header is signed.
    pub signed: bool,
    pub wasi: Wasi,
    /// Credentials of clients that a plugin may read: names of headers, in lower case.
    pub credentials: Vec<String>,
    /// Time without use after which affinity expires.
    pub affinity_timeout: Duration,
    /// The configuration of the plugin, as JSON: the whole section with defaults filled
    /// in, and `affinityTimeout` in milliseconds.
    pub json: String,
}

/// The interfaces of WASI that a plugin may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// None: a plugin that imports WASI is refused.
    Deny,
    /// An empty world: no files, network or environment.
    Sandbox,
}

impl Sticky {
    /// The configuration of the plugin, with another timeout.
    #[must_use]
    pub fn json_with_timeout(&self, affinity_timeout: Duration) -> String {
        let mut json: Value = serde_json::from_str(&self.json).unwrap_or_default();
        json[TIMEOUT] = json::millis(affinity_timeout);
        json.to_string()
    }
}

pub(in crate::config) fn read(
    section: &Section<'_>,
    folder: &Path,
    affinity_timeout: Duration,
) -> Sticky {
    let wasi = [("deny", Wasi::Deny), ("sandbox", Wasi::Sandbox)];
    // An unsigned value in place of a signed one would open a door, and another strategy than the
    // one that was meant would move sessions: these two stop the start.
    let strict = &section.clone().strict();
    let section = &section.clone().with_defaults();
    let enabled = section.flag("enabled", true);
    let cookie_name = cookie_name(section).unwrap_or_else(|| "MCPHUB_NODE".to_owned());
    let header_name = header_name(section).unwrap_or_else(|| "X-MCPHub-Node".to_owned());
    let signed = strict.flag("signed", false);
    let wasi = section.choice("wasi", "WASI mode", &wasi).unwrap_or(Wasi::Deny);
    let strategy = strategy(strict, folder);
    let credentials = credentials(section);
    let json = json::object(
        section.object,
        &[
            ("enabled", enabled.into()),
            ("strategy", strategy.as_str().into()),
            ("cookieName", cookie_name.as_str().into()),
            ("headerName", header_name.as_str().into()),
            ("signed", signed.into()),
            ("wasi", wasi.as_str().into()),
            (TIMEOUT, json::millis(affinity_timeout)),
        ],
    );
    Sticky {
        enabled,
        strategy: located(strategy, folder),
        cookie_name,
        header_name,
        signed,
        wasi,
        credentials,
        affinity_timeout,
        json,
    }
}

impl Wasi {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Sandbox => "sandbox",
        }
    }
}

fn strategy(section: &Section<'_>, folder: &Path) -> String {
    let default = || BUILT_IN[0].to_owned();
    let Some(item) = section.get("strategy") else {
        return default();
    };
    let Some(text) = item.text() else {
        return default();
    };
    if BUILT_IN.contains(&text.as_str()) {
        return text;
    }
    if is_plugin(&text) {
        refuse_unless_file(&item, &folder.join(&text));
        return text;
    }
    let advice = format!(
        "use {} or the path of a .wasm file{}",
        BUILT_IN.join(", "),
        suggestion(&text, &BUILT_IN)
    );
    item.refuse(format!("{} is not a strategy", quote(&text)), advice);
    default()
}

fn refuse_unless_file(item: &Item<'_>, path: &Path) {
    let problem = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => return,
        Ok(_) => "it is no file".to_owned(),
        Err(error) => error.to_string(),
    };
    let advice = "check the path, which starts at the folder of this file";
    item.refuse(format!("names {}, which cannot be read: {problem}", path.display()), advice);
}

/// The strategy, with a plugin's path resolved from the folder of the settings file.
fn located(strategy: String, folder: &Path) -> String {
    if is_plugin(&strategy) {
        return folder.join(&strategy).to_string_lossy().into_owned();
    }
    strategy
}

fn credentials(section: &Section<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for item in section.items("credentials") {
        let Some(name) = item.text() else { continue };
        match headers::parse(&name) {
            Ok(name) => names.push(name.as_str().to_owned()),
            Err(problem) => {
                let advice = "name a header that clients authenticate with, such as authorization";
                item.refuse(format!("{} {problem}", quote(&name)), advice);
            }
        }
    }
    names
}

fn cookie_name(section: &Section<'_>) -> Option<String> {
    let item = section.get("cookieName")?;
    let name = item.text()?;
    if !headers::is_cookie_name(&name) {
        let advice = "use letters, digits, - and _ only";
        item.refuse(format!("{} is not a cookie name", quote(&name)), advice);
        return None;
    }
    if name.starts_with("__Host-") || name.starts_with("__Secure-") {
        let advice = "choose a name without the prefix __Host- or __Secure-";
        item.warn("is a cookie that browsers accept over HTTPS only", advice);
    }
    Some(name)
}

fn header_name(section: &Section<'_>) -> Option<String> {
    let item = section.get("headerName")?;
    let name = item.text()?;
    match headers::check_affinity(&name) {
        Ok(()) => Some(name),
        Err(problem) => {
            let advice = "choose another name, such as X-MCPHub-Node";
            item.refuse(format!("{} {problem}", quote(&name)), advice);
            None
        }
    }
}
