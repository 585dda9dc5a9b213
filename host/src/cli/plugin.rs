//! `mooring plugin inspect`, and the strategy's part of `mooring check`.

use std::process::ExitCode;

use crate::app;
use crate::config::Sticky;
use crate::wasm::{self, Source, Strategy};

use super::terminal;

/// Bytes of a file that is read at all. Admission refuses plugins of half this
/// size; its message is the better one.
const MAX_FILE: u64 = 64 << 20;

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

/// Whether the gateway would start with the configured strategy.
pub fn admissible(sticky: &Sticky) -> Result<(), String> {
    let options = app::strategy_options(sticky, 1);
    Strategy::load(&Source::parse(&sticky.strategy), &sticky.json, &options)
        .map(drop)
        .map_err(|error| error.to_string())
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
