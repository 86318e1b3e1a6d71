//! Bias correction gives each output channel the mean that the float layer has.

use quantc_interp::Interpreter;
use quantc_ir::{Graph, text::parse};
use quantc_pattern::Library;
use quantc_quant::report::Decision;
use quantc_quant::{
    Calibrator, ConvertedModel, QConfigMapping, convert_to_reference_fx, correct_biases, prepare_fx, qconfig,
};
use quantc_tensor::{Tensor, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};

/// Weights of 3 bits, so that rounding them shifts the means much more than rounding the activations does.
fn converted(graph: &Graph, inputs: &[(String, Tensor)], correct: bool) -> ConvertedModel {
    let mut qconfig = qconfig::named("x86").expect("the default");
    (qconfig.weight.quant_min, qconfig.weight.quant_max) = (Some(-3), Some(3));
    let library = Library::builtin().expect("the embedded patterns are valid");
    let backend = library.backend("x86").expect("exists");
    let prepared = prepare_fx(graph, &QConfigMapping::default_for(qconfig), backend).expect("prepares");
    let mut calibrator = Calibrator::new(&prepared).expect("valid observers");
    calibrator.observe(inputs).expect("runs");
    let means = calibrator.input_means().clone();
    let qparams = calibrator.finish().expect("calibrated");
    let mut converted = convert_to_reference_fx(&prepared, &qparams).expect("converts");
    if correct {
        correct_biases(&prepared, &mut converted, &means).expect("corrects");
    }
    converted
}

/// The mean of each channel (axis 1) of the first output.
fn means(graph: &Graph, inputs: &[(String, Tensor)]) -> Vec<f64> {
    let outputs = Interpreter::new(graph).run(inputs).expect("runs");
    let (shape, data) = (outputs[0].1.shape().to_vec(), outputs[0].1.to_f32_vec());
    let (channels, inner) = (shape[1], shape[2..].iter().product::<usize>());
    let mut sums = vec![0.0; channels];
    for (row, values) in data.chunks_exact(inner).enumerate() {
        sums[row % channels] += values.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    sums.iter().map(|s| s * channels as f64 / data.len() as f64).collect()
}

fn check(text: &str, shape: &[usize]) {
    let graph = with_random_params(parse(text).expect("parses"), 3);
    // Away from zero: inputs of mean 0 would leave nothing to correct.
    let input = random_tensor(&mut rng(5), &TensorType::new(quantc_tensor::DType::F32, shape));
    let input =
        Tensor::from_vec(shape, input.to_f32_vec().iter().map(|v| v + 2.0).collect::<Vec<f32>>()).expect("fits");
    let inputs = [("x".to_owned(), input)];
    let (plain, corrected) = (converted(&graph, &inputs, false), converted(&graph, &inputs, true));
    assert_eq!(plain.report.bias_corrected, Vec::<String>::new());
    assert_eq!(corrected.report.bias_corrected, ["y"]);
    assert!(corrected.report.nodes.iter().any(|n| n.name == "y" && matches!(n.decision, Decision::Quantized { .. })));
    let float = means(&graph, &inputs);
    let worst = |model: &ConvertedModel| {
        means(&model.graph, &inputs).iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let (before, after) = (worst(&plain), worst(&corrected));
    assert!(after < before / 20.0, "the means are off by {after}, without correction by {before}");
}

#[test]
fn grouped_convolution_with_bias() {
    check(
        "graph g(%x: f32[4,6,16,16]) {
  param @w: f32[8,3,1,1]
  param @b: f32[8]
  %y = conv2d(%x, @w, @b) {groups=2} : f32[4,8,16,16]
  return y=%y
}",
        &[4, 6, 16, 16],
    );
}

#[test]
fn convolution_with_a_window_and_no_bias() {
    // Every element of the input is in as many windows as any other: circularly, the means at the border are close to the rest.
    check(
        "graph g(%x: f32[8,5,40]) {
  param @w: f32[7,5,3]
  %y = conv1d(%x, @w, none) : f32[8,7,38]
  return y=%y
}",
        &[8, 5, 40],
    );
}

#[test]
fn linear_on_rows() {
    check(
        "graph g(%x: f32[512,12]) {
  param @w: f32[9,12]
  param @b: f32[9]
  %y = linear(%x, @w, @b) : f32[512,9]
  return y=%y
}",
        &[512, 12],
    );
}
