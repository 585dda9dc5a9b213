//! What it takes a client to connect, until its first call is answered: one that opens a session, one
//! that asks first whether requests without a session are served, and one that needs no session.
//!
//! ```text
//! cargo bench -p mooring-benches --bench connect -- --help
//! ```
//!
//! Fails if asking first costs more than one request.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mooring_benches::drive;
use mooring_benches::endpoint::{ClientKind, Endpoint};
use mooring_benches::session::Session;
use mooring_benches::table::Table;
use mooring_benches::targets::{Kit, Running, Target, mooring};

/// Longest time until a gateway serves as it will.
const READY: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct Options {
    /// Connections of each kind.
    #[arg(long, default_value_t = 300)]
    connections: usize,
    /// The binary to measure; by default the one beside this harness.
    #[arg(long)]
    mooring: Option<PathBuf>,
    /// Passed by cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One kind of client at one gateway.
struct Row {
    what: &'static str,
    gateway: usize,
    client: ClientKind,
    took_us: Vec<f64>,
    requests: u32,
}

// Children die with the thread that starts them (bench-leash), so the main thread starts them all.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let fixture = Path::new(env!("CARGO_BIN_EXE_bench-http-server"));
    let kit = Kit::beside(fixture, options.mooring.clone(), 1);
    let mut gateways = [
        mooring::pass_through(&kit).await?,
        Target::MooringModernToLegacy.start(&kit).await?,
        Target::MooringModernPassThrough.start(&kit).await?,
    ];
    for gateway in &mut gateways {
        drop(drive::ready(gateway, 16, READY, POLL).await?);
    }
    let mut rows = rows();
    // All kinds take turns, so that a slow moment affects all of them.
    for marker in 0..options.connections {
        for row in &mut rows {
            row.connect(&gateways, marker).await.context(row.what)?;
        }
    }
    let mut table = Table::new(&["client", "requests", "p50 µs", "p99 µs"]);
    for row in &mut rows {
        row.took_us.sort_by(f64::total_cmp);
        let (p50, p99) = (row.quantile(0.5), row.quantile(0.99));
        table.row(vec![row.what.to_owned(), row.requests.to_string(), p50, p99]);
    }
    print!("{table}");
    let (plain, probing) = (rows[0].requests, rows[1].requests);
    ensure!(probing <= plain + 1, "asking first takes {probing} requests, without it {plain}");
    Ok(())
}

fn rows() -> Vec<Row> {
    let row = |what, gateway, client| {
        let took_us = Vec::new();
        Row { what, gateway, client, took_us, requests: 0 }
    };
    vec![
        row("opens a session", 0, ClientKind::Session),
        row("asks first where only sessions are served, and opens one", 0, ClientKind::Probing),
        row("opens a session where both eras are served", 1, ClientKind::Session),
        row(
            "asks first, and needs no session at a server that has them",
            1,
            ClientKind::Conversation,
        ),
        row("asks first, and needs no session at a server without", 2, ClientKind::Alone),
    ]
}

impl Row {
    async fn connect(&mut self, gateways: &[Running], marker: usize) -> Result<()> {
        let endpoint = Endpoint { client: self.client, ..gateways[self.gateway].endpoint.clone() };
        let begun = Instant::now();
        let session = Session::open(&endpoint, marker, 16).await?;
        self.took_us.push(begun.elapsed().as_secs_f64() * 1e6);
        self.requests = session.exchanges();
        session.end().await
    }

    fn quantile(&self, part: f64) -> String {
        let at = (self.took_us.len() as f64 * part) as usize;
        let value = self.took_us.get(at.min(self.took_us.len().saturating_sub(1)));
        value.map_or("–".to_owned(), |value| format!("{value:.0}"))
    }
}
