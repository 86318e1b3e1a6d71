#![no_main]
//! Pattern files: any text gives definitions or messages.

libfuzzer_sys::fuzz_target!(|text: &str| {
    let source = quantc_pattern::Source::new("fuzz.qpat", text);
    if let Err(errors) = quantc_pattern::Library::parse(&[source]) {
        assert!(!errors.to_string().is_empty());
    }
});
