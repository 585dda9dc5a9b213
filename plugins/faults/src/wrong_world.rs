//! A fine component, only not a strategy: what it exports has a familiar name
//! in a foreign package. Admission must say what is missing.

mod foreign {
    wit_bindgen::generate!({
        inline: "
            package faults:routing@0.1.0;

            interface strategy {
                route: func(key: string) -> u32;
            }

            world plugin {
                export strategy;
            }
        ",
    });
}

struct WrongWorld;

impl foreign::exports::faults::routing::strategy::Guest for WrongWorld {
    fn route(key: String) -> u32 {
        key.bytes().map(u32::from).sum()
    }
}

foreign::export!(WrongWorld with_types_in foreign);
