#![no_main]
//! The text form: never panics, and what parses prints and parses back.

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(graph) = quantc_ir::text::parse(text) {
        let printed = graph.to_string();
        let again = quantc_ir::text::parse(&printed).expect("what was printed parses");
        assert_eq!(again.to_string(), printed);
    }
});
