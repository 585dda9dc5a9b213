//! Step 2, admit: which requests are let in, from which origins, and how many sessions.

pub mod admit;
pub mod audience;
pub mod by_token;
pub mod certified;
pub mod cors;
pub mod fair_share;
pub mod forwarded;
pub mod framing;
pub mod host;
pub mod identity;
pub mod issuer;
pub mod issuer_fetch;
pub mod issuer_keys;
pub mod issuers;
pub mod limit_met;
pub mod local_key;
pub mod management;
pub mod quota;
pub mod rates;
pub mod resource_metadata;
mod shut_out;
pub mod token_refusal;
