//! The names of strategies: those inside the binary, and paths of plugins.

/// The strategies inside the binary.
pub const BUILT_IN: [&str; 3] = ["consistent-hash", "cookie", "header"];

/// Whether the strategy is a file, whose settings Mooring cannot know.
pub(in crate::config) fn is_plugin(strategy: &str) -> bool {
    strategy.ends_with(".wasm")
}
