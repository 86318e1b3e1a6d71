//! Sizes that can only be mistakes are errors of lowering, before anything is allocated.

use quantc_ir::text::parse;
use quantc_kernels::Isa;
use quantc_lower::{WeightCache, lower};
use quantc_tensor::{DType, TensorType};

/// The message of the error for inputs of these sizes, or of the graph where its own sizes are too large.
fn refused(text: &str, shape: &[usize]) -> String {
    let graph = match parse(text) {
        Ok(graph) => graph,
        Err(e) => return e.to_string(),
    };
    let inputs = [("x", TensorType::new(DType::F32, shape))];
    lower(&graph, &inputs, Isa::Portable, &WeightCache::new()).expect_err("too large").to_string()
}

#[test]
fn a_batch_that_is_too_large() {
    let text = "graph g(%x: f32[N,3,32,32]) {\n  %y = relu(%x)\n  return y=%y\n}";
    for batch in [99_999_999_999, usize::MAX] {
        let message = refused(text, &[batch, 3, 32, 32]);
        assert!(message.contains("input `x`") && message.contains("too large"), "{message}");
    }
}

#[test]
fn a_result_that_is_too_large() {
    for call in [
        "interpolate(%x) {size=[562949953421319]}",
        "interpolate(%x) {scale_factor=[1000000000.0]}",
        "pad(%x) {pads=[0,0,0,0,0,1400000000]}",
        "repeat(%x) {repeats=[1,100000,100000]}",
    ] {
        let message = refused(&format!("graph g(%x: f32[N,3,W]) {{\n  %y = {call}\n  return y=%y\n}}"), &[1, 3, 4]);
        assert!(message.contains("node `y`") && message.contains("too large"), "{message}");
    }
}

#[test]
fn an_arena_that_is_too_large() {
    let calls: String = (0..5).map(|i| format!("  %y{i} = leaky_relu(%x) {{negative_slope=0.{i}}}\n")).collect();
    let text = format!("graph g(%x: f32[N,1024]) {{\n{calls}  return a=%y0, b=%y1, c=%y2, d=%y3, e=%y4\n}}");
    let message = refused(&text, &[1 << 19, 1024]);
    assert!(message.contains("bytes for its values"), "{message}");
}
