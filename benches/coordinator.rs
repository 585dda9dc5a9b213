//! Cost of a coordinator by its number of nodes and of sessions:
//!
//! ```text
//! cargo bench -p mooring-benches --bench coordinator -- --help
//! ```
//!
//! Nodes are simulated, all in this process: each listens, proves its identity and sends
//! heartbeats. Sessions are real, on a real node in front of an HTTP server; their connections are
//! closed.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use mooring::cluster::{Heartbeat, LoadReport, Registration, ServerReport};
use mooring::model::UnixMillis;
use mooring::protocol::handshake::{Called, Hello, PROOF_LINE, Party, Proof};
use mooring::protocol::headers::seam;
use mooring::protocol::request_proof::{Proved, RequestProof};
use mooring_benches::connection::Connection;
use mooring_benches::session::Session;
use mooring_benches::targets::{Kit, Running, mooring as target};
use mooring_benches::usage::Usage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Pause before a measurement, for delayed deallocation and the first catalogs.
const SETTLE: Duration = Duration::from_secs(2);
/// A node's default interval.
const HEARTBEAT: Duration = Duration::from_secs(5);
const INCARNATION: &str = "00000000-0000-4000-8000-000000000000";
const SECRET: &str = "00000000-0000-4000-8000-000000000001";
/// Bytes of the largest request to a node.
const MAX_HEAD: usize = 16 * 1024;
const AT_ONCE: usize = 16;

#[derive(Parser)]
struct Options {
    /// Simulated nodes.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Seconds for which the heartbeats are measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Sessions without a connection; one client may have 10,000.
    #[arg(long, default_value_t = 8000)]
    sessions: usize,
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
    nodes(&kit, options.nodes, Duration::from_secs(options.seconds)).await?;
    sessions(&kit, options.sessions).await
}

async fn nodes(kit: &Kit, count: usize, window: Duration) -> Result<()> {
    let running = target::coordinator(kit).await?;
    let port = running.endpoint.port;
    let alone = share_of_a_core(&running, window).await?;
    let began = Instant::now();
    let nodes: Vec<Node> = stream::iter(0..count)
        .map(|number| Node::start(number, port))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let registered = began.elapsed();
    let beating: Vec<_> = nodes.into_iter().map(|node| tokio::spawn(node.beat(port))).collect();
    tokio::time::sleep(SETTLE + HEARTBEAT).await;
    let with = share_of_a_core(&running, window).await?;
    ensure!(!beating.iter().any(|task| task.is_finished()), "a node's heartbeat was refused");
    let active = active(port).await?;
    ensure!(active == count, "{active} of {count} nodes are active");
    println!("{count} nodes registered in {:.1} s", registered.as_secs_f64());
    println!("coordinator's CPU, of one core: {:.2} % with them, {:.2} % without", with, alone);
    Ok(())
}

async fn sessions(kit: &Kit, count: usize) -> Result<()> {
    let running = target::cluster_before_http(kit).await?;
    let coordinator = || async {
        tokio::time::sleep(SETTLE).await;
        Usage::of_gateway(running.gateways[0].pid).map(|usage| usage.memory_bytes)
    };
    // A warm-up, so that one-time allocations do not count for the sessions.
    for marker in 0..count / 10 {
        Session::open(&running.endpoint, marker, 16).await?.end().await?;
    }
    let before = coordinator().await?;
    open(&running, count).await?;
    let after = coordinator().await?;
    let each = after.saturating_sub(before) as f64 / count as f64;
    println!("{count} sessions without a connection: {each:.0} bytes each at the coordinator");
    Ok(())
}

/// Opens sessions and closes their connections without ending them.
async fn open(running: &Running, count: usize) -> Result<()> {
    for marker in 0..count {
        drop(Session::open(&running.endpoint, marker, 16).await?);
    }
    Ok(())
}

