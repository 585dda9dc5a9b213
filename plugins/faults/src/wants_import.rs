//! Sound, but wants something that no gateway offers: admission must refuse it
//! by the import's name.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

mod network {
    wit_bindgen::generate!({
        inline: "
            package faults:network@1.0.0;

            interface sockets {
                connect: func(host: string, port: u16) -> bool;
            }

            world online {
                import sockets;
            }
        ",
    });
}

use network::faults::network::sockets::connect;

struct WantsImport;

impl Fault for WantsImport {
    const NAME: &'static str = "wants-import";

    fn misbehave() -> Result<Decision, RouteError> {
        connect("localhost", 9);
        Err(RouteError::Abstain)
    }
}

mooring_plugin::export_strategy!(Faulty<WantsImport>);
