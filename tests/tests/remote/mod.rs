//! Servers on other machines.

pub mod as_a_client;
pub mod claims;
pub mod crowded;
pub mod exchanged_tokens;
pub mod fetched_tokens;
pub mod judged;
pub mod large_answers;
pub mod leaving;
pub mod login_discovery;
pub mod login_refusals;
pub mod logins;
pub mod old_upstreams;
pub mod private_tls;
pub mod proxies;
pub mod secret_files;
pub mod sent_along;
pub mod several_messages;
pub mod shared_logins;
pub mod tokens;
pub mod upstreams;
