//! Counts the instructions that a gateway's processes take for one call, by callgrind.
//!
//! A part of the costs is written when the warm-up is over and another one after the calls, so that
//! starting, opening and first times do not count. The count of a binary varies by less than 0.5 %,
//! while CPU time varies with the machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::drive;
use crate::session::Session;
use crate::targets::{Gateway, Running, mooring};

/// Longest time until a gateway below callgrind serves as it will, and between attempts.
const READY: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);

/// Calls of one client on one connection, one after the other.
#[derive(Clone, Copy)]
pub struct Calls {
    /// Those that are not counted.
    pub before: u32,
    pub counted: u32,
    /// Bytes of text in each of them.
    pub body_bytes: usize,
}

/// One gateway process's instructions per call.
pub struct Count {
    pub name: &'static str,
    pub per_call: f64,
}

/// Counts the calls of a target whose gateways run below callgrind. The costs by function are kept
/// in a folder, for `callgrind_annotate`.
///
/// # Errors
/// If a call is not answered rightly, or callgrind does not say its costs.
pub async fn count(running: &mut Running, calls: Calls, keep: Option<&Path>) -> Result<Vec<Count>> {
    let mut session = drive::ready(running, calls.body_bytes, READY, POLL).await?;
    make(&mut session, calls.before).await?;
    running.gateways.iter().try_for_each(dump)?;
    make(&mut session, calls.counted).await?;
    running.gateways.iter().try_for_each(dump)?;
    running.gateways.iter().map(|gateway| of_gateway(running, gateway, calls, keep)).collect()
}

async fn make(session: &mut Session, calls: u32) -> Result<()> {
    for _ in 0..calls {
        let status = session.call().await?;
        ensure!(status == 200, "a call was answered {status}");
    }
    Ok(())
}

/// Has callgrind write what has cost how much since it last did.
fn dump(gateway: &Gateway) -> Result<()> {
    let mut command = Command::new("callgrind_control");
    let told = command.arg("--dump").arg(gateway.pid.to_string()).output();
    let told = told.context("callgrind_control, of the package valgrind")?;
    if !told.status.success() {
        bail!("callgrind_control: {}", String::from_utf8_lossy(&told.stderr));
    }
    Ok(())
}

fn of_gateway(
    running: &Running,
    gateway: &Gateway,
    calls: Calls,
    keep: Option<&Path>,
) -> Result<Count> {
    let name = gateway.name;
    // The first part has what was before the counted calls.
    let part = running.sandbox.path(&format!("{}.2", mooring::costs(name)));
    let costs = fs::read_to_string(&part).with_context(|| format!("costs of {name}"))?;
    let total = total(&costs).with_context(|| format!("no total in the costs of {name}"))?;
    if let Some(folder) = keep {
        fs::copy(&part, folder.join(mooring::costs(name)))?;
    }
    Ok(Count { name, per_call: total as f64 / f64::from(calls.counted) })
}

/// The sum that callgrind writes at the end of a file.
fn total(costs: &str) -> Option<u64> {
    let line = costs.lines().rev().find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_that_of_the_last_line_which_has_one() {
        assert_eq!(total("events: Ir\nfn=(1) a\n1 20\n\ntotals: 101410712\n"), Some(101_410_712));
        assert_eq!(total("totals: 7 3\n"), Some(7));
        assert_eq!(total("summary: 7\n"), None);
    }
}
