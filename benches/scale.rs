//! One coordinator with 1,000 nodes and 1,000,000 sessions, before and after its crash:
//!
//! ```text
//! cargo bench -p mooring-benches --bench scale -- --help
//! ```
//!
//! The nodes are simulated, all in this process, and report the sessions when they register.
//! Clients are simulated too: they know the ids of sessions, and call.

#![forbid(unsafe_code)]

mod nodes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::stream::{self, StreamExt as _};
use memchr::memmem;
use mooring::model::{Principal, Scope, ServerName, SessionId, UnixMillis};
use mooring::protocol::seal::KeyRing;
use mooring::protocol::seal::session_id::{CarriedParams, Sealed};
use mooring::protocol::version::Version;
use mooring_benches::connection::Connection;
use mooring_benches::targets::{Kit, Running, mooring as target};
use mooring_benches::usage::Usage;
use serde_json::json;

use nodes::Node;

/// Pause before a measurement, for delayed deallocation and the first catalogs.
const SETTLE: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 16;
/// Longest wait for all sessions to be known.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(20);
const PARAMS: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}"#;

#[derive(Parser)]
struct Options {
    /// Simulated nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Sessions of all nodes together.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: usize,
    /// Sessions of these whose clients call.
    #[arg(long, default_value_t = 50_000)]
    clients: usize,
    /// Sessions that are begun, one after the other, to measure the choice of a node.
    #[arg(long, default_value_t = 3000)]
    begun: usize,
    /// Seconds for which the heartbeats are measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The binary to measure; by default the one beside this harness.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-bridge"));
    let kit = Kit::beside(fixture, options.mooring.clone(), 1);
    let window = Duration::from_secs(options.seconds);
    let mut cluster = Cluster::start(&kit, &options).await?;
    println!("| what | measured |");
    println!("| --- | ---: |");
    cluster.fill().await?;
    cluster.call(options.clients).await?;
    cluster.heartbeats(window).await?;
    cluster.begin(options.begun).await?;
    cluster.crash(&kit).await
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} |");
}

struct Cluster {
    running: Running,
    config: serde_json::Value,
    nodes: Vec<Node>,
    /// Each with the number of its node.
    sessions: Vec<(SessionId, usize)>,
    keys: KeyRing,
    /// The coordinator's CPU without nodes, in percent of one core.
    idle: f64,
}

impl Cluster {
    async fn start(kit: &Kit, options: &Options) -> Result<Self> {
        let most = options.sessions * 2;
        let config = json!({ "systemConfig": {
            "cluster": { "enabled": true, "mode": "coordinator" },
            "limits": { "sessions": most, "sessionsPerPrincipal": most, "connectionsPerAddress": 10_000 },
        } });
        let running = target::coordinator_with(kit, &config).await?;
        let secret = std::fs::read(running.sandbox.path("coordinator.data").join("secret"))?;
        let mut held: Vec<BTreeSet<SessionId>> = vec![BTreeSet::new(); options.nodes];
        let mut sessions = Vec::with_capacity(options.sessions);
        for number in 0..options.sessions {
            let (session, node) = (SessionId::mint(), number % options.nodes);
            held[node].insert(session);
            sessions.push((session, node));
        }
        let mut nodes = Vec::with_capacity(options.nodes);
        for (number, held) in held.into_iter().enumerate() {
            nodes.push(Node::listen(number, held).await?);
        }
        let idle = share_of_a_core(&running, Duration::from_secs(5)).await?;
        Ok(Self { running, config, nodes, sessions, keys: KeyRing::new(&[&secret]), idle })
    }

    fn port(&self) -> u16 {
        self.running.endpoint.port
    }

    /// The nodes register and report their sessions; heartbeats begin.
    async fn fill(&self) -> Result<()> {
        let before = self.memory().await?;
        let (port, began) = (self.port(), Instant::now());
        let registered = stream::iter(self.nodes.iter().cloned())
            .map(|node| async move {
                // All nodes share this thread: one whose report comes too late tries again, as a node
                // does.
                let registering = tokio::time::timeout(PATIENCE, node.register(port));
                registering.await.context("a node is not registered")?;
                tokio::spawn(node.beat(port));
                anyhow::Ok(())
            })
            .buffer_unordered(AT_ONCE);
        for result in registered.collect::<Vec<_>>().await {
            result?;
        }
        let took = began.elapsed();
        ensure!(
            metric(port, "mooring_sessions").await? == self.sessions.len(),
            "sessions are missing"
        );
        let after = self.memory().await?;
        let each = after.saturating_sub(before) as f64 / self.sessions.len() as f64;
        row(
            &format!(
                "{} nodes register, {} sessions are reported",
                self.nodes.len(),
                self.sessions.len()
            ),
            &format!("{:.1} s", took.as_secs_f64()),
        );
        row("memory of an idle session, node's share included", &format!("{each:.0} bytes"));
        Ok(())
    }

    /// Clients call in their sessions, so that these are counted for somebody.
    async fn call(&self, count: usize) -> Result<()> {
        let before = self.memory().await?;
        let calls = self.calls(count).await?;
        let after = self.memory().await?;
        let more = after.saturating_sub(before) as f64 / count as f64;
        row(&format!("calls in {count} of them, one each: p50, p99"), &calls);
        row("more memory of a session that was called", &format!("{more:.0} bytes"));
        Ok(())
    }

