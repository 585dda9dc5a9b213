//! Raw → valid: the settings file and the environment become one [`Config`].
//!
//! ```text
//! source ─ text ─ document ─ tree ─ section, item ─ values ─ Config
//!                                  └ known_keys ─┐
//!                        finding: every mistake, ┴ each with its place and a way out
//! ```
//!
//! A reader takes a section, asks for its keys, and answers with a
//! plain value; a mistake becomes a finding and the default takes its place, so
//! that one start shows all of them. What a [`Config`] holds has been checked:
//! nobody above checks it again. The file is hostile until then.

mod access;
mod check;
mod cluster;
mod confinement;
mod document;
mod expand;
mod finding;
mod groups;
mod headers;
mod item;
mod json;
mod keys;
mod known_keys;
mod limits;
mod listen;
mod names;
mod nearest;
mod place;
mod reading;
mod secret;
mod section;
mod servers;
mod shown;
mod source;
mod sticky;
#[cfg(test)]
mod tests;
mod transport;
mod url;

use std::path::{Path, PathBuf};

use jsonc_parser::ast::Value;

pub use access::Access;
pub use check::describe;
pub use cluster::{Coordinator, Mode, NodeMode};
pub use confinement::Confinement;
pub use finding::{Finding, Report};
pub use groups::{Chosen, Group, GroupServer};
pub use limits::Limits;
pub use listen::Listen;
pub use names::{Names, Prefix};
pub use secret::Secret;
pub use servers::{Isolation, OnLost, RequestOptions, Selection, Selections, Server};
pub use source::{FILE_NAME, Sources};
pub use sticky::{Sticky, Wasi};
pub use transport::{Remote, Transport};

use finding::Notes;
use item::Item;
use place::Place;
use section::Section;
use source::Settings;

/// Everything that Mooring can be told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub listen: Listen,
    /// Identity, keys and records live here. May not exist yet.
    pub data_dir: PathBuf,
    pub mode: Mode,
    pub sticky: Sticky,
    /// What coordinator and nodes show each other.
    pub token: Option<Secret>,
    /// Seals session ids; generated into the data folder if absent.
    pub secret: Option<Secret>,
    /// In file order, disabled and misconfigured ones too.
    pub servers: Vec<Server>,
    pub groups: Vec<Group>,
    pub names: Names,
    pub access: Access,
    pub limits: Limits,
    /// With less free memory, in bytes, this process's host is given no new
    /// sessions while another one has more. Absent: what suits the machine.
    pub min_free_memory: Option<u64>,
}

/// A configuration that can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Finding>,
    /// The file that was read: what to watch. `None` if there was none.
    pub path: Option<PathBuf>,
}

/// Reads the configuration.
///
/// # Errors
///
/// All mistakes together, if there is one that would make Mooring do something
/// else than the file says.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Report> {
    from_settings(source::read(sources)?, sources)
}

fn from_settings(settings: Settings, sources: &Sources<'_>) -> Result<Loaded, Report> {
    let text = document::without_bom(&settings.text);
    let notes = Notes::new(&settings.label, text);
    let config = read(text, &settings, sources, &notes);
    let warnings = notes.settle()?;
    Ok(Loaded { config, warnings, path: settings.path })
}

fn read(text: &str, settings: &Settings, sources: &Sources<'_>, notes: &Notes<'_>) -> Config {
    let tree = match settings.path {
        Some(_) => document::parse(text, notes),
        None => {
            warn_of_no_file(sources, notes);
            None
        }
    };
    let root = root(tree.as_ref(), notes);
    if let Some(object) = root.object {
        known_keys::warn_of_unread(object, notes);
    }
    let file = settings.path.as_deref();
    let folder = file.and_then(Path::parent).unwrap_or(&sources.cwd);
    assemble(&root, sources, folder)
}

fn root<'d>(tree: Option<&'d Value<'d>>, notes: &'d Notes<'d>) -> Section<'d> {
    let place = Place::root();
    match tree {
        Some(value) => Item { notes, place, value }.section(),
        None => Section { notes, place, object: None },
    }
}

fn assemble(root: &Section<'_>, sources: &Sources<'_>, folder: &Path) -> Config {
    let system = root.section("systemConfig");
    let section = system.section("cluster");
    let cluster = cluster::read(&section, sources);
    let sticky = section.section("stickySession");
    let servers = servers::read(root, sources, folder);
    let is_coordinator = matches!(cluster.mode, Mode::Coordinator(_));
    Config {
        listen: listen::read(&system, sources),
        data_dir: listen::data_dir(sources),
        sticky: sticky::read(&sticky, folder, cluster.affinity_timeout),
        groups: groups::read(root, &servers, is_coordinator),
        names: names::read(&system),
        access: access::read(root, sources),
        limits: limits::read(&system),
        min_free_memory: cluster.min_free_memory,
        mode: cluster.mode,
        token: cluster.token,
        secret: cluster.secret,
        servers,
    }
}

fn warn_of_no_file(sources: &Sources<'_>, notes: &Notes<'_>) {
    let here = sources.cwd.join(FILE_NAME);
    notes.warn_file(
        format!("there is no settings file: looked for {}", here.display()),
        "name one with --config or MCPHUB_SETTING_PATH; every default applies",
    );
}
