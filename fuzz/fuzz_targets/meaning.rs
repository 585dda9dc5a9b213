#![no_main]

use libfuzzer_sys::fuzz_target;
use mooring_fuzz::protocol::properties;

fuzz_target!(|input: &[u8]| properties::meaning::hold(input));
