//! The command line.
//!
//! Exit codes: 0 success; 1 a failure while running; 2 a mistake in the
//! configuration, a plugin or the command line; 3 a tool that says it has failed.

mod args;
mod call;
mod cluster;
mod connect;
mod drain;
mod explain;
mod forget;
mod gateway;
mod health;
mod import;
mod join;
mod known_names;
mod log;
mod log_filter;
mod log_level;
mod logs;
mod mcp_client;
mod nodes;
mod plugin;
mod ps;
mod reload;
mod routes;
mod sessions;
mod table;
mod terminal;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use crate::app;
use crate::config::{self, Loaded, Sources};
use crate::model::visible::visible;
use crate::telemetry::LogFilter;

use self::args::{Cli, Command, PluginCommand};
use self::forget::Environment;
use self::gateway::Gateway;

/// Exit code for a mistake that the operator has to correct.
const WRONG: u8 = 2;
/// Bytes of a reason that another process gives.
const MAX_WHY: usize = 4096;

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = log::start();
    match &cli.command {
        None => serve(&cli, log),
        Some(Command::Check) => check(&cli),
        Some(Command::Plugin { command: PluginCommand::Inspect { file, settings } }) => {
            plugin::inspect(file, settings)
        }
        Some(Command::Ps { server, node, json, url }) => {
            let gateway = gateway(&cli, url.as_deref());
            ps::run(&gateway, server.as_deref(), node.as_deref(), *json)
        }
        Some(Command::Logs { server, follow, lines, node, json, url }) => {
            let gateway = gateway(&cli, url.as_deref());
            let (lines, follow, json) = (*lines, *follow, *json);
            let asked = logs::LogOptions { server, node: node.as_deref(), lines, follow, json };
            logs::run(&gateway, &asked)
        }
        Some(Command::Explain { session, request, server, limit, json, url }) => {
            let asked = explain::ExplainOptions {
                session: session.as_deref(),
                request: request.as_deref(),
                server: server.as_deref(),
                limit: *limit,
                json: *json,
            };
            explain::run(&gateway(&cli, url.as_deref()), &asked)
        }
        Some(Command::Drain { node, deadline, no_wait, url }) => {
            let gateway = gateway(&cli, url.as_deref());
            let (deadline, no_wait) = (*deadline, *no_wait);
            drain::run(&gateway, &drain::DrainOptions { node: node.as_str(), deadline, no_wait })
        }
        Some(Command::Undrain { node, url }) => {
            drain::undrain(&gateway(&cli, url.as_deref()), node)
        }
        Some(Command::Nodes { json, url }) => nodes::run(&gateway(&cli, url.as_deref()), *json),
        Some(Command::Sessions { session, server, node, json, url }) => {
            let (session, server, node) = (session.as_deref(), server.as_deref(), node.as_deref());
            let options = sessions::SessionOptions { session, server, node, json: *json };
            sessions::run(&gateway(&cli, url.as_deref()), &options)
        }
        Some(Command::Tools { server, json, url }) => {
            tools::run(&gateway(&cli, url.as_deref()), server.as_deref(), *json)
        }
        Some(Command::Call { server, tool, arguments, timeout, json, url }) => {
            let (timeout, json) = (*timeout, *json);
            let options = call::CallOptions { server, tool, arguments, timeout, json };
            call::run(&gateway(&cli, url.as_deref()), &options)
        }
        Some(Command::LogLevel { filter, url }) => {
            log_level::run(&gateway(&cli, url.as_deref()), filter.as_deref())
        }
        Some(Command::Reload { url }) => reload::run(&gateway(&cli, url.as_deref())),
        Some(Command::Routes) => routes::run(),
        Some(Command::Connect { url, key, headers, wait }) => {
            let environment = Environment::default();
            let given = config::secret_variable("MOORING_KEY", |name| environment.variable(name));
            let key = match (key, given) {
                (Some(key), _) => Some(key.clone()),
                (None, Ok(given)) => given,
                (None, Err(why)) => return wrong(&why),
            };
            let (key, patience) = (key.map(config::Secret::new), *wait);
            connect::run(&connect::ConnectOptions { url, key, headers, patience })
        }
        Some(Command::Import { file, from, output, print }) => {
            let output = output.clone().or_else(|| cli.config.clone());
            let (file, from) = (file.as_deref(), from.as_deref());
            import::run(&import::ImportOptions { file, from, output, print: *print })
        }
        Some(Command::Cluster { command }) => cluster::run(command),
        Some(Command::Schema) => {
            terminal::say(config::schema_text());
            ExitCode::SUCCESS
        }
        Some(Command::Join { url }) => join::run(&gateway(&cli, url.as_deref())),
        Some(Command::Health { live, url }) => health::run(&gateway(&cli, url.as_deref()), *live),
    }
}