/// The gateway's CPU use during `window`, in percent of one core.
async fn share_of_a_core(running: &Running, window: Duration) -> Result<f64> {
    let cpu = || Usage::of_gateway(running.gateways[0].pid).map(|usage| usage.cpu);
    let (before, began) = (cpu()?, Instant::now());
    tokio::time::sleep(window).await;
    Ok((cpu()? - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0)
}

async fn active(port: u16) -> Result<usize> {
    let request = format!("GET /api/cluster/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut connection = Connection::open(port).await?;
    let response = connection.exchange(request.as_bytes()).await?;
    let status: serde_json::Value = serde_json::from_slice(response.body)?;
    let active = status["data"]["stats"]["activeNodes"].as_u64().context("activeNodes")?;
    Ok(usize::try_from(active)?)
}

/// A simulated node.
struct Node {
    id: String,
    number: usize,
}

impl Node {
    /// Listens and registers.
    async fn start(number: usize, coordinator: u16) -> Result<Self> {
        let id = format!("node-{number}");
        let own = Arc::new(Party { id: id.clone(), incarnation: INCARNATION.to_owned() });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&own)));
            }
        });
        let registration = Registration {
            id: id.clone(),
            name: id.clone(),
            url: format!("http://127.0.0.1:{port}"),
            servers: servers(),
            incarnation: INCARNATION.to_owned(),
            secret: Some(SECRET.to_owned()),
            advertised: true,
            load: Some(load()),
            ..Registration::default()
        };
        let mut connection = Connection::open(coordinator).await?;
        post(&mut connection, coordinator, "register", &id, &registration).await?;
        Ok(Self { id, number })
    }

    /// Sends full heartbeats on one connection, one in each interval.
    async fn beat(self, coordinator: u16) -> Result<()> {
        let mut connection = Connection::open(coordinator).await?;
        // Spreads the nodes' heartbeats over the interval.
        tokio::time::sleep(HEARTBEAT.mul_f64(self.number as f64 * 0.618 % 1.0)).await;
        let mut timer = tokio::time::interval(HEARTBEAT);
        loop {
            timer.tick().await;
            let heartbeat = Heartbeat {
                id: self.id.clone(),
                incarnation: INCARNATION.to_owned(),
                servers: Some(servers()),
                load: Some(load()),
                ..Heartbeat::default()
            };
            post(&mut connection, coordinator, "heartbeat", &self.id, &heartbeat).await?;
        }
    }
}

fn servers() -> Vec<ServerReport> {
    (0..5).map(|server| ServerReport::Name(format!("server-{server}"))).collect()
}

fn load() -> LoadReport {
    LoadReport { slots: 100, cpus: 2, ..LoadReport::default() }
}

async fn post(
    connection: &mut Connection,
    port: u16,
    what: &str,
    id: &str,
    message: &impl serde::Serialize,
) -> Result<()> {
    let body = serde_json::to_string(message)?;
    let (path, called) = (format!("/api/cluster/{what}"), format!("http://127.0.0.1:{port}"));
    let proved = Proved { method: "POST", path: &path, body: body.as_bytes() };
    let proof = RequestProof::make(SECRET.as_bytes(), id, &called, UnixMillis::now(), &proved);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{}: {proof}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        seam::PROOF,
        body.len()
    );
    let response = connection.exchange(request.as_bytes()).await?;
    let (status, body) = (response.status, String::from_utf8_lossy(response.body));
    ensure!(status == 200, "{what} answered {status}: {body}");
    Ok(())
}

/// Answers the coordinator on one connection: the handshake, and that no session is here.
async fn serve(mut stream: TcpStream, own: Arc<Party>) -> Result<()> {
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < MAX_HEAD, "a head of more than {MAX_HEAD} bytes");
            head.push(stream.read_u8().await?);
        }
        let text = std::str::from_utf8(&head)?;
        let hello = text.lines().filter_map(|line| line.split_once(": "));
        let hello = hello.clone().find(|(name, _)| name.eq_ignore_ascii_case(seam::LINK.as_str()));
        let Some((_, hello)) = hello else {
            let body = r#"{"bindings":[]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
            continue;
        };
        let hello = Hello::parse(hello.as_bytes()).context("hello")?;
        let begun = Called::receive(SECRET.as_bytes(), &own, &hello);
        let (called, challenge) = begun.ok().context("another node is called")?;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {}\r\n\
             {}: {challenge}\r\n\r\n",
            seam::LINK_PROTOCOL,
            seam::LINK
        );
        stream.write_all(answer.as_bytes()).await?;
        let mut line = [0; PROOF_LINE];
        stream.read_exact(&mut line).await?;
        let given = Proof::parse(&line).context("proof")?;
        let proof = called.prove(&given).ok().context("the coordinator's proof is wrong")?;
        stream.write_all(proof.line().as_bytes()).await?;
    }
}
