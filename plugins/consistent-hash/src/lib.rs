//! The strategy itself is `mooring_strategies::ConsistentHash`.

mooring_plugin::export_strategy!(mooring_strategies::ConsistentHash);
