//! What the edge remembers of sessions: bindings and tombstones (marks of ended
//! sessions) in memory, tombstones and large `initialize` parameters in the data
//! folder.
//!
//! None of it is needed to recognise a session, whose id says what it is. After a
//! restart the coordinator asks each node which sessions it holds.

mod adopted;
mod bindings;
mod changes;
mod epochs;
mod folder;
mod latest;
mod limits;
mod listing;
mod logins;
mod noted;
mod opened;
mod record;
mod records;
mod reported;
mod session_files;
mod settings;
pub mod shared;
pub mod sharing;
mod state;

pub use adopted::LeftInstance;
pub use bindings::{Bindings, Forgotten, InUse};
pub use folder::data::{DataFolder, ForeignFolder, GENERATED_KEY, LOCAL_KEY};
pub use folder::folder_state::{FolderState, Renewals};
pub use folder::secrets::SecretKept;
pub use limits::counting::NoRoom;
pub use limits::session_limits::MostSessions;
pub use listing::{SessionQuery, Sessions};
pub use logins::{KeptLogins, LoginName, SharedTurn, StoreAway};
pub use record::{Binding, Bound, Record};
pub use records::{RecordCounts, Records};
pub use reported::{ReportOutcome, Reported};
pub use session_files::NODE_ID;
pub use shared::redis::RedisStore;
pub use state::session_states::{OthersLogs, SessionStates};
pub use state::state_log::{KeptCall, LogBounds, Mark, SavedState, StateLog};
