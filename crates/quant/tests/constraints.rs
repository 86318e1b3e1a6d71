//! Constraints of a backend on scales and zero points, held to what calibration finds.

use quantc_interp::Interpreter;
use quantc_ir::{Graph, text::parse};
use quantc_pattern::{Library, Source};
use quantc_quant::report::{Decision, FloatReason};
use quantc_quant::{
    Calibrator, ConvertedModel, QConfigMapping, convert_to_reference_fx, correct_biases, prepare_fx, qconfig,
};
use quantc_tensor::Tensor;

/// Two layers. The scale of `x` and that of `a` are 2/255, their zero points 127; the scales of the weights are 1/127 and 0.01/127 of
/// `a`, 2/127 of `b`.
fn graph() -> Graph {
    let mut graph = parse(
        "graph net(%x: f32[2,2]) {
           param @a.weight: f32[2,2]
           param @b.weight: f32[2,2]
           %a = linear(%x, @a.weight)
           %b = linear(%a, @b.weight)
           return y=%b
         }",
    )
    .expect("parses");
    let matrix = |values: [f32; 4]| Tensor::from_vec(&[2, 2], values.to_vec()).expect("fits");
    graph.set_param("a.weight", matrix([1.0, 0.0, 0.0, 0.01]));
    graph.set_param("b.weight", matrix([2.0, 2.0, 2.0, -2.0]));
    graph
}

fn input() -> Vec<(String, Tensor)> {
    vec![("x".to_owned(), Tensor::from_vec(&[2, 2], vec![-1.0f32, 1.0, 1.0, -0.3]).expect("fits"))]
}

/// The graph quantized for a backend that runs linear layers with this configuration.
fn convert(config: &str, preset: &str) -> ConvertedModel {
    convert_observed(config, preset, "different")
}

fn convert_observed(config: &str, preset: &str, observation: &str) -> ConvertedModel {
    let text = format!(
        "(backend b :doc \"d\" (dtype-config c {config})
           (pattern linear :doc \"d\" :match (linear ?x ?w (optional ?bias)) :when (constant ?w)
             :weight ?w :bias ?bias :observation {observation} :dtypes (c)))"
    );
    let library = Library::parse(&[Source::new("b.qpat", &text)]).unwrap_or_else(|e| panic!("{e}"));
    let mapping = QConfigMapping::default_for(qconfig::named(preset).expect("a preset"));
    let prepared = prepare_fx(&graph(), &mapping, &library.backends[0]).expect("prepares");
    let mut calibrator = Calibrator::new(&prepared).expect("valid observers");
    calibrator.observe(&input()).expect("runs");
    let means = calibrator.input_means().clone();
    let mut converted =
        convert_to_reference_fx(&prepared, &calibrator.finish().expect("calibrated")).expect("converts");
    correct_biases(&prepared, &mut converted, &means).expect("corrects");
    converted
}

/// Which of the layers stay float, with what is violated.
fn float(model: &ConvertedModel) -> Vec<(String, String)> {
    let reason = |decision: &Decision| match decision {
        Decision::Float { reason: FloatReason::DTypeConstraint { violations, .. } } => Some(violations.join("; ")),
        Decision::Float { reason } => panic!("{reason}"),
        Decision::Quantized { .. } => None,
    };
    let rows = model.report.nodes.iter();
    rows.filter_map(|row| Some((row.name.clone(), reason(&row.decision)?))).collect()
}

fn count(model: &ConvertedModel, op: &str) -> usize {
    model.graph.calls().filter(|id| model.graph.node(*id).is_op(op)).count()
}

/// Layers that stay float and what is found, for constraints of one field.
fn check(config: &str, expected: &[(&str, &str)]) -> ConvertedModel {
    let model = convert(config, "x86");
    let found = float(&model);
    let found: Vec<(&str, &str)> = found.iter().map(|(name, why)| (&**name, &**why)).collect();
    assert_eq!(found, expected, "{config}");
    // A layer that stays float has its own weight, and reads no rounded value.
    assert_eq!(count(&model, "dequantize_per_channel"), 2 - expected.len(), "{config}\n{}", model.graph);
    assert_eq!(model.report.bias_corrected.len(), 2 - expected.len(), "{config}");
    model
}

#[test]
fn layers_whose_scales_are_allowed_are_quantized() {
    let (low, high) = ("2^-16", "1");
    let bounds = format!(":scale-min {low} :scale-max {high}");
    let model = check(&format!(":input (u8 {bounds}) :output (u8 {bounds}) :weight (i8 {bounds} :zero-point 0)"), &[]);
    assert_eq!(count(&model, "quantize_per_tensor"), 2);
}

