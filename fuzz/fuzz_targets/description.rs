#![no_main]
//! Model descriptions: any text gives a valid graph or an error.

libfuzzer_sys::fuzz_target!(|text: &str| {
    use quantc_frontend::trace::{Description, Weights};
    if let Ok(graph) = Description::parse(text).and_then(|d| d.trace(Weights::random(0))) {
        graph.verify().expect("a traced graph is valid");
    }
});
