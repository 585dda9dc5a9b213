use anyhow::Result;

use super::{Gateway, Kit, Running, plain};
use crate::sandbox::Sandbox;

const NAME: &str = "bridge";

pub async fn start(kit: &Kit) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let pid = sandbox.start(NAME, &kit.bridge, |command| {
        command.arg("--threads").arg(kit.threads.to_string()).arg(&kit.stdio_server);
    })?;
    let port = sandbox.announced_port(NAME).await?;
    Ok(Running { endpoint: plain(port), gateways: vec![Gateway { name: NAME, pid }], sandbox })
}
