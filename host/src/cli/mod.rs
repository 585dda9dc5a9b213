//! The command line.
//!
//! Exit codes: 0 success; 1 a failure while running; 2 a mistake in the
//! configuration, a plugin or the command line.

mod call;
mod drain;
mod forget;
mod gateway;
mod log;
mod logs;
mod plugin;
mod ps;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{self, Loaded, Sources};
use crate::model::visible::visible;
use crate::telemetry::LogFilter;

use self::forget::Environment;
use self::gateway::Gateway;

/// Exit code for a mistake that the operator has to correct.
const WRONG: u8 = 2;
/// Bytes of a reason that another process gives.
const MAX_WHY: usize = 4096;

/// A routing gateway for the Model Context Protocol.
///
/// Reads mcp_settings.json, runs the MCP servers in it and serves them at
/// /mcp, /mcp/{group} and /mcp/{server}. As a coordinator it routes to nodes;
/// as a node it registers with one.
#[derive(Debug, Parser)]
#[command(name = "mooring", version, max_term_width = 100)]
#[command(after_help = "Environment:
  PORT                    port to listen on (3000; 0 lets the system choose)
  MOORING_HOST            address to listen on (127.0.0.1 for a standalone gateway without a key,
                          else 0.0.0.0)
  MOORING_DATA            data folder (./data)
  MOORING_CLUSTER_TOKEN   secret that coordinator and nodes share
  MOORING_KEY             bearer key that ps, logs, drain and others send to the gateway, instead
                          of that in the settings or the local-key in the data folder
  MOORING_SECRET          seals session ids; generated into the data folder if unset
  MOORING_CLUSTER_TOKEN_FILE, MOORING_KEY_FILE, MOORING_SECRET_FILE
                          files that hold these values, if the variables are not set
  MOORING_LOG             log filter, such as info or mooring=debug (info)
  MOORING_LOG_FORMAT      text or json (text)
  BASE_PATH               what stands in front of every path, such as /mcphub (nothing)
  MCPHUB_SETTING_PATH     settings file or its folder, if --config is not given")]
struct Cli {
    /// Settings file, or a folder that holds mcp_settings.json [default: ./mcp_settings.json, else
    /// that in the data folder]
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Accept settings with access rules that Mooring does not enforce
    #[arg(long, global = true)]
    allow_open: bool,

    /// Write the port into this file once the gateway accepts requests
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,

    /// Number of threads that serve requests [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,

