//! Servers as processes: started, confined, shared, ended.

pub mod chaos;
pub mod children;
pub mod containment;
pub mod control_groups;
pub mod core_dumps;
pub mod crowds;
pub mod failing_servers;
pub mod fair_shares;
pub mod hand_over;
pub mod isolation;
pub mod leftovers;
pub mod lifecycle;
pub mod many_children;
pub mod planned_end;
pub mod sandbox;
pub mod secrets;
pub mod signals;
pub mod slow_servers;
pub mod smuggled;
pub mod unruly;
pub mod variables;
