//! Tables by session.

use std::collections::HashMap;

/// A table whose keys are, or begin with, the id of a session. Every call looks up two.
///
/// The standard library's hash takes several times as long. A plain one will not do: nodes report
/// ids, and one that is hostile would choose those that collide, with which 30,000 sessions took a
/// coordinator eight seconds. This one has a random seed.
pub type SessionMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
