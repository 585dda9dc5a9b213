//! Which method belongs to whom on an aggregate scope.

/// The four catalogues a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

impl List {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    #[must_use]
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// Lists with a notification of their own; templates change with resources.
    pub const NOTIFIED: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// The notification that says that it has changed.
    #[must_use]
    pub fn changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources | Self::Templates => "notifications/resources/list_changed",
        }
    }

    /// The capability under which a server announces it.
    #[must_use]
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// Where a client's request on an aggregate scope goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Opens the session.
    Initialize,
    /// Answered at the edge with an empty result.
    Ping,
    /// Answered from the catalogue.
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
    /// Every open server's tasks.
    TaskList,
    /// Kept at the edge and told to every open server.
    LogLevel,
    Unknown,
}

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
        TASK_LIST => Destination::TaskList,
        "logging/setLevel" => Destination::LogLevel,
        _ => Destination::Unknown,
    }
}

pub const INITIALIZE: &str = "initialize";
pub const INITIALIZED: &str = "notifications/initialized";
pub const SET_LEVEL: &str = "logging/setLevel";
pub const SUBSCRIBE: &str = "resources/subscribe";
pub const UNSUBSCRIBE: &str = "resources/unsubscribe";
pub const TASK_LIST: &str = "tasks/list";
pub const PING: &str = "ping";
pub const CANCELLED: &str = "notifications/cancelled";
pub const PROGRESS: &str = "notifications/progress";
pub const MESSAGE: &str = "notifications/message";
pub const UPDATED: &str = "notifications/resources/updated";
pub const TASK_STATUS: &str = "notifications/tasks/status";
pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";

/// Server notifications that belong to no request: the GET stream is theirs.
#[must_use]
pub fn is_unrelated(method: &str) -> bool {
    is_list_changed(method)
        || matches!(method, UPDATED | TASK_STATUS | "notifications/elicitation/complete")
}

/// Whether the server says that one of its lists has changed.
#[must_use]
pub fn is_list_changed(method: &str) -> bool {
    List::NOTIFIED.into_iter().any(|list| list.changed() == method)
}

/// Whether running the request twice does no harm, by its method alone.
#[must_use]
pub fn is_safe_to_repeat(method: &str) -> bool {
    method.ends_with("/list")
        || matches!(method, "ping" | "resources/read" | "prompts/get" | "completion/complete")
}
