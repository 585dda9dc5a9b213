//! The methods of MCP, and what serves each of them on an aggregate scope.

use super::version::Version;

/// The four lists of a server's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum List {
    /// Identified by `name`; used by `tools/call`.
    Tools,
    /// Identified by `name`; used by `prompts/get`.
    Prompts,
    /// Identified by `uri`; used by `resources/read` and subscriptions.
    Resources,
    /// Identified by `uriTemplate`, which yields the URIs of resources.
    Templates,
}

impl List {
    /// In the order in which `Catalog::lists_digest` takes them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The request that reads the list, a page at a time.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the list's entries.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry that no other entry of the list may have.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The lists that have their own notification; templates share that of resources.
    pub const NOTIFIED: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// The notification by which a server reports that the list has changed.
    #[must_use]
    pub fn changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources | Self::Templates => "notifications/resources/list_changed",
        }
    }

    /// The server capability that announces the list.
    #[must_use]
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// What serves a client's request on an aggregate scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Opens the session.
    Initialize,
    /// Answered at the edge with an empty result.
    Ping,
    /// Answered at the edge from the scope's catalog.
    List(List),
    /// To the owner of the tool in `params.name`.
    Tool,
    /// To the owner of the prompt in `params.name`.
    Prompt,
    /// To the owner of the resource in `params.uri`.
    Resource,
    /// To the owner of `params.ref`.
    Completion,
    /// To the owner of the task in `params.taskId`.
    Task,
    /// The same, of clients without a session alone.
    TaskUpdate,
    /// Answered with the tasks of every server that is open in the session.
    TaskList,
    /// Answered with the skills of every server that has some (SEP-2640).
    Skills,
    /// To the server that has the skill or directory in `params.uri`.
    Skill,
    /// Kept at the edge, and sent to every server that is open in the session.
    LogLevel,
    /// None of the above, as notifications and custom methods are: no owner is known.
    Unknown,
}

/// Decides by the method's name alone; parameters are not read.
#[must_use]
pub fn destination(method: &str) -> Destination {
    match method {
        "initialize" => Destination::Initialize,
        "ping" => Destination::Ping,
        "tools/list" => Destination::List(List::Tools),
        "prompts/list" => Destination::List(List::Prompts),
        "resources/list" => Destination::List(List::Resources),
        "resources/templates/list" => Destination::List(List::Templates),
        "tools/call" => Destination::Tool,
        "prompts/get" => Destination::Prompt,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Destination::Resource,
        "completion/complete" => Destination::Completion,
        "tasks/get" | "tasks/result" | "tasks/cancel" => Destination::Task,
        TASK_UPDATE => Destination::TaskUpdate,
        TASK_LIST => Destination::TaskList,
        SKILLS => Destination::Skills,
        SKILL | DIRECTORY => Destination::Skill,
        "logging/setLevel" => Destination::LogLevel,
        _ => Destination::Unknown,
    }
}

/// What becomes of a client's notification on an aggregate scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Nothing: runners send it when they open a server.
    Initialized,
    /// To every server that the session has open.
    All,
    /// To the server that the token names.
    Progress,
    /// To nobody. A message without an id runs at a server that reads it as a call
    /// (JSON-RPC 2.0, "Notification"), so that only those pass which a client may send.
    Dropped,
}

/// Decides by the method's name and the session's revision alone; parameters are not read.
#[must_use]
pub fn notice(method: &str, version: Version) -> Notice {
    match method {
        INITIALIZED => Notice::Initialized,
        PROGRESS => Notice::Progress,
        // At most one server knows the request's id.
        CANCELLED | ROOTS_CHANGED => Notice::All,
        TASK_STATUS if version >= Version::V2025_11_25 => Notice::All,
        _ => Notice::Dropped,
    }
}

/// Request: the first one of a session (2025-11-25, basic/lifecycle).
pub const INITIALIZE: &str = "initialize";
/// Notification of the client: it has the result of `initialize`, and requests may follow.
pub const INITIALIZED: &str = "notifications/initialized";
/// Request: the least severe log messages that the client wants from now on.
pub const SET_LEVEL: &str = "logging/setLevel";
/// Request: calls a tool.
pub const CALL: &str = "tools/call";
/// Asks how a task is (the tasks extension, and those of sessions).
pub const TASK_GET: &str = "tasks/get";
/// Answers what a task has asked (the tasks extension).
pub const TASK_UPDATE: &str = "tasks/update";
/// Request: the skills of a server (SEP-2640).
pub const SKILLS: &str = "skills/list";
/// Request: one skill.
pub const SKILL: &str = "skills/get";
/// Request: what is in a directory of resources.
pub const DIRECTORY: &str = "resources/directory/read";
/// Request: the contents of one resource.
pub const READ: &str = "resources/read";
/// Request: the client wants [`UPDATED`] for one resource.
pub const SUBSCRIBE: &str = "resources/subscribe";
/// Request: ends a subscription.
pub const UNSUBSCRIBE: &str = "resources/unsubscribe";
/// Request: the tasks that a server holds (2025-11-25, basic/utilities/tasks).
pub const TASK_LIST: &str = "tasks/list";
/// Request: what a task has come to, once it has.
pub const TASK_RESULT: &str = "tasks/result";
/// Request of either side, with an empty result: shows that the other side is alive.
pub const PING: &str = "ping";
/// A server asks for the client's roots.
pub const LIST_ROOTS: &str = "roots/list";
/// Notification of either side: it no longer waits for the answer to its request.
pub const CANCELLED: &str = "notifications/cancelled";
/// Notification: progress of a request that carried a `progressToken`.
pub const PROGRESS: &str = "notifications/progress";
/// Notification of the server: a log message.
pub const MESSAGE: &str = "notifications/message";
/// Notification of the server: a resource that the client subscribed to has changed.
pub const UPDATED: &str = "notifications/resources/updated";
/// Notification: a task has another status.
pub const TASK_STATUS: &str = "notifications/tasks/status";
/// Notification of the client: the server may ask for its roots again.
pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";

/// Whether a server's notification belongs to no request, so that the GET stream carries it.
#[must_use]
pub fn is_unrelated(method: &str) -> bool {
    is_list_changed(method)
        || matches!(method, UPDATED | TASK_STATUS | "notifications/elicitation/complete")
}

/// Whether a server's notification reports that one of its lists has changed.
#[must_use]
pub fn is_list_changed(method: &str) -> bool {
    List::NOTIFIED.into_iter().any(|list| list.changed() == method)
}

/// Whether a request or notification may safely run twice, by its method alone. False for `tools/call`, where
/// it depends on the tool.
#[must_use]
pub fn is_safe_to_repeat(method: &str) -> bool {
    method.ends_with("/list")
        || matches!(method, "ping" | "resources/read" | "prompts/get" | "completion/complete")
        || matches!(method, SKILL | DIRECTORY | TASK_GET)
        || matches!(method, CANCELLED | PROGRESS | ROOTS_CHANGED)
}
