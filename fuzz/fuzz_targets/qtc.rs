#![no_main]
//! Compiled models: any bytes give a valid model or an error.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = quantc::qtc::decode(bytes) {
        file.graph.verify().expect("a model that was read is valid");
    }
});