    /// Take the listening sockets over from the gateway that runs with the same data folder and port;
    /// it ends once this one serves
    #[arg(long)]
    take_over: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which lines the log of the running gateway has, or change that
    LogLevel {
        /// A filter as in MOORING_LOG, such as debug or mooring=debug
        filter: Option<String>,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Check the settings and print what would run, without starting it
    Check,
    /// Inspect routing plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// List running server instances; on a coordinator, those of all nodes
    Ps {
        /// List only instances of this server
        server: Option<String>,
        /// List only instances on the node with this id
        #[arg(long)]
        node: Option<String>,
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Show what a server's processes write to stderr
    Logs {
        /// Name of the server
        server: String,
        /// Keep printing new lines until interrupted
        #[arg(long, short)]
        follow: bool,
        /// Number of past lines to print first, at most 500
        #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
        lines: usize,
        /// Show only lines from the node with this id
        #[arg(long)]
        node: Option<String>,
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Tell a node with registerOnStartup: false to register with its coordinator now
    Join {
        /// Base URL of the node [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Let the sessions of a node go, and wait until none is left; ask its coordinator for it
    ///
    /// The node takes no new sessions from now on. What is under way ends there; sessions that are
    /// idle go to other nodes: at once if they lose nothing, else at the deadline. The node runs on
    /// until it is ended or `mooring undrain` lets it take sessions again.
    Drain {
        /// Id of the node
        node: String,
        /// Seconds until sessions leave whose state is lost with that, or a time such as 90s, 5m or
        /// 1h [default: drainDeadline of the node, 25 s]
        #[arg(long, value_name = "SECONDS", value_parser = drain::parse_deadline)]
        deadline: Option<Duration>,
        /// Return as soon as the node has the order
        #[arg(long)]
        no_wait: bool,
        /// Base URL of the coordinator [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Let a node that drains take sessions again
    Undrain {
        /// Id of the node
        node: String,
        /// Base URL of the coordinator [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Exit with 0 if a gateway answers /health, else with 1 (for container health checks)
    Health {
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Print a plugin's description, inputs and imports, and how a dry run spreads sessions
    Inspect {
        /// Path of the component (.wasm), or the name of a built-in strategy
        file: String,
        /// The stickySession object to configure the plugin with, as JSON
        #[arg(long, value_name = "JSON", default_value = "{}")]
        settings: String,
    },
}

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
        Some(Command::Drain { node, deadline, no_wait, url }) => {
            let gateway = gateway(&cli, url.as_deref());
            let (deadline, no_wait) = (*deadline, *no_wait);
            drain::run(&gateway, &drain::DrainOptions { node: node.as_str(), deadline, no_wait })
        }
        Some(Command::Undrain { node, url }) => {
            drain::undrain(&gateway(&cli, url.as_deref()), node)
        }
        Some(Command::LogLevel { filter, url }) => {
            call::log_level(&gateway(&cli, url.as_deref()), filter.as_deref())
        }
        Some(Command::Join { url }) => call::join(&gateway(&cli, url.as_deref())),
        Some(Command::Health { url }) => call::health(&gateway(&cli, url.as_deref())),
    }
}

/// The gateway to call. If the settings cannot be read, its address comes from
/// `url`, `PORT` or the default.
fn gateway(cli: &Cli, url: Option<&str>) -> Gateway {
    let environment = Environment::default();
    let loaded = try_load(cli, &environment);
    let env = |name: &str| environment.variable(name);
    let folder = config::data_dir(&sources(cli, &env));
    Gateway::find(url, loaded.as_ref().ok(), &folder)
}

fn failed(why: &str) -> ExitCode {
    terminal::warn(format!("mooring: {}", visible(why, MAX_WHY)));
    ExitCode::FAILURE
}

fn serve(cli: &Cli, log: Arc<dyn LogFilter>) -> ExitCode {
    let environment = Environment::default();
    let Some(loaded) = load(cli, &environment) else { return ExitCode::from(WRONG) };
    environment.forget_secrets();
    for warning in loaded.warnings.iter().chain(&loaded.no_servers) {
        tracing::warn!("{warning}");
    }
    let options = app::RunOptions {
        port_file: cli.port_file.clone(),
        workers: cli.workers,
        take_over: cli.take_over,
    };
    match app::run(&loaded, &options, app::Surroundings { log }) {
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
    for notice in notices.chain(app::unprotected(config)).chain(app::not_found(config)) {
        terminal::warn(format!("warning: {notice}"));
    }
    terminal::say(config::describe(&loaded.config).trim_end());
    match plugin::admissible(&loaded.config.sticky) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(format!("error: systemConfig.cluster.stickySession.strategy: {error}"));
            ExitCode::from(WRONG)
        }
    }
}

fn load(cli: &Cli, environment: &Environment) -> Option<Loaded> {
    match try_load(cli, environment) {
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

fn try_load(cli: &Cli, environment: &Environment) -> Result<Loaded, config::ConfigErrors> {
    let env = |name: &str| environment.variable(name);
    config::load(&sources(cli, &env))
}

fn sources<'a>(cli: &Cli, env: &'a dyn Fn(&str) -> Option<String>) -> Sources<'a> {
    Sources {
        explicit: cli.config.clone(),
        env,
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
        allow_open: cli.allow_open,
        dot_env: config::DotEnv::default(),
    }
}