    /// Calls in so many sessions, spread over all nodes, at most 16 at a time. Each answer must
    /// come from the session's own node.
    async fn calls(&self, count: usize) -> Result<String> {
        let step = (self.sessions.len() / count.max(1)).max(1);
        // Not all of the same node in a row, whatever the numbers.
        let chosen: Vec<_> = self.sessions.iter().step_by(step).take(count).collect();
        let shares = chosen.chunks(chosen.len().div_ceil(AT_ONCE).max(1));
        let clients = shares.map(|share| self.client(share));
        let times = futures_util::future::try_join_all(clients).await?.concat();
        Ok(percentiles(times))
    }

    async fn client(&self, sessions: &[&(SessionId, usize)]) -> Result<Vec<Duration>> {
        let mut connection = Connection::open(self.port()).await?;
        let mut times = Vec::with_capacity(sessions.len());
        for (session, node) in sessions {
            let began = Instant::now();
            let response = connection.exchange(&self.request(*session)?).await?;
            times.push(began.elapsed());
            let (status, id) = (response.status, nodes::name(*node));
            let says = String::from_utf8_lossy(response.body);
            ensure!(
                status == 200 && says.contains(&format!("\"{id}\"")),
                "session of {id}: {status} {says}"
            );
        }
        Ok(times)
    }

    /// A call in a session, whose answer names the node.
    fn request(&self, session: SessionId) -> Result<Vec<u8>> {
        let sealed = Sealed {
            session,
            minted_at: UnixMillis::now().minus(Duration::from_secs(60)),
            version: Version::LATEST,
            named: None,
            params: CarriedParams::Inside(PARAMS.into()),
        };
        let scope = Scope::Server(ServerName::parse(&nodes::server(0))?);
        let id = self.keys.seal(&sealed, &scope, &Principal::anonymous()).context("no key")?;
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"NODE"}}}"#;
        Ok(self
            .post(&format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25\r\n"), body))
    }

    fn post(&self, headers: &str, body: &str) -> Vec<u8> {
        format!(
            "POST /mcp/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            nodes::server(0),
            self.port(),
            body.len()
        )
        .into_bytes()
    }

    async fn heartbeats(&self, window: Duration) -> Result<()> {
        tokio::time::sleep(nodes::HEARTBEAT).await;
        let with = share_of_a_core(&self.running, window).await?;
        row(
            &format!("heartbeats of {} nodes, CPU of one core", self.nodes.len()),
            &format!(
                "{:.2} % ({with:.2} % with them, {:.2} % without)",
                with - self.idle,
                self.idle
            ),
        );
        Ok(())
    }

    /// Begins sessions: the strategy chooses a node, which opens the server.
    async fn begin(&self, count: usize) -> Result<()> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{PARAMS}}}"#);
        let request = self.post("", &body);
        let mut connection = Connection::open(self.port()).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let response = connection.exchange(&request).await?;
            times.push(began.elapsed());
            ensure!(response.status == 200, "initialize answered {}", response.status);
        }
        row(
            &format!("{count} sessions begin, among {} nodes: p50, p99", self.nodes.len()),
            &percentiles(times),
        );
        Ok(())
    }

    /// The coordinator is killed and started again. Clients call from its first moment on.
    async fn crash(&mut self, kit: &Kit) -> Result<()> {
        let port = self.port();
        let began = Instant::now();
        target::coordinator_again(kit, &mut self.running, &self.config).await?;
        let listens = began.elapsed();
        let known = async {
            while metric(port, "mooring_sessions").await? < self.sessions.len() {
                ensure!(began.elapsed() < PATIENCE, "sessions are missing");
                tokio::time::sleep(POLL).await;
            }
            anyhow::Ok(began.elapsed())
        };
        let (known, calls) = futures_util::future::try_join(known, self.calls(1000)).await?;
        row("start after a crash: it listens after", &format!("{:.2} s", listens.as_secs_f64()));
        row("all sessions are known after", &format!("{:.2} s", known.as_secs_f64()));
        row("1,000 calls meanwhile, none of them at another node: p50, p99", &calls);
        ensure!(metric(port, "mooring_claims_cut_off_total").await? == 0, "claims were cut off");
        Ok(())
    }

    async fn memory(&self) -> Result<u64> {
        tokio::time::sleep(SETTLE).await;
        Usage::of_gateway(self.running.gateways[0].pid).map(|usage| usage.memory_bytes)
    }
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    format!("{:.2} ms, {:.2} ms", at(0.5), at(0.99))
}

/// The gateway's CPU use during `window`, in percent of one core.
async fn share_of_a_core(running: &Running, window: Duration) -> Result<f64> {
    let cpu = || Usage::of_gateway(running.gateways[0].pid).map(|usage| usage.cpu);
    let (before, began) = (cpu()?, Instant::now());
    tokio::time::sleep(window).await;
    Ok((cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}

/// A number in the coordinator's metrics.
async fn metric(port: u16, name: &str) -> Result<usize> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut connection = Connection::open(port).await?;
    let response = connection.exchange(request.as_bytes()).await?;
    let line = format!("\n{name} ");
    let at = memmem::find(response.body, line.as_bytes()).context("no such metric")?;
    let text = std::str::from_utf8(&response.body[at + line.len()..])?;
    Ok(text.lines().next().unwrap_or("").parse()?)
}
