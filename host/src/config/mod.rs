//! Raw → valid: the settings file and the environment become one [`Config`].
//!
//! ```text
//! source ─ text ─ document ─ tree ─ section, item ─ values ─ Config
//!                                  └ known_keys ─┐
//!                        finding: every mistake, ┴ with its place and what to do
//! ```
//!
//! A reader takes a section, reads its keys and returns a plain value. A mistake
//! becomes a finding and the default takes its place, so that one start reports all
//! mistakes. The file is untrusted; every value in a [`Config`] has been checked, and
//! no other module checks it again.

mod check;
mod emptiness;
mod exposure;
mod import;
mod reader;
mod schema;
mod sections;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonc_parser::ast::Value;

use self::reader::finding::Notes;
use self::reader::item::Item;
use self::reader::place::Place;
use self::reader::section::Section;
use self::reader::source::SettingsText;

pub use check::describe;
pub use exposure::{OpenDoor, open_cluster_warning, open_door_warnings, open_doors};
pub use import::{FileForm, ForeignServers, Merged, servers_of, with_servers};
pub use reader::dot_env::DotEnv;
pub use reader::finding::{ConfigErrors, Finding};
pub use reader::secret::Secret;
pub use reader::secret_file::{SECRETS, secret_variable};
pub use reader::secret_files::SecretFiles;
pub use reader::source::{FILE_NAME, Sources};
pub use reader::urls::proxy_url::{ProxyScheme, ProxySettings};
pub use reader::urls::redis_url::RedisUrl;
pub use reader::urls::url::endpoint_url;
pub use schema::{ADDRESS as SCHEMA_ADDRESS, text as schema_text};
pub use sections::access::Access;
pub use sections::bearer_keys::{BearerKey, KeyReach};
pub use sections::children::ChildVariables;
pub use sections::cluster::{Coordinator, Mode, NodeMode};
pub use sections::cluster_tls::ClusterTlsFiles;
pub use sections::collectors::OtlpCollector;
pub use sections::eras::{ConversationBy, Eras};
pub use sections::groups::{GroupEntries, GroupServer, GroupSettings};
pub use sections::limits::Limits;
pub use sections::listen::data_dir;
pub use sections::listen::{HOST_KEY, HOST_VARIABLE, Listen, PORT_KEY, PORT_VARIABLE, SocketPlace};
pub use sections::listen_tls::{ClientAuthorities, ListenTls};
pub use sections::lock::Lock;
pub use sections::names::{Names, Prefix};
pub use sections::otlp_protocol::OtlpProtocol;
pub use sections::policy::PolicyRule;
pub use sections::proxy::OwnProxy;
pub use sections::rates::{RatePer, RateSettings};
pub use sections::servers::confinement::ConfinementSettings;
pub use sections::servers::login::{LoginPlaceSettings, LoginSettings};
pub use sections::servers::oauth::{TokenPlaceSettings, TokenSettings};
pub use sections::servers::other_systems::is_of_windows;
pub use sections::servers::sandbox::SandboxSettings;
pub use sections::servers::server_tls::{ClientIdentity, ServerTls};
pub use sections::servers::shown_tools::{EntrySettings, Selections};
pub use sections::servers::timeouts::RequestOptions;
pub use sections::servers::transport::{Remote, Transport};
pub use sections::servers::{Isolation, OnLost, Server, ServerEra};
pub use sections::state::StateSettings;
pub use sections::sticky::{Sticky, Wasi};
pub use sections::store::Store;
pub use sections::telemetry::{
    AuditOutput, LogDestination, LogFormat, LogOutput, MetricOutput, TelemetrySettings, TraceOutput,
};
pub use sections::token_issuers::TokenIssuer;

