//! The instance of a server that a session uses: opened, kept in the table, replaced.

pub mod complaints;
pub mod instance;
pub mod launch;
pub mod open;
pub mod recycling;
pub mod resources;
pub mod served;
pub mod settings_note;
pub mod table;
