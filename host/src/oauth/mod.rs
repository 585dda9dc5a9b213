//! OAuth, as the gateway speaks it to token servers: access tokens of its own for a remote server (RFC
//! 6749 §4.4), in exchange for a client's (RFC 8693), and those of users who log in (§4.1). What is here
//! asks and judges; who keeps a token for how long is decided by `tokens` for the gateway's own, and by
//! the edge for users'.

pub mod authorization;
pub mod challenge;
pub mod denied;
pub mod exchanges;
pub mod fetch;
pub mod login_terms;
pub mod metadata;
pub mod pkce;
pub mod protected_resource;
pub mod registration;
pub mod source;
pub mod terms;
pub mod token_request;
pub mod tokens;
pub mod user_grant;

pub use exchanges::Exchanges;
pub use login_terms::{LoginPlace, LoginTerms};
pub use source::TokenSource;
pub use terms::{ClientAuth, TokenPlace, TokenServer, TokenTerms, TokenWay};
pub use tokens::Tokens;
