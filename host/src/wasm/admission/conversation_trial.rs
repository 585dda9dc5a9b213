//! A dry run of what tells conversations apart: two instances must give the same answers, and names that
//! can be used.

use std::collections::BTreeSet;

use super::refusal::PluginRefusal;
use super::trial::{sample, scramble};
use crate::wasm::conversing::{ConversationAnswer, ConversationInput};
use crate::wasm::plugin::Plugin;
use crate::wasm::vocabulary::Input;

const REQUESTS: u64 = 200;

/// What the trial showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversationTrial {
    /// Requests that were put to both instances.
    pub requests: u64,
    /// Those that it left to the gateway's other rules.
    pub abstained: u64,
    /// Those that it said to stand alone.
    pub alone: u64,
    /// How many conversations it named.
    pub names: usize,
}

impl ConversationTrial {
    /// `None` if the plugin does not tell conversations apart.
    pub(in crate::wasm) fn run(plugin: &Plugin) -> Result<Option<Self>, PluginRefusal> {
        let Some(plan) = &plugin.conversations else { return Ok(None) };
        let topology = sample();
        let (mut one, mut other) = (plugin.ready(&topology)?, plugin.ready(&topology)?);
        let fails = |fault| PluginRefusal::Trial(format!("in identify: {fault}"));
        let (mut trial, mut names) = (Self::default(), BTreeSet::new());
        for number in 0..REQUESTS {
            let values: Vec<Option<String>> =
                plan.iter().map(|input| value(input, number)).collect();
            let inputs: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
            let answer = one.identify(&inputs).map_err(fails)?;
            if answer != other.identify(&inputs).map_err(fails)? {
                let text = "two instances named different conversations for the same request; use \
                            nothing but configuration and inputs";
                return Err(PluginRefusal::Trial(text.to_owned()));
            }
            if let Some(objection) = answer.objection() {
                return Err(PluginRefusal::Trial(objection));
            }
            trial.requests += 1;
            match answer {
                ConversationAnswer::Abstain => trial.abstained += 1,
                ConversationAnswer::Alone => trial.alone += 1,
                ConversationAnswer::Named(name) => {
                    names.insert(name);
                }
            }
        }
        trial.names = names.len();
        Ok(Some(trial))
    }
}

/// A made-up value, of a few clients and threads. Every seventh request lacks it.
fn value(input: &ConversationInput, number: u64) -> Option<String> {
    use ConversationInput as Asked;
    let kind = scramble(number);
    if kind.is_multiple_of(7) {
        return None;
    }
    Some(match input {
        Asked::RpcMethod => "tools/call".to_owned(),
        Asked::RpcTarget => format!("tool-{}", kind % 10),
        Asked::ClientAddress => format!("192.0.2.{}", kind % 256),
        Asked::Principal => format!("user-{}", kind % 20),
        Asked::ClientName => format!("client-{}", kind % 3),
        Asked::Connection | Asked::Handle => format!("{:032x}", scramble(kind % 40)),
        Asked::Header(_) | Asked::Cookie(_) | Asked::Query(_) | Asked::Body(_) => {
            format!("thread-{}", kind % 30)
        }
    })
}

/// The inputs that strategies may ask for too: what holds for these holds here.
pub(in crate::wasm) fn as_inputs(asked: &[ConversationInput]) -> Vec<Input> {
    let alike = |asked: &ConversationInput| match asked {
        ConversationInput::Header(name) => Some(Input::Header(name.clone())),
        ConversationInput::Cookie(name) => Some(Input::Cookie(name.clone())),
        ConversationInput::Query(name) => Some(Input::Query(name.clone())),
        ConversationInput::Body(pointer) => Some(Input::Body(pointer.clone())),
        _ => None,
    };
    asked.iter().filter_map(alike).collect()
}
