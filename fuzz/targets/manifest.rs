#![no_main]
use sensorium_fuzz::{place, readers};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::manifest(&place("directory"), bytes));
