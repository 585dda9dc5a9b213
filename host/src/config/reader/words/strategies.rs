//! The names of strategies: built-in ones, and paths of plugins.

/// The strategies built into the binary; the first is the default.
pub const BUILT_IN: [&str; 3] = ["consistent-hash", "cookie", "header"];

/// Whether the strategy is a plugin file, whose settings Mooring cannot know.
pub(in crate::config) fn is_plugin(strategy: &str) -> bool {
    strategy.ends_with(".wasm")
}
