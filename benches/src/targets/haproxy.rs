//! HAProxy as its manual recommends: consistent hash, keep-alive on both sides, one thread per
//! core. It hashes the session id that a server has minted, so with two servers about half of all
//! sessions begin on the wrong one, and clients try again: see [`Opening`].

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::dup;
use tokio::time::timeout;

use super::{Gateway, Kit, Running, plain};
use crate::connection::Connection;
use crate::endpoint::{Endpoint, Opening};
use crate::sandbox::Sandbox;

const NAME: &str = "haproxy";
const START: Duration = Duration::from_secs(20);
/// Folders in which distributions install it, outside an ordinary user's `PATH`.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

pub async fn start(kit: &Kit) -> Result<Running> {
    let program = installed().context("haproxy is not installed")?;
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let servers = [
        kit.http_server(&mut sandbox, "http-server-1").await?,
        kit.http_server(&mut sandbox, "http-server-2").await?,
    ];
    // HAProxy cannot report which free port it took, so it inherits a listening socket.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let inherited = dup(&listener)?;
    let config = sandbox.write("haproxy.cfg", config(inherited.as_raw_fd(), servers))?;
    let pid = sandbox.start(NAME, &program, |command| {
        command.arg("-db").arg("-f").arg(config);
    })?;
    serves(&mut sandbox, port).await?;
    let endpoint = Endpoint { opening: Opening::UntilRouted, ..plain(port) };
    Ok(Running { endpoint, gateways: vec![Gateway { name: NAME, pid }], sandbox })
}

/// Waits for an answer: the inherited socket accepts connections before HAProxy runs.
async fn serves(sandbox: &mut Sandbox, port: u16) -> Result<()> {
    let request = b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let answered = async {
        Connection::open(port).await?.exchange(request).await?;
        anyhow::Ok(())
    };
    match timeout(START, answered).await {
        Ok(Ok(())) => Ok(()),
        _ => bail!(sandbox.ended().unwrap_or_else(|| format!("no answer in {START:?}"))),
    }
}

fn installed() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(NAME)).find(|program| program.is_file())
}

fn config(listener: i32, [first, second]: [u16; 2]) -> String {
    format!(
        "defaults\n\
         \x20   mode http\n\
         \x20   timeout connect 5s\n\
         \x20   timeout client 60s\n\
         \x20   timeout server 60s\n\
         frontend clients\n\
         \x20   bind fd@{listener}\n\
         \x20   default_backend servers\n\
         backend servers\n\
         \x20   balance hdr(Mcp-Session-Id)\n\
         \x20   hash-type consistent\n\
         \x20   http-reuse always\n\
         \x20   server one 127.0.0.1:{first}\n\
         \x20   server two 127.0.0.1:{second}\n"
    )
}
