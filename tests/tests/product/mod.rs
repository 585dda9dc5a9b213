//! The product as it is shipped: files, commands, examples, the shape of its source.

pub mod cli;
pub mod config;
pub mod connecting;
pub mod data_folder;
pub mod deployment;
pub mod documents;
pub mod examples;
pub mod floors;
pub mod helm_chart;
pub mod image;
pub mod importing;
pub mod listening;
pub mod long_tests;
pub mod machine;
pub mod manifests;
pub mod mcphub_files;
pub mod misconfigured;
pub mod monitoring;
pub mod objects;
pub mod other_clients;
pub mod packages;
pub mod plugin_bounds;
pub mod plugins;
pub mod release;
pub mod schema;
pub mod service_unit;
