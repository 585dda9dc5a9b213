//! The strategy itself is `mooring_strategies::Header`.

mooring_plugin::export_strategy!(mooring_strategies::Header);
