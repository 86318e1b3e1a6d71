#![no_main]
//! Pattern files: any text gives definitions, which can be printed and linted, or messages.

libfuzzer_sys::fuzz_target!(|text: &str| {
    let source = quantc_pattern::Source::new("fuzz.qpat", text);
    match quantc_pattern::Library::parse(&[source]) {
        Ok(library) => {
            for rule in &library.rules.rules {
                assert!(!rule.pattern.to_string().is_empty() && !rule.template_text().is_empty());
            }
            for lint in library.lint() {
                assert!(!lint.to_string().is_empty());
            }
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
});
