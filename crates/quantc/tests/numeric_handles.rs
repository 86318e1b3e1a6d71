//! Numeric debug handles are kept by compiled files.

use quantc::qtc;
use quantc_ir::text::parse;
use quantc_kernels::Isa;
use quantc_quant::QuantReport;
use quantc_quant::pt2e::generate_numeric_debug_handle;
use quantc_testkit::with_random_params;

#[test]
fn a_compiled_file_keeps_the_handles() {
    let text = "graph g(%x: f32[2,64]) {
  param @w: f32[64,64]
  %l = linear(%x, @w, none) : f32[2,64]  # fc: Linear(linear, 0)
  %r = relu(%l) : f32[2,64]
  return y=%r
}";
    let mut graph = with_random_params(parse(text).unwrap_or_else(|e| panic!("{e}")), 1);
    generate_numeric_debug_handle(&mut graph);
    let bytes = qtc::encode(&graph, &QuantReport::default(), Isa::Portable).expect("encodes");
    let read = qtc::decode(&bytes).expect("decodes").graph;
    assert_eq!(read.to_string(), graph.to_string());
    let handles: Vec<_> = read.calls().flat_map(|id| read.node(id).origins()).filter_map(|o| o.handle).collect();
    assert_eq!(handles, [1, 2]);
}
