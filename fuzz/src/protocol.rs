#[path = "../../host/src/protocol/jsonrpc.rs"]
pub mod jsonrpc;
#[path = "../../host/src/protocol/properties/mod.rs"]
pub mod properties;
#[path = "../../host/src/protocol/splice.rs"]
pub mod splice;
#[path = "../../host/src/protocol/sse.rs"]
pub mod sse;
