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
        "logging/setLevel" => Destination::LogLevel,
        _ => Destination::Unknown,
    }
}

pub const INITIALIZE: &str = "initialize";
pub const INITIALIZED: &str = "notifications/initialized";
pub const CANCELLED: &str = "notifications/cancelled";
pub const PROGRESS: &str = "notifications/progress";
pub const MESSAGE: &str = "notifications/message";
pub const ROOTS_CHANGED: &str = "notifications/roots/list_changed";

/// Server notifications that belong to no request: the GET stream is theirs.
#[must_use]
pub fn is_unrelated(method: &str) -> bool {
    matches!(
        method,
        "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated"
    )
}

/// Whether running the request twice does no harm, by its method alone.
#[must_use]
pub fn is_safe_to_repeat(method: &str) -> bool {
    method.ends_with("/list")
        || matches!(method, "ping" | "resources/read" | "prompts/get" | "completion/complete")
}
