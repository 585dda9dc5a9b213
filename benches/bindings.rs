//! Bindings a second of coordinators that share a Redis, with a `redis-server` of its own:
//!
//! ```text
//! cargo bench -p mooring-benches --bench bindings -- --help
//! ```
//!
//! Each coordinator is the shipped `Sharing` with its own connections, tables and tasks; what is in
//! front of it, a client's request, is not there.

#![forbid(unsafe_code)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mooring::config::RedisUrl;
use mooring::model::{NodeId, ServerName, SessionId};
use mooring::protocol::seal::KeyRing;
use mooring::store::shared::SharedStore;
use mooring::store::sharing::{Holder, Sharing, Told};
use mooring::store::{Bindings, DataFolder, MostSessions, Records, RedisStore};
use mooring_benches::usage::Usage;

const LIFETIME: Duration = Duration::from_secs(3600);
/// Longest wait for Redis, and for a coordinator that catches up.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// More than a coordinator keeps its sessions in; further ones are empty.
const PARTS: usize = 1024;

#[derive(Parser)]
struct Options {
    /// Sessions that are bound in each measurement.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Requests that wait for a binding at a time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let redis = Redis::start()?;
    println!("| what | bindings/s | p50 | p99 | Redis, of a core |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for count in [1, 2] {
        let coordinators = redis.coordinators(count).await?;
        let measured = claim(&redis, &coordinators, &options).await?;
        println!("| claims of {count} coordinator(s), {} at a time | {measured}", options.clients);
    }
    refill(&redis, options.sessions).await
}

/// One coordinator's part, running.
struct Coordinator {
    sharing: Arc<Sharing>,
    bindings: Arc<Bindings>,
    running: tokio::task::JoinHandle<()>,
    _told: Told,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct Redis {
    child: Child,
    url: RedisUrl,
    _folder: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server (apt-get install redis-server)")?;
        let (host, is_tls) = ("127.0.0.1".to_owned(), false);
        let url = RedisUrl { host, port, is_tls, user: None, password: None, database: 0 };
        Ok(Self { child, url, _folder: folder })
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(Usage::of_process(self.child.id())?.cpu)
    }

    async fn coordinators(&self, count: usize) -> Result<Vec<Coordinator>> {
        let mut all = Vec::new();
        for _ in 0..count {
            let most = MostSessions { per_key: usize::MAX, in_all: usize::MAX };
            let (bindings, _forgotten) = Bindings::new(most, Box::new(|_| false));
            let bindings = Arc::new(bindings);
            let folder = DataFolder::memory();
            let records = Arc::new(Records::open(folder, Arc::clone(&bindings), 1 << 20));
            let store: Arc<dyn SharedStore> =
                Arc::new(RedisStore::new(&self.url, "bench:", LIFETIME));
            let name = all.len().to_string();
            let keys = (KeyRing::new(&[b"a secret"]), Vec::new(), name);
            let (sharing, told) = Sharing::new(store, Arc::clone(&bindings), records, keys);
            let running = tokio::spawn(Arc::clone(&sharing).run(LIFETIME));
            until(|| sharing.standing().is_fresh()).await?;
            all.push(Coordinator { sharing, bindings, running, _told: told });
        }
        Ok(all)
    }
}

async fn until(is: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is() {
        ensure!(begun.elapsed() < PATIENCE, "it takes too long");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// New sessions, which clients bind at these coordinators in turn and wait for.
async fn claim(redis: &Redis, coordinators: &[Coordinator], options: &Options) -> Result<String> {
    let server = ServerName::parse("server").context("a name")?;
    let node = NodeId::parse("node").context("a name")?;
    let each = options.sessions / options.clients;
    let (before, begun) = (redis.cpu()?, Instant::now());
    let clients = (0..options.clients).map(|client| {
        let sharing = Arc::clone(&coordinators[client % coordinators.len()].sharing);
        let (server, node) = (server.clone(), node.clone());
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let (session, asked) = (SessionId::mint(), Instant::now());
                let holder = sharing.claim(session, &server, (None, None), &node, false).await;
                ensure!(holder == Holder::Node(node.clone()), "another holder");
                times.push(asked.elapsed());
            }
            Ok(times)
        })
    });
    let mut times = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await??);
    }
    let took = begun.elapsed();
    let cpu = (redis.cpu()? - before).as_secs_f64() / took.as_secs_f64();
    let alone: u64 = coordinators.iter().map(|one| one.sharing.standing().counts().alone).sum();
    ensure!(alone == 0, "{alone} were decided without Redis");
    times.sort();
    let rate = times.len() as f64 / took.as_secs_f64();
    let at = |part: usize| times[times.len() * part / 100];
    Ok(format!("{rate:.0} | {:.1?} | {:.1?} | {:.0} % |", at(50), at(99), cpu * 100.0))
}

/// What a coordinator knows, written into a Redis that was emptied.
async fn refill(redis: &Redis, sessions: usize) -> Result<()> {
    let coordinators = redis.coordinators(1).await?;
    let one = &coordinators[0];
    let options = Options { sessions, clients: 64, bench: false };
    claim(redis, &coordinators, &options).await?;
    let all: Vec<SessionId> = (0..PARTS).flat_map(|part| one.bindings.part(part)).collect();
    let emptied = std::net::TcpStream::connect(("127.0.0.1", redis.url.port))?;
    std::io::Write::write_all(&mut &emptied, b"FLUSHALL\r\n")?;
    let begun = Instant::now();
    until(|| one.sharing.standing().counts().emptied == 1).await?;
    let noticed = begun.elapsed();
    let store = RedisStore::new(&redis.url, "bench:", LIFETIME);
    store.connect().await.context("a look into it")?;
    loop {
        let mut is_there = true;
        for sessions in all.chunks(256) {
            let found = store.sessions(sessions).await.context("a look into it")?;
            is_there = found.iter().all(|found| !found.bindings.is_empty());
            if !is_there {
                break;
            }
        }
        if is_there {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "it is not filled");
    }
    let rate = all.len() as f64 / (begun.elapsed() - noticed).as_secs_f64();
    let count = all.len();
    println!(
        "| {count} written again after FLUSHALL, noticed in {noticed:.1?} | {rate:.0} | | | |"
    );
    Ok(())
}
