//! URLs in a settings file: of other machines, of proxies, of Redis.

pub mod proxy_url;
pub mod redis_url;
pub mod url;