#[test]
fn the_scale_of_an_input_is_held_to_its_bounds() {
    let (a, b) = ("7.843138e-3 was found for `x`", "7.843138e-3 was found for `a`");
    for (bound, text) in [(":scale-max 0.005", "at most 5e-3"), (":scale-min 0.01", "at least 1e-2")] {
        let why = |found: &str| format!("c: input: the scale must be {text}, {found}");
        let model = check(&format!(":input (u8 {bound}) :output u8 :weight i8"), &[("a", &why(a)), ("b", &why(b))]);
        // Nothing is rounded: the model computes what it did.
        assert_eq!(count(&model, "quantize_per_tensor"), 0, "{}", model.graph);
        let outputs = |graph: &Graph| Interpreter::new(graph).run(&input()).expect("runs")[0].1.to_f32_vec();
        assert_eq!(outputs(&model.graph), outputs(&graph()));
    }
}

#[test]
fn the_scale_of_an_output_is_held_to_its_bounds() {
    // The last layer's output stays float, and is held to nothing.
    for (bound, text) in [(":scale-max 0.005", "at most 5e-3"), (":scale-min 0.01", "at least 1e-2")] {
        let why = format!("c: output: the scale must be {text}, 7.843138e-3 was found for `a`");
        let model = check(&format!(":input u8 :output (u8 {bound}) :weight i8"), &[("a", &why)]);
        // The other layer still takes it quantized.
        assert_eq!(count(&model, "quantize_per_tensor"), 1, "{}", model.graph);
    }
}

#[test]
fn the_scale_of_each_channel_of_a_weight_is_held_to_its_bounds() {
    let small = "c: weight: the scale must be at least 2.4414063e-4, 7.874016e-5 was found for `a.weight[1]`";
    check(":input u8 :output u8 :weight (i8 :scale-min 2^-12)", &[("a", small)]);
    let large = "the scale must be at most 1e-2, 1.5748031e-2 was found for";
    let large = format!("c: weight: {large} `b.weight[0]`; c: weight: {large} `b.weight[1]`");
    let model = check(":input u8 :output u8 :weight (i8 :scale-max 0.01)", &[("b", &large)]);
    // Nothing quantized takes what the first layer gives.
    assert_eq!(count(&model, "quantize_per_tensor"), 1, "{}", model.graph);
}

#[test]
fn exact_parameters_are_held_to_what_is_found() {
    let exact = format!("{:?}", 2.0f32 / 255.0);
    check(
        &format!(":input (u8 :scale {exact} :zero-point 127) :output (u8 :scale {exact} :zero-point 127) :weight i8"),
        &[],
    );
    let scale = "c: input: the scale must be 3.90625e-3, 7.843138e-3 was found for";
    let (a, b) = (format!("{scale} `x`"), format!("{scale} `a`"));
    check(":input (u8 :scale 1/256) :output u8 :weight i8", &[("a", &a), ("b", &b)]);
    let zero = "c: output: the zero point must be 128, 127 was found for `a`";
    check(":input u8 :output (u8 :zero-point 128) :weight i8", &[("a", zero)]);
}

#[test]
fn dynamic_layers_are_held_to_the_scales_of_their_weights() {
    let config = |weight: &str| format!(":input u8 :output f32 :weight {weight} :dynamic true");
    let small = "c: weight: the scale must be at least 2.4414063e-4, 7.874016e-5 was found for `a.weight[1]`";
    let model = convert(&config("(i8 :scale-min 2^-12)"), "dynamic");
    assert_eq!(float(&model), [("a".to_owned(), small.to_owned())]);
    assert_eq!((count(&model, "dynamic_quantize_dequantize"), count(&model, "dequantize_per_channel")), (1, 1));
    assert_eq!(float(&convert(&config("i8"), "dynamic")), []);
}

#[test]
fn what_is_not_observed_stays_float() {
    let model = convert_observed(":input u8 :output u8 :weight i8", "x86", "not-observed");
    for row in &model.report.nodes {
        let reason = FloatReason::NotObserved { pattern: "linear".to_owned() };
        assert_eq!(row.decision, Decision::Float { reason }, "{}", row.name);
    }
    assert_eq!(count(&model, "quantize_per_tensor"), 0, "{}", model.graph);
}
