#![no_main]
use sensorium_fuzz::readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::recipe(bytes));
