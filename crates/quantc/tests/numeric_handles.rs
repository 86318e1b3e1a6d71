//! Compiled files keep numeric debug handles, and run graphs of the PT2E path.

use quantc::{Compiled, qtc};
use quantc_interp::Interpreter;
use quantc_ir::text::parse;
use quantc_kernels::Isa;
use quantc_quant::QuantReport;
use quantc_quant::pt2e::{
    ConvertOptions, Pt2eCalibrator, SymmetricQuantization, XNNPACKQuantizer, convert_pt2e,
    generate_numeric_debug_handle, get_symmetric_quantization_config, prepare_pt2e,
};
use quantc_tensor::{DType, Tensor, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};

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

/// PyTorch's three operators of dynamic quantization, and the integer arithmetic of the reference representation, have no kernels: plans
/// run them by reference evaluation, with the same bits.
#[test]
fn plans_run_what_has_no_kernel() {
    let text = "graph g(%x: f32[3,16]) {
  param @w: f32[8,16]
  param @b: f32[8]
  %l = linear(%x, @w, @b) : f32[3,8]
  %r = relu(%l) : f32[3,8]
  return y=%r
}";
    let graph = with_random_params(parse(text).unwrap_or_else(|e| panic!("{e}")), 1);
    let config = SymmetricQuantization { is_dynamic: true, is_per_channel: true, ..SymmetricQuantization::default() };
    let quantizer = XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(config));
    let prepared = prepare_pt2e(&graph, &quantizer).expect("prepares");
    let qparams = Pt2eCalibrator::new(&prepared).expect("valid").finish().expect("nothing to see");
    let x: Tensor = random_tensor(&mut rng(2), &TensorType::new(DType::F32, &[3usize, 16][..]));
    for use_reference_representation in [false, true] {
        let options = ConvertOptions { use_reference_representation, ..ConvertOptions::default() };
        let converted = convert_pt2e(&prepared, &qparams, options).expect("converts");
        let inputs = [("x".to_owned(), x.clone())];
        let want = Interpreter::new(&converted).run(&inputs).expect("runs");
        let got = Compiled::from_graph(converted, 1).expect("plans").run(&inputs).expect("runs");
        assert!(got[0].1.bits_eq(&want[0].1), "{:?} instead of {:?}", got[0].1, want[0].1);
    }
}