/// Every setting of Mooring, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub listen: Listen,
    /// Folder for identity, keys and session records. May not exist yet.
    pub data_dir: PathBuf,
    /// The settings file and files with secrets, which servers must not read.
    pub own_files: Vec<PathBuf>,
    /// Files that values of the settings are read from. A change of one is a change of the settings.
    pub named_files: Vec<PathBuf>,
    /// Those of them that no server may read.
    pub secret_files: Vec<PathBuf>,
    pub mode: Mode,
    /// What coordinators share; memory for other processes.
    pub store: Store,
    pub sticky: Sticky,
    /// The secret that coordinator and nodes share.
    pub token: Option<Secret>,
    /// What coordinator and nodes speak TLS with; `None`: they do as with everybody else.
    pub cluster_tls: Option<ClusterTlsFiles>,
    /// Seals session ids; generated into the data folder if absent.
    pub secret: Option<Secret>,
    /// In file order, including disabled and misconfigured ones.
    pub servers: Vec<Server>,
    pub groups: Vec<GroupSettings>,
    pub names: Names,
    pub eras: Eras,
    /// What child processes get beside their own variables.
    pub children: ChildVariables,
    pub access: Access,
    pub limits: Limits,
    pub telemetry: TelemetrySettings,
    /// Bytes. With less free memory, this process gets no new sessions while another
    /// node has room. `None`: a default derived from the machine's memory.
    pub min_free_memory: Option<u64>,
    /// Longest time from the order to end, or to drain, until idle sessions are let go.
    pub drain_deadline: Duration,
}

impl Config {
    /// Whether this process is a node whose own `/mcp` and `/api` serve no client: nothing opens
    /// them, and there is no key that a client could show.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let has_way_in = !self.access.lock.keys().is_empty() || self.access.lock == Lock::Tokens;
        !serves_clients(&self.mode) && !has_way_in
    }

    /// Whether clients come in by certificates.
    #[must_use]
    pub fn takes_certificates(&self) -> bool {
        self.listen.tls.as_ref().is_some_and(|tls| tls.clients.is_some())
    }

    /// Whether no server runs here: there is none, or all are off or misconfigured. A coordinator
    /// needs none of its own.
    #[must_use]
    pub fn runs_no_server(&self) -> bool {
        let runs = |server: &Server| server.enabled && server.misconfigured.is_none();
        !matches!(self.mode, Mode::Coordinator(_)) && !self.servers.iter().any(runs)
    }
}

/// Whether clients may come without a key of the file. A node serves its coordinator.
fn serves_clients(mode: &Mode) -> bool {
    !matches!(mode, Mode::Node(node) if !node.public)
}

/// A configuration without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Finding>,
    /// The file that was read; `None` if there was none.
    pub path: Option<PathBuf>,
    /// What to tell if no server runs: the file, and what is in it.
    pub no_servers: Option<Finding>,
    /// Whether the file has a list of servers, be it an empty one.
    pub lists_servers: bool,
}

/// Reads the configuration.
///
/// # Errors
///
/// All errors together, if the file cannot be read or a setting cannot be obeyed.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
    let data_dir = sections::listen::data_dir(sources);
    from_settings(reader::source::read(sources, &data_dir)?, sources)
}

fn from_settings(settings: SettingsText, sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
    let text = reader::document::without_bom(&settings.text);
    let notes = Notes::new(&settings.label, text);
    let (config, no_servers, lists_servers) = read(text, &settings, sources, &notes);
    let warnings = notes.settle()?;
    Ok(Loaded { config, warnings, path: settings.path, no_servers, lists_servers })
}

