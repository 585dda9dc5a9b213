//! Which revisions a server is used in, as its entry says.

/// The era in which a server is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EraSetting {
    /// With sessions, as long as the server opens any; else without.
    #[default]
    Auto,
    /// With sessions.
    Legacy,
    /// Without.
    Modern,
    /// With sessions for clients that have some, and without for the others.
    Both,
}
