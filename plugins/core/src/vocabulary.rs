//! The types of `wit/routing.wit` in Rust. Their meaning is documented there.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    Healthy,
    Degraded,
    Draining,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub health: Health,
    pub priority: u32,
    pub zone: String,
    pub labels: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Position in [`Topology::nodes`].
    pub node: u32,
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub replicas: Vec<Replica>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    pub generation: u64,
    pub local_zone: String,
    pub nodes: Vec<Node>,
    pub servers: Vec<Server>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    SessionId,
    Header(String),
    Cookie(String),
    Query(String),
    RpcMethod,
    RpcTarget,
    Body(String),
    Principal,
    ClientAddress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    None,
    Session,
    Cookie(String),
    Header(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub inputs: Vec<Input>,
    pub carrier: Carrier,
    pub affinity_ttl_seconds: u32,
    pub wants_loads: bool,
}

/// Borrowed throughout: a decision allocates nothing on the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Position in [`Topology::servers`].
    pub server: u32,
    /// Same order and length as [`Plan::inputs`].
    pub inputs: &'a [Option<&'a str>],
    pub affinity: Option<u32>,
    pub attempt: u32,
    pub seed: u64,
    pub loads: Option<&'a [u32]>,
}

impl<'a> Request<'a> {
    /// The input that the plan asked for at this position.
    pub fn input(&self, position: usize) -> Option<&'a str> {
        self.inputs.get(position).copied().flatten()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AffinityAction {
    Keep,
    Pin,
    Clear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Position in [`Topology::nodes`].
    pub node: u32,
    pub affinity: AffinityAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    NoCandidate,
    Abstain,
    MissingInput,
}

/// What every strategy can do, be it a component or native code.
pub trait Strategy: Sized {
    /// As in `stickySession.strategy` of the settings file.
    const NAME: &'static str;

    /// `config_json` is the settings file's `stickySession` object. An error is
    /// for the operator to read and refuses the strategy.
    fn configure(config_json: &str) -> Result<(Self, Plan), String>;

    /// Takes the topology for all decisions from now on. After an error the
    /// one before stays in force.
    fn update(&mut self, topology: &Topology) -> Result<(), String>;

    /// Depends on configuration, topology and request, and on nothing else.
    fn route(&self, request: &Request<'_>) -> Result<Decision, RouteError>;
}