fn read(
    text: &str,
    settings: &SettingsText,
    sources: &Sources<'_>,
    notes: &Notes<'_>,
) -> (Config, Option<Finding>, bool) {
    let file = settings.path.as_deref();
    let folder = file.and_then(Path::parent).unwrap_or(&sources.cwd);
    let (dot_env, secrets) = (DotEnv::beside(folder, notes), SecretFiles::of(folder));
    let sources = &Sources { dot_env, secrets, ..sources.clone() };
    let tree = match settings.path {
        Some(_) => reader::document::parse(text, notes),
        None => {
            warn_of_no_file(sources, notes);
            None
        }
    };
    sections::mcphub_variables::warn(sources, notes);
    let root = root(tree.as_ref(), notes);
    if let Some(object) = root.object {
        reader::known_keys::warn_of_unread(object, notes);
    }
    let mut config = assemble(&root, sources, folder);
    config.own_files.extend(settings.path.clone());
    // All values have been read by now.
    config.named_files = sources.secrets.named();
    config.secret_files = sources.secrets.secret();
    let no_servers = emptiness::of(&config, root.object, &settings.label);
    (config, no_servers, emptiness::is_meant(root.object))
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
    let cluster = sections::cluster::read(&section, sources);
    let sticky = section.clone().with_defaults().section("stickySession");
    let servers = sections::servers::read(root, sources, folder);
    let is_remote = |server: &Server| {
        server.enabled && !matches!(server.transport, None | Some(Transport::Stdio { .. }))
    };
    if servers.iter().any(is_remote) {
        sections::proxy::check_variables(sources, root.notes);
    }
    let is_coordinator = matches!(cluster.mode, Mode::Coordinator(_));
    let access = sections::access::read(root, sources, serves_clients(&cluster.mode));
    // Without a key, whoever reaches the port may use everything: only this machine does, until the
    // operator says otherwise. Coordinators and nodes are there for other machines.
    let has_lock = access.lock != Lock::Open || sections::lock::takes_certificates(&system);
    let is_for_others = cluster.mode != Mode::Standalone || has_lock;
    let listen = sections::listen::read(&system, sources, is_for_others, folder);
    let in_cluster = section.clone().lenient_unless(cluster.mode != Mode::Standalone);
    let cluster_tls = sections::cluster_tls::read(&in_cluster, sources, folder)
        .filter(|_| cluster.mode != Mode::Standalone);
    if let Mode::Node(node) = &cluster.mode {
        sections::listen::refuse_for_node(&system, &listen, node, cluster_tls.is_some());
        if let Some(tls) = &cluster_tls {
            sections::cluster_tls::refuse_for_node(&section, tls, node);
        }
    }
    let own = servers.iter().filter(|server| server.enabled && server.misconfigured.is_none());
    let names: Vec<&str> = own.map(|server| server.name.as_str()).collect();
    sections::store::refuse_servers(&section, &cluster.store, &names);
    if !listen.is_loopback() {
        sections::cluster::refuse_short_token(&section, &cluster, sources);
    }
    let mut own_files = reader::secret_file::files(sources);
    own_files.extend(listen.tls.iter().flat_map(|tls| tls.keys().cloned()));
    own_files.extend(cluster_tls.iter().map(|tls| tls.key.clone()));
    Config {
        listen,
        data_dir: sections::listen::data_dir(sources),
        own_files,
        named_files: Vec::new(),
        secret_files: Vec::new(),
        sticky: sections::sticky::read(&sticky, folder, cluster.affinity_timeout),
        groups: sections::groups::read(root, &servers, is_coordinator),
        // Hidden tools may be written with the separator: a wrong one must not show them.
        names: sections::names::read(&system),
        eras: sections::eras::read(&system),
        children: sections::children::read(&system, sources),
        access,
        limits: sections::limits::read(&system.clone().with_defaults()),
        telemetry: sections::telemetry::read(&system, folder, sources),
        min_free_memory: cluster.min_free_memory,
        store: cluster.store,
        drain_deadline: cluster.drain_deadline,
        mode: cluster.mode,
        token: cluster.token,
        cluster_tls,
        secret: cluster.secret,
        servers,
    }
}

fn warn_of_no_file(sources: &Sources<'_>, notes: &Notes<'_>) {
    let here = sources.cwd.join(FILE_NAME);
    notes.warn_file(
        format!("no settings file at {}, so every default applies", here.display()),
        "name the file with --config or MCPHUB_SETTING_PATH",
    );
}
