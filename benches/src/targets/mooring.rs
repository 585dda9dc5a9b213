//! Mooring in its modes, configured and started as a user would.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use serde_json::{Value, json};

use super::{Gateway, Kit, Running};
use crate::connection::Connection;
use crate::endpoint::{ClientKind, Endpoint, Opening};
use crate::sandbox::Sandbox;

const SERVER: &str = "bench";
const NODE: &str = "node-1";
const MOORING: &str = "mooring";
pub const COORDINATOR: &str = "coordinator";
const COUNTER: &str = "valgrind";
/// Longest wait for a node and its catalog; both take moments, except on a busy machine and below
/// callgrind.
const NODE_ACTIVE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub async fn pass_through(kit: &Kit) -> Result<Running> {
    before_http(kit, one_server).await
}

pub async fn modern_pass_through(kit: &Kit) -> Result<Running> {
    both_eras(kit, &["--alone"], ClientKind::Alone).await
}

pub async fn modern_to_legacy(kit: &Kit) -> Result<Running> {
    both_eras(kit, &[], ClientKind::Conversation).await
}

pub async fn legacy_to_modern(kit: &Kit) -> Result<Running> {
    both_eras(kit, &["--alone"], ClientKind::Session).await
}

/// In front of an HTTP fixture with these options, for clients of both eras.
async fn both_eras(kit: &Kit, options: &[&str], client: ClientKind) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let upstream = kit.http_server_with(&mut sandbox, "http-server", options).await?;
    let url = format!("http://127.0.0.1:{upstream}/mcp");
    let config = json!({
        "mcpServers": { SERVER: { "url": url, "type": "streamable-http" } },
        "systemConfig": { "eras": ["legacy", "modern"] },
    });
    let (gateway, port) = start(kit, &mut sandbox, MOORING, &config, 0).await?;
    Ok(Running {
        endpoint: Endpoint { client, ..one_server(port) },
        gateways: vec![gateway],
        sandbox,
    })
}

pub async fn aggregate(kit: &Kit) -> Result<Running> {
    before_http(kit, all_servers).await
}

pub async fn stdio(kit: &Kit) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let config = json!({
        "mcpServers": { SERVER: { "command": kit.stdio_server } },
        "systemConfig": { "limits": { "childrenPerServer": 10_000, "childrenPerNode": 10_000 } },
    });
    let (gateway, port) = start(kit, &mut sandbox, MOORING, &config, 0).await?;
    Ok(Running { endpoint: one_server(port), gateways: vec![gateway], sandbox })
}

pub async fn cluster(kit: &Kit) -> Result<Running> {
    let server = json!({ "command": kit.stdio_server });
    with_node(kit, coordinator(kit).await?, &server).await
}

/// The same with the HTTP fixture, which needs no process for each session.
pub async fn cluster_before_http(kit: &Kit) -> Result<Running> {
    let mut running = coordinator(kit).await?;
    let upstream = kit.http_server(&mut running.sandbox, "http-server").await?;
    let url = format!("http://127.0.0.1:{upstream}/mcp");
    with_node(kit, running, &json!({ "url": url, "type": "streamable-http" })).await
}

/// A coordinator without a node.
pub async fn coordinator(kit: &Kit) -> Result<Running> {
    let config =
        json!({ "systemConfig": { "cluster": { "enabled": true, "mode": "coordinator" } } });
    coordinator_with(kit, &config).await
}

/// The same with these settings.
pub async fn coordinator_with(kit: &Kit, config: &Value) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let (coordinator, port) = start(kit, &mut sandbox, COORDINATOR, config, 0).await?;
    Ok(Running { endpoint: one_server(port), gateways: vec![coordinator], sandbox })
}

/// Kills the coordinator, and starts it again at its port with its data.
pub async fn coordinator_again(kit: &Kit, running: &mut Running, config: &Value) -> Result<()> {
    again(kit, running, COORDINATOR, config).await
}

/// Kills a gateway of this name, and starts it again at its port with its data.
pub async fn again(
    kit: &Kit,
    running: &mut Running,
    name: &'static str,
    config: &Value,
) -> Result<()> {
    let gateway = running.gateways.iter_mut().find(|gateway| gateway.name == name);
    let gateway = gateway.context("no such gateway")?;
    running.sandbox.kill(name)?;
    let port_file = running.sandbox.path(&format!("{name}.port"));
    let port = std::fs::read_to_string(&port_file)?.trim().parse()?;
    std::fs::remove_file(port_file)?;
    *gateway = start(kit, &mut running.sandbox, name, config, port).await?.0;
    Ok(())
}

