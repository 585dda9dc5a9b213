//! Starts simulated processes: the parts of the gateway as `app::parts` makes them, with the
//! simulated network in place of sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use tempfile::TempDir;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::app::background;
use crate::app::descriptors::Descriptors;
use crate::app::ending::{drain, shutdown};
use crate::app::parts::{Background, Parts};
use crate::cluster;
use crate::config::{self, Config, DotEnv, SecretFiles, Sources};
use crate::edge::{self, Ends};
use crate::net::{Body, played};
use crate::protocol::headers;
use crate::sync::Signal;
use crate::telemetry::NoLog;
use crate::wasm::Strategy;

use super::network::{SERVER, WayOut};
use super::plan::{COORDINATOR, NODES, Plant};
use super::world::{ProcessStart, Running, World};

/// Where every process takes itself to be.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 3000);
const DESCRIPTORS: Descriptors = Descriptors { limit: 1024, inherited: 1024 };
/// Milliseconds. As in a real cluster, a lease is several heartbeats.
const HEARTBEAT: u64 = 500;
const NODE_TIMEOUT: u64 = 1500;
/// How long sessions get to leave a node that ends.
pub const LEAVES_WITHIN: Duration = Duration::from_secs(2);

/// What every start of a process takes long to make, and is the same for all.
pub struct Costly {
    pub tls: Arc<rustls::ClientConfig>,
    pub strategy: Strategy,
}

static COSTLY: OnceLock<Costly> = OnceLock::new();

/// What is made once, in a process that simulates.
pub fn costly() -> Option<&'static Costly> {
    COSTLY.get()
}

/// The settings of a coordinator and of nodes.
static SETTINGS: LazyLock<(Config, Vec<Config>)> = LazyLock::new(|| {
    let coordinator = config(&format!(
        r#"{{"systemConfig": {{"cluster": {{"enabled": true, "mode": "coordinator",
            "coordinator": {{"nodeTimeout": {NODE_TIMEOUT}}},
            "stickySession": {{"enabled": false}}}}}}}}"#
    ));
    let node = |id: &str| {
        config(&format!(
            r#"{{"mcpServers": {{"s": {{"type": "streamable-http", "url": "http://{SERVER}{id}:9/mcp"}}}},
                "systemConfig": {{"cluster": {{"enabled": true, "mode": "node", "node": {{
                "id": "{id}", "name": "{id}", "coordinatorUrl": "http://coordinator:3000",
                "advertiseUrl": "http://{id}:3000", "heartbeatInterval": {HEARTBEAT}}}}}}}}}"#
        ))
    };
    (coordinator, NODES.iter().map(|id| node(id)).collect())
});

fn config(text: &str) -> Config {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join(config::FILE_NAME);
    std::fs::write(&file, text).expect("settings");
    let env = |name: &str| match name {
        "MOORING_CLUSTER_TOKEN" => Some("a token of sixteen bytes and more".to_owned()),
        "MOORING_SECRET" => Some("a secret of thirty-two bytes and more".to_owned()),
        "MOORING_DATA" => Some("/proc/self/no-such-folder".to_owned()),
        _ => None,
    };
    let sources = Sources {
        explicit: Some(file),
        env: &env,
        cwd: folder.path().to_owned(),
        allow_open: false,
        dot_env: DotEnv::default(),
        secrets: SecretFiles::default(),
    };
    config::load(&sources).unwrap_or_else(|errors| panic!("{errors}")).config
}

/// Makes what is made once. Not within a simulation.
pub fn prepare() {
    COSTLY.get_or_init(|| {
        let (coordinator, _) = &*SETTINGS;
        let source = crate::wasm::Source::parse(&coordinator.sticky.strategy);
        let options = crate::app::strategy_options(&coordinator.sticky, 1);
        Costly {
            tls: crate::net::client_config().expect("TLS"),
            strategy: Strategy::load(&source, &coordinator.sticky.json, &options)
                .expect("a strategy"),
        }
    });
}

/// Starts the process at this place, with what its last start has left in the folder.
pub fn start(world: &Arc<World>, process: usize, folder: &Path) {
    let start = world.next_start(process);
    world.trace(|| format!("{} starts", world.processes[process].host));
    played::play(Some(Arc::new(WayOut { world: Arc::downgrade(world), start })));
    let running = world.processes[process].clock.with(|| match process {
        COORDINATOR => coordinator(world, start, folder),
        node => self::node(world, start, &SETTINGS.1[node - 1]),
    });
    played::play(None);
    world.begin(process, running);
}

