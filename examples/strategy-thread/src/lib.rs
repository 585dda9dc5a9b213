//! An example of a plugin that tells conversations apart. The idea is in
//! `thread.rs`; this file makes it a component. Which node serves a conversation
//! it leaves to the gateway.

mod thread;

use std::cell::RefCell;

use bindings::exports::mooring::routing::conversations::Guest as Conversations;
use bindings::exports::mooring::routing::strategy::{Guest as Strategy, Info};
use bindings::mooring::routing::conversation_types::{ConversationAnswer, ConversationInput};
use bindings::mooring::routing::types::{Carrier, Decision, Plan, Request, RouteError, Topology};
use thread::Threads;

/// Generated from the contract.
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin-with-conversations",
    });
}

thread_local! {
    /// The settings. The gateway makes several instances and may drop any of them, so nothing may
    /// be kept here that cannot be made again.
    static THREADS: RefCell<Option<Threads>> = const { RefCell::new(None) };
}

struct Plugin;

impl Strategy for Plugin {
    fn describe() -> Info {
        Info {
            name: "thread".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn configure(config_json: String) -> Result<Plan, String> {
        let (_, affinity_ttl_seconds) = Threads::read(&config_json)?;
        Ok(Plan {
            inputs: Vec::new(),
            carrier: Carrier::Session,
            affinity_ttl_seconds,
            wants_loads: false,
        })
    }

    fn update(_: Topology) -> Result<(), String> {
        Ok(())
    }

    /// The gateway's own hash of the session is as good as any here.
    fn route(_: Request) -> Result<Decision, RouteError> {
        Err(RouteError::Abstain)
    }
}

impl Conversations for Plugin {
    fn plan(config_json: String) -> Result<Vec<ConversationInput>, String> {
        let (threads, _) = Threads::read(&config_json)?;
        let inputs = threads.inputs();
        THREADS.set(Some(threads));
        Ok(inputs)
    }

    fn identify(inputs: Vec<Option<String>>) -> ConversationAnswer {
        THREADS.with_borrow(|threads| match threads {
            Some(threads) => threads.identify(&inputs),
            None => ConversationAnswer::Abstain,
        })
    }
}

bindings::export!(Plugin with_types_in bindings);
