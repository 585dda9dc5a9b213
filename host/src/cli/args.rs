//! The arguments of the program.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::{connect, drain};

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
  MOORING_CLUSTER_TLS_CA, MOORING_CLUSTER_TLS_CERT, MOORING_CLUSTER_TLS_KEY,
  MOORING_CLUSTER_TLS_REVOKED
                          files of cluster.tls, instead of those in the settings
  MOORING_KEY             bearer key that ps, logs, call and others send to the gateway, instead
                          of that in the settings or the local-key in the data folder
  MOORING_SECRET          seals session ids; generated into the data folder if unset
  MOORING_CLUSTER_TOKEN_FILE, MOORING_KEY_FILE, MOORING_SECRET_FILE
                          files that hold these values, if the variables are not set
  MOORING_LOG             log filter, such as info or mooring=debug (info)
  MOORING_LOG_FORMAT      text or json (text)
  BASE_PATH               what stands in front of every path, such as /mcphub (nothing)
  MCPHUB_SETTING_PATH     settings file or its folder, if --config is not given")]
pub struct Cli {
    /// Settings file, or a folder that holds mcp_settings.json [default: ./mcp_settings.json, else
    /// that in the data folder]
    #[arg(long, short, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Accept settings with access rules that Mooring does not enforce
    #[arg(long, global = true)]
    pub allow_open: bool,

    /// Write the port into this file once the gateway accepts requests
    #[arg(long, value_name = "FILE")]
    pub port_file: Option<PathBuf>,

    /// Number of threads that serve requests [default: one per core]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,

