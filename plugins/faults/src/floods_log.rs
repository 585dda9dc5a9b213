//! Logs a thousand long lines in one decision, with characters of several
//! bytes where the host cuts, and then decides nothing.

use faults::{Fault, Faulty};
use mooring_strategies::{Decision, RouteError};

mod logging {
    wit_bindgen::generate!({
        inline: "
            package faults:floods-log;

            world logging {
                import mooring:routing/log@0.1.0;
            }
        ",
        path: "../../wit",
        generate_all,
    });
}

use logging::mooring::routing::log::{Level, log};

struct FloodsLog;

impl Fault for FloodsLog {
    const NAME: &'static str = "floods-log";

    fn misbehave() -> Result<Decision, RouteError> {
        for line in 0..1000 {
            log(
                Level::Warn,
                &format!("{line} {}\nsecond line", "€".repeat(400)),
            );
        }
        Err(RouteError::Abstain)
    }
}

mooring_plugin::export_strategy!(Faulty<FloodsLog>);
