//! Users who log in at remote servers that want each user's own OAuth: the edge knows who asks, keeps a
//! token for each (principal, server), and hands it to the runner with each message.
//!
//! ```text
//! call ── no token ──► invitation (a URL) ──► client ──► the user's browser
//!                                                           │ /oauth/login, then the server's issuer
//! call ── token ──► runner ──► server          kept, sealed ◄── /oauth/callback
//! ```

pub mod ended_elsewhere;
pub mod held_login;
pub mod invitation;
pub mod issuers;
pub mod late_refusal;
pub mod log_in_tool;
pub mod login_call;
pub mod login_refusal;
pub mod login_renewal;
pub mod login_routes;
pub mod login_store;
pub mod pages;
pub mod pending;
pub mod record;
pub mod user_lists;
pub mod user_tokens;
