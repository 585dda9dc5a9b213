//! What each scope offers: the replicas' catalogs, merged.

pub mod app_links;
pub mod cache;
pub mod era_marks;
pub mod extensions;
pub mod fetch;
pub mod kept;
pub mod merge;
pub mod naming;
pub mod node_budget;
pub mod pages;
pub mod part;
pub mod prefixed;
pub mod returning;
pub mod scope_catalog;
pub mod tool_says;
pub mod uris;
