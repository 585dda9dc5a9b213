use sha2::{Digest, Sha256};

use super::super::DecidedBy;
use super::*;

#[test]
fn every_component_has_the_checksum_that_was_recorded() {
    let sums = std::fs::read_to_string(prebuilt().join("SHA256SUMS")).unwrap();
    let mut checked = 0;
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").unwrap();
        let bytes = std::fs::read(prebuilt().join(name)).unwrap();
        let found: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found, sum, "{name}");
        checked += 1;
    }
    assert!(checked >= 3);
}

#[test]
fn the_binary_holds_the_components_of_the_folder() {
    for builtin in Builtin::ALL {
        let file = prebuilt().join(format!("{}.wasm", builtin.name()));
        assert!(std::fs::read(file).unwrap() == builtin.bytes(), "{}", builtin.name());
    }
}

/// Instantiating checks every type of the contract.
#[test]
fn every_builtin_fits_the_contract_and_knows_its_name() {
    for builtin in Builtin::ALL {
        let strategy = load(&Source::Builtin(builtin));
        assert_eq!(strategy.name(), builtin.name());
        assert_eq!(strategy.version(), env!("CARGO_PKG_VERSION"));
        strategy.publish(topology(2));
        let choice = ask(&strategy, "s").unwrap();
        assert_eq!(choice.decided_by, DecidedBy::Plugin);
    }
}

#[test]
fn a_builtin_is_known_by_its_name_and_all_else_is_a_path() {
    for builtin in Builtin::ALL {
        assert_eq!(Source::parse(builtin.name()), Source::Builtin(builtin));
    }
    assert_eq!(Source::parse("./cookie"), Source::File("./cookie".into()));
}