async fn with_node(kit: &Kit, mut running: Running, server: &Value) -> Result<Running> {
    let port = running.endpoint.port;
    let config = json!({
        "mcpServers": { SERVER: server },
        "systemConfig": { "cluster": {
            "enabled": true,
            "mode": "node",
            "node": { "id": NODE, "coordinatorUrl": format!("http://127.0.0.1:{port}") },
        } },
    });
    let (node, _) = start(kit, &mut running.sandbox, "node", &config, 0).await?;
    node_is_active(&mut running.sandbox, port).await?;
    running.gateways.push(node);
    Ok(running)
}

async fn before_http(kit: &Kit, endpoint: fn(u16) -> Endpoint) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let upstream = kit.http_server(&mut sandbox, "http-server").await?;
    let url = format!("http://127.0.0.1:{upstream}/mcp");
    let config = json!({ "mcpServers": { SERVER: { "url": url, "type": "streamable-http" } } });
    let (gateway, port) = start(kit, &mut sandbox, MOORING, &config, 0).await?;
    Ok(Running { endpoint: endpoint(port), gateways: vec![gateway], sandbox })
}

/// The endpoint `/mcp/{server}`, where tools have their own names.
fn one_server(port: u16) -> Endpoint {
    let (opening, client) = (Opening::Once, ClientKind::Session);
    Endpoint { port, path: "/mcp/bench", tool: "echo", opening, client }
}

/// The endpoint `/mcp`, where tool names have the server's name as a prefix.
fn all_servers(port: u16) -> Endpoint {
    let (opening, client) = (Opening::Once, ClientKind::Session);
    Endpoint { port, path: "/mcp", tool: "bench-echo", opening, client }
}

/// Starts a gateway at this port, or at a free one if it is 0.
pub async fn start(
    kit: &Kit,
    sandbox: &mut Sandbox,
    name: &'static str,
    config: &Value,
    port: u16,
) -> Result<(Gateway, u16)> {
    let program = &kit.mooring;
    ensure!(program.is_file(), "no mooring binary: build it, or name it with --mooring");
    let config = sandbox.write(&format!("{name}.json"), config.to_string())?;
    let port_file = sandbox.path(&format!("{name}.port"));
    let data = sandbox.path(&format!("{name}.data"));
    let costs = sandbox.path(&costs(name));
    let counter = kit.is_counted.then_some(Path::new(COUNTER));
    let pid = sandbox.start(name, counter.unwrap_or(program), |command| {
        if counter.is_some() {
            let costs = [OsStr::new("--callgrind-out-file="), costs.as_os_str()];
            command.arg("--tool=callgrind").arg(costs.into_iter().collect::<OsString>());
            // Otherwise a part leaves out the names that a part before it has written.
            command.arg("--compress-strings=no");
            command.arg(program);
        }
        for (variable, _) in env::vars_os().filter(|(key, _)| is_ours(key)) {
            command.env_remove(variable);
        }
        command.arg("--config").arg(config).arg("--port-file").arg(&port_file);
        command
            .env("PORT", port.to_string())
            .env("MOORING_HOST", "127.0.0.1")
            .env("MOORING_DATA", data);
    })?;
    let port = sandbox.port(name, Path::new(&port_file)).await?;
    Ok((Gateway { name, pid }, port))
}

/// The file with the costs of a gateway that is counted; those of a part have its number behind.
#[must_use]
pub fn costs(name: &str) -> String {
    format!("{name}.costs")
}

/// Removes settings that the gateway would inherit from the benchmark's environment.
fn is_ours(variable: &OsStr) -> bool {
    variable.as_encoded_bytes().starts_with(b"MOORING_")
}

async fn node_is_active(sandbox: &mut Sandbox, coordinator: u16) -> Result<()> {
    let deadline = Instant::now() + NODE_ACTIVE;
    while !lists_node(coordinator).await.context("ask the coordinator for its nodes")? {
        if let Some(reason) = sandbox.ended() {
            bail!(reason);
        }
        ensure!(Instant::now() < deadline, "{NODE} was not active after {NODE_ACTIVE:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn lists_node(coordinator: u16) -> Result<bool> {
    let request = format!(
        "GET /api/cluster/nodes?active=true HTTP/1.1\r\nHost: 127.0.0.1:{coordinator}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut connection = Connection::open(coordinator).await?;
    let response = connection.exchange(request.as_bytes()).await?;
    Ok(response.status == 200 && memmem::find(response.body, NODE.as_bytes()).is_some())
}