/// The gateway to call. If the settings cannot be read, its address comes from
/// `url`, `PORT` or the default.
fn gateway(cli: &Cli, url: Option<&str>) -> Gateway {
    let environment = Environment::default();
    let loaded = try_load(&cli.settings(), &environment);
    let env = |name: &str| environment.variable(name);
    let folder = config::data_dir(&sources(&cli.settings(), &env));
    Gateway::find(url, loaded.as_ref().ok(), &folder)
}

fn failed(why: &str) -> ExitCode {
    terminal::warn(format!("mooring: {}", visible(why, MAX_WHY)));
    ExitCode::FAILURE
}

/// The same for a mistake on the command line.
fn wrong(why: &str) -> ExitCode {
    terminal::warn(format!("mooring: {}", visible(why, MAX_WHY)));
    ExitCode::from(WRONG)
}

fn serve(cli: &Cli, log: Arc<dyn LogFilter>) -> ExitCode {
    let mut environment = Environment::default();
    let Some(loaded) = load(cli, &environment) else { return ExitCode::from(WRONG) };
    environment.forget_secrets();
    for warning in loaded.warnings.iter().chain(&loaded.no_servers) {
        tracing::warn!("{warning}");
    }
    let options = app::RunOptions {
        port_file: cli.port_file.clone(),
        workers: cli.workers,
        take_over: cli.take_over,
        is_log_json: log::is_json(),
    };
    let (cli, environment) = (cli.settings(), Arc::new(environment));
    let read = Arc::new(move || try_load(&cli, &environment));
    match app::run(&loaded, &options, app::Surroundings { log, read }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(format!("mooring: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn check(cli: &Cli) -> ExitCode {
    let Some(loaded) = load(cli, &Environment::default()) else { return ExitCode::from(WRONG) };
    for warning in loaded.warnings.iter().chain(&loaded.no_servers) {
        terminal::warn(format!("warning: {warning}"));
    }
    let config = &loaded.config;
    let notices = app::notices_of(config).into_iter();
    let advice = app::advice_on_starts(config);
    let others = app::unprotected(config).into_iter().chain(app::not_found(config)).chain(advice);
    let others = others.chain(app::readable_keys(config)).chain(app::cluster_complaint(config));
    let others = others.chain(app::expiring_certificates(config));
    for notice in notices.chain(others) {
        terminal::warn(format!("warning: {notice}"));
    }
    terminal::say(config::describe(&loaded.config).trim_end());
    if let Some(complaint) = app::complaint_on_tls(config) {
        terminal::warn(format!("error: {complaint}"));
        return ExitCode::from(WRONG);
    }
    match plugin::admissible(&loaded.config.sticky) {
        Ok(told) => {
            plugin::say_conversations(config, told.as_deref());
            ExitCode::SUCCESS
        }
        Err(error) => {
            terminal::warn(format!("error: systemConfig.cluster.stickySession.strategy: {error}"));
            ExitCode::from(WRONG)
        }
    }
}

fn load(cli: &Cli, environment: &Environment) -> Option<Loaded> {
    match try_load(&cli.settings(), environment) {
        Ok(loaded) => Some(loaded),
        Err(report) => {
            terminal::warn(&report);
            // A server's own mistakes are among them.
            for warning in &report.warnings {
                terminal::warn(format!("warning: {warning}"));
            }
            None
        }
    }
}

fn try_load(
    cli: &SettingsOptions,
    environment: &Environment,
) -> Result<Loaded, config::ConfigErrors> {
    let env = |name: &str| environment.variable(name);
    config::load(&sources(cli, &env))
}

/// What the command line says of the settings.
struct SettingsOptions {
    config: Option<PathBuf>,
    allow_open: bool,
}

impl Cli {
    fn settings(&self) -> SettingsOptions {
        SettingsOptions { config: self.config.clone(), allow_open: self.allow_open }
    }
}

fn sources<'a>(cli: &SettingsOptions, env: &'a dyn Fn(&str) -> Option<String>) -> Sources<'a> {
    Sources {
        explicit: cli.config.clone(),
        env,
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        allow_open: cli.allow_open,
        dot_env: config::DotEnv::default(),
        secrets: config::SecretFiles::default(),
    }
}
