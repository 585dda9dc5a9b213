//! What the settings say of whom the edge lets in. Who makes it and who hands it to the edge know it,
//! and not each other.

use std::sync::Arc;

use crate::edge::{CallerIdentity, ClientKey, Issuers, PolicyTable, Rates};

/// Whom the edge lets in, to what, and how often.
pub struct Admission {
    pub keys: Vec<ClientKey>,
    pub anyone: Option<Arc<CallerIdentity>>,
    pub policy: Arc<PolicyTable>,
    pub issuers: Option<Arc<Issuers>>,
    pub rates: Option<Arc<Rates>>,
}
