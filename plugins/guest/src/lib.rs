//! Turns a [`Strategy`] into a component of the world `mooring:routing/plugin`.
//!
//! ```ignore
//! mooring_plugin::export_strategy!(MyStrategy);
//! ```
//!
//! The component imports nothing. Its only state is the configured strategy; the
//! gateway makes as many instances as it needs.

mod translate;

use std::cell::RefCell;

pub use mooring_strategies::Strategy;

use bindings::exports::mooring::routing::strategy::{Guest, Info};
use bindings::mooring::routing::types;

/// Generated from the WIT.
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "mooring_plugin::bindings",
    });
}

/// Where an instance keeps its strategy. [`export_strategy!`] implements it.
#[doc(hidden)]
pub trait Instance {
    type Strategy: Strategy + 'static;
    const VERSION: &'static str;

    fn with<R>(act: impl FnOnce(&RefCell<Option<Self::Strategy>>) -> R) -> R;
}

/// Makes the crate, a `cdylib`, a component with this [`Strategy`]. The version
/// that operators see is the crate's.
#[macro_export]
macro_rules! export_strategy {
    ($strategy:ty) => {
        struct Plugin;

        impl $crate::Instance for Plugin {
            type Strategy = $strategy;
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");

            fn with<R>(
                act: impl FnOnce(&::std::cell::RefCell<Option<Self::Strategy>>) -> R,
            ) -> R {
                ::std::thread_local! {
                    static CELL: ::std::cell::RefCell<Option<$strategy>> =
                        const { ::std::cell::RefCell::new(None) };
                }
                CELL.with(act)
            }
        }

        $crate::bindings::export!(Plugin with_types_in $crate::bindings);
    };
}

impl<P: Instance> Guest for P {
    fn describe() -> Info {
        Info {
            name: P::Strategy::NAME.to_owned(),
            version: P::VERSION.to_owned(),
        }
    }

    fn configure(config_json: String) -> Result<types::Plan, String> {
        let (strategy, plan) = P::Strategy::configure(&config_json)?;
        P::with(|cell| cell.replace(Some(strategy)));
        Ok(plan.into())
    }

    fn update(topology: types::Topology) -> Result<(), String> {
        P::with(|cell| match cell.borrow_mut().as_mut() {
            Some(strategy) => strategy.update(&topology.into()),
            None => Err("update came before configure".to_owned()),
        })
    }

    fn route(request: types::Request) -> Result<types::Decision, types::RouteError> {
        P::with(|cell| match cell.borrow().as_ref() {
            Some(strategy) => translate::with_borrowed(&request, |request| strategy.route(request)),
            None => Err(mooring_strategies::RouteError::Abstain),
        })
        .map(Into::into)
        .map_err(Into::into)
    }
}
