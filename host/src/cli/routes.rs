//! `mooring routes`: every route of this process, and who may use it.

use std::process::ExitCode;

use crate::app;

use super::table::table;
use super::terminal;

pub fn run() -> ExitCode {
    let rows: Vec<[String; 3]> = app::all_routes()
        .into_iter()
        .map(|(method, path, door)| [method, path, door].map(str::to_owned))
        .collect();
    terminal::say(table(["METHOD", "PATH", "FOR"], &rows).trim_end());
    ExitCode::SUCCESS
}
