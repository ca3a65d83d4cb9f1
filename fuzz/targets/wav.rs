#![no_main]
use std::cell::LazyCell;

use sensorium_fuzz::readers;

thread_local! {
    static READ: LazyCell<Box<dyn Fn(&[u8])>> = LazyCell::new(|| Box::new(readers::sounds()));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| READ.with(|read| read(bytes)));
