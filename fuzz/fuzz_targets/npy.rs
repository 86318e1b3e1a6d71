#![no_main]
//! NumPy files: any bytes give an array or an error.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = quantc::data::decode_npy(std::path::Path::new("fuzz.npy"), bytes);
});
