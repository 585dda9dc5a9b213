//! The strategy itself is `mooring_strategies::Cookie`.

mooring_plugin::export_strategy!(mooring_strategies::Cookie);