fn coordinator(world: &Arc<World>, start: ProcessStart, folder: &Path) -> Running {
    // Part of the planted fault: the coordinator does not know the nodes of its last start.
    if world.plant == Plant::UnknownIsCalledKnown {
        std::fs::remove_file(folder.join(cluster::SNAPSHOT)).ok();
    }
    let config = Config { data_dir: folder.to_owned(), ..SETTINGS.0.clone() };
    let (parts, background) = parts(&config);
    let (control, link) = (Arc::clone(&parts.control), parts.control_link.clone());
    let recall = cluster::recall(Arc::clone(&control), parts.folder.clone(), link.clone());
    let watch = cluster::watch_leases(control, link, background.doubted);
    let close = background::close_forgotten(Arc::clone(&parts), background.forgotten);
    let tasks = vec![run(world, start, recall), run(world, start, watch), run(world, start, close)];
    let (worker, plant) = (parts.worker(0), world.plant);
    let draining = Signal::default();
    let serve = move |request: Request<Body>, proved| {
        let (parts, worker, draining) = (Arc::clone(&parts), worker.clone(), draining.watch());
        let answering: BoxFuture<'static, _> = Box::pin(async move {
            let path = request.uri().path().to_owned();
            if parts.routes.takes(&path) {
                let mut response = parts.routes.serve(&worker, request, ends(proved)).await;
                // The planted fault: a node that is not known is not told so.
                if plant == Plant::UnknownIsCalledKnown
                    && path.ends_with("/heartbeat")
                    && response.status() == StatusCode::NOT_FOUND
                {
                    *response.status_mut() = StatusCode::OK;
                }
                return response;
            }
            let sealed = request.headers().get(headers::SESSION).cloned();
            let address = SocketAddr::from(ADDRESS);
            let response = edge::answer(&worker, request, (address, address), &draining).await;
            // The planted fault: what has been decided is forgotten.
            if plant == Plant::BindingsAreForgotten
                && let Some(session) = sealed.and_then(|id| parts.edge.keys.peek(id.to_str().ok()?))
                && session.as_bytes()[1] % 2 == 0
            {
                parts.edge.bindings.forget(session);
            }
            response
        });
        answering
    };
    Running { party: None, serve: Arc::new(serve), tasks, leave: Box::new(|| {}) }
}

fn node(world: &Arc<World>, start: ProcessStart, config: &Config) -> Running {
    let (parts, background) = parts(config);
    let (agents, at_once) = background.agents.expect("a node's agents");
    let identity = &agents.agents[0].identity;
    let party = (identity.id.to_string(), identity.incarnation.clone());
    let leaving = Signal::default();
    let tasks = vec![
        run(world, start, agents.run(at_once, leaving.watch())),
        run(world, start, drain::carry_out(Arc::clone(&parts))),
    ];
    let (worker, plant, own) = (parts.worker(0), world.plant, Arc::clone(&parts));
    let serve = move |mut request: Request<Body>, proved| {
        let (parts, worker) = (Arc::clone(&own), worker.clone());
        let answering: BoxFuture<'static, _> = Box::pin(async move {
            // The planted fault: what a session has left is found again, and called current.
            let mut given = None;
            if plant == Plant::LeftIsCalledCurrent {
                if *request.method() == Method::DELETE {
                    return Response::new(Body::Empty);
                }
                given = request.headers_mut().remove(headers::seam::EPOCH);
                request.headers_mut().remove(headers::seam::OPENED);
            }
            let mut response = parts.routes.serve(&worker, request, ends(proved)).await;
            if let Some(given) = given.filter(|_| response.status().is_success()) {
                response.headers_mut().insert(headers::seam::EPOCH, given);
            }
            response
        });
        answering
    };
    let leave = {
        let (world, leaving) = (Arc::downgrade(world), Arc::new(leaving));
        move || {
            let (parts, leaving) = (Arc::clone(&parts), Arc::clone(&leaving));
            let Some(world) = world.upgrade() else { return };
            let end = async move {
                shutdown::quiet(&parts, Instant::now() + LEAVES_WITHIN).await;
                leaving.raise();
            };
            run(&world, start, end);
        }
    };
    Running { party: Some(party), serve: Arc::new(serve), tasks, leave: Box::new(leave) }
}

fn parts(config: &Config) -> (Arc<Parts>, Background) {
    let address = SocketAddr::from(ADDRESS);
    // Without a store to share, nothing is waited for.
    let log = Arc::new(NoLog);
    let parts = Parts::without_own_node(config, address, 1, DESCRIPTORS, log).now_or_never();
    parts.expect("no wait").expect("the parts of a process")
}

fn ends(proved: bool) -> Ends {
    let address = SocketAddr::from(ADDRESS);
    Ends { peer: address, local: address, proved, is_tls: false }
}

/// A task of a process.
fn run(
    world: &Arc<World>,
    start: ProcessStart,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    tokio::spawn(world.within(start, task)).abort_handle()
}
