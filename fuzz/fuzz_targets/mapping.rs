#![no_main]
//! QConfigMapping files: any text gives a mapping or an error.

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = quantc_quant::QConfigMapping::from_json(text);
});
