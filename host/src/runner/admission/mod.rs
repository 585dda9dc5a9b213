//! Whether a server may be started now: its record of failures, the limits on processes, and
//! its turn among the starts under way.

pub mod admit;
pub mod backoff;
pub mod caps;
pub mod make_room;
pub mod open_error;
pub mod process_limits;
pub mod reach;
pub mod server_state;
pub mod starts;
pub mod turns;
