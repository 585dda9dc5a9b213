//! `mooring plugin inspect`, and the strategy's part of `mooring check`.

use std::process::ExitCode;

use crate::app;
use crate::config::{Config, ConversationBy, Sticky};
use crate::model::visible::visible;
use crate::wasm::{self, Source, Strategy};

use super::terminal;

/// Bytes of a file that is read at all. Admission refuses plugins of half this
/// size; its message is the better one.
const MAX_FILE: u64 = 64 << 20;

/// Bytes shown of what a plugin tells conversations apart by.
const MAX_TOLD: usize = 1024;

pub fn inspect(file: &str, settings: &str) -> ExitCode {
    let bytes = match bytes(file) {
        Ok(bytes) => bytes,
        Err(why) => {
            terminal::warn(format!("mooring: {file}: {why}"));
            return ExitCode::from(super::WRONG);
        }
    };
    match wasm::inspect(&bytes, settings, app::own_program().as_deref()) {
        Ok(inspection) => {
            terminal::say(&inspection);
            if inspection.objection.is_some() {
                ExitCode::from(super::WRONG)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(refusal) => {
            terminal::warn(format!("mooring: {file}: {refusal}"));
            ExitCode::from(super::WRONG)
        }
    }
}

/// Whether the gateway would start with the configured strategy. The text says by what its plugin
/// tells conversations apart, if it does.
///
/// # Errors
/// Why it would not.
pub fn admissible(sticky: &Sticky) -> Result<Option<String>, String> {
    let options = app::strategy_options(sticky, 1);
    let strategy = Strategy::load(&Source::parse(&sticky.strategy), &sticky.json, &options);
    let plan = strategy.map_err(|error| error.to_string())?.conversation_plan();
    Ok(plan.map(|asked| {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") }
    }))
}

/// Says in `mooring check` what the plugin tells conversations apart by, if it does and is asked.
pub fn say_conversations(config: &Config, told: Option<&str>) {
    let is_on = config.eras.modern && config.sticky.enabled;
    let Some(told) = told.filter(|_| is_on) else { return };
    if config.eras.conversations.contains(&ConversationBy::Plugin) {
        let told = visible(told, MAX_TOLD);
        terminal::say(format!("\nThe plugin tells conversations apart by: {told}"));
    } else {
        terminal::warn(
            "warning: the strategy's plugin tells conversations apart, and is not asked: \
             systemConfig.conversations does not have \"plugin\"",
        );
    }
}

fn bytes(file: &str) -> Result<Vec<u8>, String> {
    match Source::parse(file) {
        Source::Builtin(builtin) => Ok(builtin.bytes().to_vec()),
        Source::File(path) => {
            let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            if size > MAX_FILE {
                return Err(format!("has {size} bytes, more than a plugin may have"));
            }
            std::fs::read(&path).map_err(|error| error.to_string())
        }
    }
}
