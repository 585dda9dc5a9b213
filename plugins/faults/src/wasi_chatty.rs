//! Uses the system as if it were a program: prints, opens a file, reads the
//! environment, sleeps for three seconds, and then decides soundly. Built for
//! wasm32-wasip2, so it imports WASI: refused by default, and in the sandbox
//! each of these must come to nothing without holding up the gateway.

use std::time::Duration;

use mooring_strategies::{ConsistentHash, Decision, Plan, Request, RouteError, Strategy, Topology};

struct WasiChatty(ConsistentHash);

impl Strategy for WasiChatty {
    const NAME: &'static str = "wasi-chatty";

    fn configure(config_json: &str) -> Result<(Self, Plan), String> {
        let (sound, plan) = ConsistentHash::configure(config_json)?;
        Ok((Self(sound), plan))
    }

    fn update(&mut self, topology: &Topology) -> Result<(), String> {
        self.0.update(topology)
    }

    fn route(&self, request: &Request<'_>) -> Result<Decision, RouteError> {
        if request
            .input(0)
            .is_some_and(|session| session.starts_with("fault"))
        {
            use_the_system()?;
        }
        self.0.route(request)
    }
}

/// Abstains if the sandbox let anything through, so that a test sees it.
fn use_the_system() -> Result<(), RouteError> {
    println!("printed by a routing strategy");
    eprintln!("printed by a routing strategy, as an error");
    let read = std::fs::read("/etc/passwd").is_ok();
    let environment = std::env::vars().count() > 0;
    std::thread::sleep(Duration::from_secs(3));
    if read || environment {
        return Err(RouteError::Abstain);
    }
    Ok(())
}

mooring_plugin::export_strategy!(WasiChatty);
