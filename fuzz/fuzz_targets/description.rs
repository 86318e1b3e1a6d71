#![no_main]
//! Model descriptions: any text gives a valid graph or an error.

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(graph) = quantc_frontend::trace::parse(text) {
        graph.verify().expect("a traced graph is valid");
    }
});
