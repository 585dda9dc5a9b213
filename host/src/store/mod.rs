//! What the edge remembers of sessions: bindings and tombstones (marks of ended
//! sessions) in memory, tombstones and large `initialize` parameters in the data
//! folder.
//!
//! None of it is needed to recognise a session, whose id says what it is. After a
//! restart the coordinator asks each node which sessions it holds.

mod adopted;
mod bindings;
mod changes;
mod counting;
mod data;
mod ended;
mod epochs;
mod folder_state;
mod latest;
mod listing;
mod noted;
mod opened;
mod private;
mod quotas;
mod record;
mod records;
mod reported;
mod secrets;
mod session_files;
mod session_limits;
mod session_states;
mod settings;
pub mod shared;
pub mod sharing;
mod state_log;
mod state_text;
mod unused;
mod used;

pub use adopted::LeftInstance;
pub use bindings::{Bindings, Forgotten, InUse};
pub use counting::NoRoom;
pub use data::{DataFolder, ForeignFolder, GENERATED_KEY, LOCAL_KEY};
pub use folder_state::{FolderState, Renewals};
pub use listing::{SessionQuery, Sessions};
pub use record::{Binding, Bound, Record};
pub use records::{RecordCounts, Records};
pub use reported::{ReportOutcome, Reported};
pub use secrets::SecretKept;
pub use session_files::NODE_ID;
pub use session_limits::MostSessions;
pub use session_states::SessionStates;
pub use shared::redis::RedisStore;
pub use state_log::{KeptCall, LogBounds, Mark, SavedState, StateLog};
