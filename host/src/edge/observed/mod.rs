//! What is noted of each call: counted always, and told to the access and audit logs if they are on.

mod batched;
pub mod call;
pub mod denied_certificate;
pub mod notes;
pub mod refused_request;
pub mod ruling;
