//! The types of the domain: plain values without IO and without serde.
//!
//! Their constructors check what they are given, so a value that exists is valid.

#![warn(missing_docs)]

mod address;
mod epoch;
mod gateway_start;
mod name;
mod pattern;
pub mod pem;
#[cfg(test)]
pub mod played;
mod policy;
mod quota_key;
mod reserved_headers;
mod scope;
mod selection;
mod session;
mod session_map;
mod spelling;
mod state_plan;
mod topology;
pub mod visible;

pub use address::{is_loopback_host, is_near, is_shared};
pub use epoch::{Epoch, Epochs, Standing};
pub use gateway_start::GatewayStart;
pub use name::{GroupName, NameError, NodeId, ServerName};
pub use pattern::fits;
pub use policy::{
    EntryKind, EntryRights, Policy, PolicyRuling, Rights, Rule, RuleEntries, RuleSubject,
    RuleTarget, ServerRights, Who,
};
pub use quota_key::{QuotaKey, counted_address};
pub use reserved_headers::{SEAM_PREFIX, SUBJECT_TOKEN, USER_TOKEN, is_reserved_header};
pub use scope::{JudgedScope, Scope};
pub use selection::{ALL_OTHERS, Choice, Choices, Selection, choice_of};
pub use session::{Principal, SessionId, UnixMillis, since_1970};
pub use session_map::SessionMap;
pub use spelling::{DEFAULT_SEPARATOR, Prefixes, safe_prefix};
pub use state_plan::{Keep, KeepRule, Replay, Saving, StateAction, StatePlan};
pub use topology::{Absence, Away, Health, Node, Reach, Replica, Reports, Room, Topology};
