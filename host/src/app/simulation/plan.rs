//! What is simulated: the processes, the clients, and a fault that is planted in the wiring.

/// The coordinator's place among the processes; nodes follow.
pub const COORDINATOR: usize = 0;
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];
pub const SESSIONS: usize = 3;

/// A fault in the simulation's wiring, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    None,
    /// Against one owner: a binding is forgotten now and then.
    BindingsAreForgotten,
    /// Against running once: of a request whose answer is lost it is said that it was not sent.
    SentIsCalledUnsent,
    /// Against no way back: a node does not close what it is told to close, and says of what it still
    /// holds that it is the current instance.
    LeftIsCalledCurrent,
    /// Against being served: a coordinator forgets its nodes when it starts, and accepts heartbeats of
    /// nodes that it does not know.
    UnknownIsCalledKnown,
}
