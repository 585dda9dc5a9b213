//! What a plugin must pass before it may decide anything, in the order in which it is asked:
//!
//! | file | judges |
//! |---|---|
//! | `admit` | takes it through all of this |
//! | `outline` | size, kind and parts, before anything is compiled |
//! | `compile_probe` | the cost of compiling, in a process that can be ended |
//! | `credentials` | what of clients' credentials it reads |
//! | `trial` | a thousand questions |
//! | `conversation_trial` | what it tells conversations apart by |
//! | `refusal` | why it was not admitted |

pub(in crate::wasm) mod admit;
pub(in crate::wasm) mod compile_probe;
pub(in crate::wasm) mod conversation_trial;
pub(in crate::wasm) mod credentials;
pub(in crate::wasm) mod outline;
pub(in crate::wasm) mod refusal;
pub(in crate::wasm) mod trial;