    /// Take the listening sockets over from the gateway that runs with the same data folder and port;
    /// it ends once this one serves
    #[arg(long)]
    pub take_over: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the settings and print what would run, without starting it
    Check,
    /// Inspect routing plugins
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// List every server: running, spare, idle and failed; on a coordinator, those of all nodes
    ///
    /// Fails if SERVER is not known.
    Ps {
        /// List only this server
        server: Option<String>,
        /// List only servers on the node with this id
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
    /// Say why a session's servers are where they are: what the strategy saw and said
    Explain {
        /// The session: the 8 digits of the log, its uuid, or the id that its client has
        session: Option<String>,
        /// Explain the request whose response had this X-Request-Id
        #[arg(long, value_name = "ID", conflicts_with = "session")]
        request: Option<String>,
        /// Explain only decisions about this server
        #[arg(long)]
        server: Option<String>,
        /// Number of decisions, newest first, at most 200
        #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
        limit: usize,
        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Show which lines the log of the running gateway has, or change that until it ends
    LogLevel {
        /// A filter as in MOORING_LOG, such as debug or mooring=debug
        filter: Option<String>,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Have a running gateway read its settings again, and say what became of it
    ///
    /// Settings with a mistake, or with a server that does not start, change nothing. SIGHUP and a
    /// change of the file do the same.
    Reload {
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
    /// List the nodes of a coordinator
    Nodes {
        /// Print one JSON array instead of a table
        #[arg(long)]
        json: bool,
        /// Base URL of the coordinator [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// List sessions by the short hash that the log shows
    ///
    /// Fails if a hash is given that no session has.
    Sessions {
        /// List only sessions whose hash begins so
        session: Option<String>,
        /// List only sessions that have this server
        #[arg(long)]
        server: Option<String>,
        /// List only sessions that have a server on the node with this id
        #[arg(long)]
        node: Option<String>,
        /// Print one JSON object instead of a table
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// List the tools that clients see at /mcp, or at /mcp/SERVER
    Tools {
        /// Name of a server or group
        server: Option<String>,
        /// Print the tools as one JSON array, with their schemas
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Call a tool as a client does, in a session of its own
    ///
    /// Prints the texts of the result. Exit codes: 0 if the tool has answered, 1 if the gateway or
    /// the server has refused the call or did not answer, 2 if ARGUMENTS is no JSON object, 3 if the
    /// tool says that it has failed (isError).
    Call {
        /// Name of a server or group
        server: String,
        /// Name of the tool
        tool: String,
        /// The arguments, as a JSON object
        #[arg(default_value = "{}")]
        arguments: String,
        /// Longest time for the whole call, in seconds, or such as 90s, 5m, 1h
        #[arg(long, value_name = "SECONDS", value_parser = drain::parse_deadline, default_value = "60s")]
        timeout: Duration,
        /// Print the whole result as JSON
        #[arg(long)]
        json: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
    /// Be an MCP server of stdio whose other end is a URL: for hosts that only start programs
    ///
    /// Passes the messages of stdin on to a Streamable HTTP endpoint, and those of the gateway to
    /// stdout. MOORING_KEY is sent as the bearer key.
    Connect {
        /// URL of the endpoint, such as https://gateway.example.com/mcp; without a path that of /mcp
        url: String,
        /// Bearer key to send, instead of MOORING_KEY; others on this machine can read it here
        #[arg(long, value_name = "KEY", hide_env_values = true)]
        key: Option<String>,
        /// Header to send with every request; may be given several times
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = connect::parse_header)]
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
        /// How long a message waits for a gateway that is away, in seconds, or such as 90s, 5m, 1h
        #[arg(long, value_name = "SECONDS", value_parser = drain::parse_deadline, default_value = "60s")]
        wait: Duration,
    },
    /// Take the servers of a client's file into the settings: Claude, Cursor, VS Code, Zed and others
    ///
    /// Without FILE and --from, lists the clients' files that are on this machine.
    Import {
        /// File of a client, such as claude_desktop_config.json or .vscode/mcp.json
        #[arg(conflicts_with = "from")]
        file: Option<PathBuf>,
        /// Client whose file is looked for where it usually is
        #[arg(long, value_name = "CLIENT")]
        from: Option<String>,
        /// Settings file to write into [default: that of --config, else ./mcp_settings.json]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Print the settings file instead of writing it
        #[arg(long)]
        print: bool,
    },
    /// Make and revoke the certificates by which coordinator and nodes know each other
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Print the JSON Schema of the settings file
    Schema,
    /// List every route of a gateway, and who may use it
    Routes,
    /// Exit with 0 if a gateway serves and all its servers can be used, else with 1 and the reasons
    Health {
        /// Only whether the process serves: for what restarts it if not
        #[arg(long)]
        live: bool,
        /// Base URL of the gateway [default: from the settings and PORT]
        #[arg(long)]
        url: Option<String>,
    },
}

/// Longest validity of a certificate, in days.
const MOST_DAYS: u64 = 3650;

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make an authority for a cluster in a folder, and certificates for coordinator and nodes
    ///
    /// The keys can be read by this user alone. That of the authority, ca.key, stays in the folder: it
    /// makes further certificates, and no gateway needs it.
    Init {
        /// Folder for the files; it is made if it is not there
        dir: PathBuf,
        /// Ids of nodes to make certificates for, beside that of the coordinator. What ends with * is one
        /// for all nodes whose ids begin so
        nodes: Vec<String>,
        /// Host name or address to name in the certificates, for programs that look at it; mooring
        /// goes by the ids. May be given several times
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// Days until the certificates expire
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
        days: u64,
    },
    /// Make the certificate of a further node, or a new one for a node or the coordinator
    Certificate {
        /// Id of the node, what ids begin with and *, or coordinator
        name: String,
        /// Folder of `mooring cluster init`
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        /// Host name or address to name in the certificate; may be given several times
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// Days until it expires
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=MOST_DAYS))]
        days: u64,
    },
    /// Revoke all certificates of a node or of the coordinator, by a new revoked.pem
    Revoke {
        /// Id of the node, or coordinator
        name: String,
        /// Folder of `mooring cluster init`
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// List the certificates that were made, with their state
    Certificates {
        /// Folder of `mooring cluster init`
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Print a plugin's description, inputs and imports, and how a dry run spreads sessions
    Inspect {
        /// Path of the component (.wasm), or the name of a built-in strategy
        file: String,
        /// The stickySession object to configure the plugin with, as JSON
        #[arg(long, value_name = "JSON", default_value = "{}")]
        settings: String,
    },
}
