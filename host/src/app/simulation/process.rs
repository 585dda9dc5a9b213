//! Starts simulated processes: the parts of the gateway as `app::parts` makes them, with the
//! simulated network in place of sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use http::{Method, StatusCode};
use tempfile::TempDir;

use crate::admin::Local;
use crate::app::background;
use crate::app::descriptors::Descriptors;
use crate::app::parts::{Base, Parts};
use crate::cluster::{self, RunnerView};
use crate::config::{self, Config, DotEnv, Sources};
use crate::edge::{self, Ends};
use crate::net::played;
use crate::protocol::headers;
use crate::sync::Signal;
use crate::wasm::Strategy;

use super::network::{SERVER, WayOut};
use super::world::{ProcessStart, Running, World};
use super::{COORDINATOR, Plant};

/// Where every process takes itself to be.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 3000);
const DESCRIPTORS: Descriptors = Descriptors { limit: 1024, inherited: 1024 };
/// Milliseconds. As in a real cluster, a lease is several heartbeats.
const HEARTBEAT: u64 = 500;
const NODE_TIMEOUT: u64 = 1500;

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
    (coordinator, super::NODES.iter().map(|id| node(id)).collect())
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
    let running = match process {
        COORDINATOR => coordinator(world, start, folder),
        node => self::node(world, start, &SETTINGS.1[node - 1]),
    };
    played::play(None);
    world.begin(process, running);
}

fn coordinator(world: &Arc<World>, start: ProcessStart, folder: &Path) -> Running {
    let config = Config { data_dir: folder.to_owned(), ..SETTINGS.0.clone() };
    let address = SocketAddr::from(ADDRESS);
    let (parts, background) =
        Parts::build(&config, address, 1, DESCRIPTORS).expect("a coordinator");
    let (control, link) = (Arc::clone(&parts.control), parts.control_link.clone());
    let recall = cluster::recall(control, parts.folder.clone(), link);
    let tasks = [
        tokio::spawn(world.within(start, recall)),
        tokio::spawn(world.within(start, background::watch_leases(Arc::clone(&parts)))),
        tokio::spawn(
            world.within(start, background::mark_suspects(Arc::clone(&parts), background.suspects)),
        ),
    ];
    let (worker, leaving) = (parts.worker(0), Signal::default());
    let (draining, plant) = (leaving.watch(), world.plant);
    let serve = move |request: http::Request<crate::net::Body>, proved| {
        let (parts, worker, draining) = (Arc::clone(&parts), worker.clone(), draining.clone());
        let answering: futures_util::future::BoxFuture<'static, _> = Box::pin(async move {
            let path = request.uri().path().to_owned();
            if parts.routes.takes(&path) {
                let ends = Ends { peer: address, local: address, proved };
                let mut response = parts.routes.serve(&worker, request, ends).await;
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
    Running {
        party: None,
        serve: Arc::new(serve),
        tasks: tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect(),
        leaving,
    }
}

fn node(world: &Arc<World>, start: ProcessStart, config: &Config) -> Running {
    let address = SocketAddr::from(ADDRESS);
    let (base, _) = Base::build(config, address, 1, DESCRIPTORS).expect("a node");
    let view: Arc<dyn RunnerView> =
        Arc::new(Local { runner: Arc::clone(&base.runner), node: base.node_id.clone() });
    let (routes, agent) = base.node_side(config, address, &view);
    let (routes, (agent, _)) = routes.zip(agent).expect("the parts of a node");
    let party = (agent.identity.id.to_string(), agent.identity.incarnation.clone());
    let (link, leaving) = (base.links.another(), Signal::default());
    let task = tokio::spawn(world.within(start, agent.run(true, leaving.watch())));
    let plant = world.plant;
    let serve = move |request: http::Request<crate::net::Body>, proved| {
        let (routes, endpoint) = (routes.clone(), link.local());
        let answering: futures_util::future::BoxFuture<'static, _> = Box::pin(async move {
            // The planted fault: a session that is to be closed lives on.
            if plant == Plant::ClosedLivesOn && *request.method() == Method::DELETE {
                return http::Response::new(crate::net::Body::Empty);
            }
            routes.serve(endpoint, request, (address, address), proved).await
        });
        answering
    };
    Running {
        party: Some(party),
        serve: Arc::new(serve),
        tasks: vec![task.abort_handle()],
        leaving,
    }
}
