//! Tells conversations apart, and goes wrong in the way that a header says.
//!
//! A header `x-thread` names the conversation, unless it begins with "fault-".

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

mod conversing {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "conversing",
    });
}

use conversing::exports::mooring::routing::conversations::{
    ConversationAnswer, ConversationInput, Guest,
};

struct Misnames;

impl Fault for Misnames {
    const NAME: &'static str = "misnames";

    fn misbehave() -> Result<Decision, RouteError> {
        Err(RouteError::Abstain)
    }
}

mooring_plugin::export_strategy!(Faulty<Misnames>);

struct Conversations;

impl Guest for Conversations {
    fn plan(config_json: String) -> Result<Vec<ConversationInput>, String> {
        if config_json.contains("refuse-conversations") {
            return Err("it does not like them".to_owned());
        }
        if config_json.contains("ask-for-cookies") {
            return Ok(vec![ConversationInput::Cookie("sid".to_owned())]);
        }
        Ok(vec![ConversationInput::Header("x-thread".to_owned())])
    }

    fn identify(inputs: Vec<Option<String>>) -> ConversationAnswer {
        let Some(thread) = inputs.into_iter().flatten().next() else {
            return ConversationAnswer::Abstain;
        };
        match &*thread {
            "fault-trap" => panic!("as it was told"),
            "fault-loop" => loop {
                std::hint::black_box(0);
            },
            "fault-empty" => ConversationAnswer::Named(String::new()),
            "fault-long" => ConversationAnswer::Named("x".repeat(5000)),
            "alone" => ConversationAnswer::Alone,
            _ => ConversationAnswer::Named(thread),
        }
    }
}

conversing::export!(Conversations with_types_in conversing);
