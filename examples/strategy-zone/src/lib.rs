//! An example of a routing strategy: the gateway's own zone first, around nodes
//! that are crowded. The idea is in `zone.rs`; this file makes it a component.

mod zone;

use std::cell::RefCell;

use bindings::exports::mooring::routing::strategy::{Guest, Info};
use bindings::mooring::routing::log::{Level, log};
use bindings::mooring::routing::types::{Decision, Plan, Request, RouteError, Topology};
use zone::Zone;

/// Generated from the contract.
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
    });
}

thread_local! {
    /// All the state there is. The gateway makes several instances and may drop any
    /// of them, so nothing may be kept here that cannot be made again.
    static ZONE: RefCell<Option<Zone>> = const { RefCell::new(None) };
}

struct Plugin;

impl Guest for Plugin {
    fn describe() -> Info {
        Info {
            name: "zone".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn configure(config_json: String) -> Result<Plan, String> {
        // A panic ends the instance without a word; this puts it in the log.
        std::panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string())));
        let (zone, plan) = Zone::configure(&config_json)?;
        ZONE.set(Some(zone));
        Ok(plan)
    }

    fn update(topology: Topology) -> Result<(), String> {
        ZONE.with_borrow_mut(|zone| {
            let zone = zone.as_mut().ok_or("update came before configure")?;
            let near = zone.update(topology)?;
            log(Level::Debug, &format!("{near} nodes are near"));
            Ok(())
        })
    }

    fn route(request: Request) -> Result<Decision, RouteError> {
        ZONE.with_borrow(|zone| match zone {
            Some(zone) => zone.route(&request),
            // The client's request does not fail: the gateway's fallback decides.
            None => Err(RouteError::Abstain),
        })
    }
}

bindings::export!(Plugin with_types_in bindings);
