#![no_main]
//! ONNX import: any bytes give a valid graph or an error.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = quantc_frontend::onnx::import_bytes(bytes) {
        graph.verify().expect("an imported graph is valid");
    }
});
