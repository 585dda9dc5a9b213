use anyhow::Result;

use super::{Kit, Running, plain};
use crate::sandbox::Sandbox;

pub async fn start(kit: &Kit) -> Result<Running> {
    let mut sandbox = Sandbox::new(&kit.leash)?;
    let port = kit.http_server(&mut sandbox, "http-server").await?;
    Ok(Running { endpoint: plain(port), gateways: Vec::new(), sandbox })
}
