//! What rules and limits decide by for clients that have come by a certificate.

use std::sync::{Arc, LazyLock};

use crate::edge::config::EdgeConfig;
use crate::model::Principal;

use super::identity::CallerIdentity;

/// What rules know such clients by, where others have the name of a key or an issuer.
static KEY: LazyLock<Arc<str>> = LazyLock::new(|| "certificate".into());

/// The identity of the holder of a certificate; `None` where there are neither rules nor limits.
pub fn identity(config: &EdgeConfig, principal: &Principal) -> Option<Arc<CallerIdentity>> {
    if config.policy.is_empty() {
        return None;
    }
    // Certificates do not open the management API.
    Some(Arc::new(config.policy.identity(principal, Some(&KEY), &[], false)))
}
