//! Which conversation a request without a session belongs to, by a plugin that tells.
//!
//! ```text
//!   inputs ─▶ lease ─▶ identify ─▶ a name, alone, or abstain
//!               │          │
//!               └──────────┴─▶ anything else: abstain
//! ```
//!
//! Most plugins do not export it. A fault costs one answer, as in routing: the gateway's other rules
//! decide then.

use std::sync::Arc;
use std::time::Instant;

use super::care::PluginCare;
use super::conversing::{ConversationAnswer, ConversationInput};

/// One answer, without waiting.
pub(super) fn identify(
    care: &PluginCare<'_>,
    plan: &Arc<[ConversationInput]>,
    inputs: &[Option<&str>],
) -> ConversationAnswer {
    let abstains = ConversationAnswer::Abstain;
    let plugin = &care.snapshot.plugin;
    // The plugin may have been replaced since the inputs were gathered.
    let is_asked = plugin.conversations.as_ref().is_some_and(|asked| Arc::ptr_eq(asked, plan));
    let Some(pool) = care.snapshot.pool.as_ref().filter(|_| is_asked) else { return abstains };
    if plugin.check_bypass(Instant::now) {
        return abstains;
    }
    if pool.take_short(care.worker) {
        care.order_refill(pool, None);
    }
    let Some(mut lease) = pool.lease(care.worker) else { return abstains };
    match lease.identify(inputs) {
        Ok(answer) => match answer.objection() {
            Some(objection) => {
                care.blame(objection);
                abstains
            }
            None => answer,
        },
        Err(fault) => {
            care.note(&fault);
            care.order_refill(pool, lease.condemn());
            abstains
        }
    }
}
