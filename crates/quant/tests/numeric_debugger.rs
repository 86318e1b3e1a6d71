//! Numeric debug handles survive every pass, and compare a quantized model with the float one node by node.

use std::collections::{BTreeMap, BTreeSet};

use quantc_frontend::trace::{Description, Weights};
use quantc_ir::{Graph, text};
use quantc_pattern::{Library, RuleSet};
use quantc_quant::pt2e::{
    BackendConfigQuantizer, ConvertOptions, LoggedGraph, NodeAccuracySummary, Pt2eCalibrator, XNNPACKQuantizer,
    compare_results, convert_pt2e, extract_results_from_loggers, generate_numeric_debug_handle,
    get_symmetric_quantization_config, prepare_for_propagation_comparison, prepare_pt2e,
};
use quantc_quant::{Calibrator, QConfigMapping, convert_to_reference_fx, prepare_fx, qconfig};
use quantc_rewrite::{canonicalize, lower_quantized};
use quantc_tensor::{Shape, Tensor, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params, workspace_root};

/// A description of `models/`, with random parameters; `change` makes it smaller.
fn model(file: &str, change: &[(&str, &str)]) -> Graph {
    let path = workspace_root().join("models").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let text = change.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from}");
        text.replace(from, to)
    });
    let description = Description::parse(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
    description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Inputs with every symbol bound to 2; indices are small.
fn inputs(graph: &Graph, seed: u64) -> Vec<(String, Tensor)> {
    let mut rng = rng(seed);
    let input = |id| {
        let ty: &TensorType = graph.ty(id);
        let sizes: Vec<usize> = ty.shape.dims().iter().map(|d| d.known().unwrap_or(2)).collect();
        let tensor = random_tensor(&mut rng, &TensorType::new(ty.dtype, Shape::known(&sizes)));
        let tensor = match tensor.slice::<i64>() {
            Ok(indices) => Tensor::from_vec(&sizes, indices.iter().map(|i| i.abs()).collect()).expect("as many"),
            Err(_) => tensor,
        };
        (graph.node(id).name().to_owned(), tensor)
    };
    graph.placeholders().map(input).collect()
}

fn handles(graph: &Graph) -> BTreeSet<u32> {
    graph.calls().flat_map(|id| graph.node(id).origins()).filter_map(|o| o.handle).collect()
}

fn logged(graph: &Graph) -> LoggedGraph {
    let mut logged = prepare_for_propagation_comparison(graph);
    let outputs = logged.run(&inputs(graph, 20)).unwrap_or_else(|e| panic!("{e}"));
    assert!(!outputs.is_empty());
    logged
}

fn comparison(float: &Graph, other: &Graph) -> BTreeMap<u32, NodeAccuracySummary> {
    let (float, other) = (extract_results_from_loggers(&logged(float)), extract_results_from_loggers(&logged(other)));
    compare_results(&float, &other).unwrap_or_else(|e| panic!("{e}"))
}

/// Every handle of `before` is in `after`, and in its text form.
fn survive(pass: &str, before: &Graph, after: &Graph) {
    let (had, has) = (handles(before), handles(after));
    let lost: Vec<u32> = had.difference(&has).copied().collect();
    let names = |h: &u32| before.calls().find(|id| before.node(*id).origins().iter().any(|o| o.handle == Some(*h)));
    let lost: Vec<_> = lost.iter().filter_map(names).map(|id| before.node(id).name()).collect();
    assert_eq!(lost, Vec::<&str>::new(), "lost by {pass}");
    let read = text::parse(&after.to_string()).unwrap_or_else(|e| panic!("{e}"));
    for id in after.calls() {
        let name = after.node(id).name();
        let same = read.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(read.node(same).origins(), after.node(id).origins(), "{name} as text after {pass}");
    }
}

/// The passes of both paths on a model, and what the comparisons say about it.
fn check(mut source: Graph, qconfig_name: &str) {
    generate_numeric_debug_handle(&mut source);
    let calls = source.calls().count();
    assert_eq!(handles(&source), (1..=calls as u32).collect());
    // A second time changes nothing.
    let before = source.to_string();
    generate_numeric_debug_handle(&mut source);
    assert_eq!(source.to_string(), before);

    let rules = RuleSet::builtin().expect("valid");
    let library = Library::builtin().expect("valid");
    let backend = library.backend("x86").expect("exists");
    let mapping = QConfigMapping::default_for(qconfig::named(qconfig_name).expect("a preset"));
    let (canonical, _) = canonicalize(&source, &rules).expect("rewrites");
    survive("canonicalize", &source, &canonical);

    let prepared = prepare_fx(&canonical, &mapping, backend).expect("prepares");
    survive("prepare_fx", &canonical, &prepared.graph);
    let mut calibrator = Calibrator::new(&prepared).expect("valid");
    calibrator.observe(&inputs(&source, 1)).expect("runs");
    let fx = convert_to_reference_fx(&prepared, &calibrator.finish().expect("calibrated")).expect("converts").graph;
    survive("convert_to_reference_fx", &canonical, &fx);

    let prepared = prepare_pt2e(&canonical, &BackendConfigQuantizer::new(mapping, backend.clone())).expect("prepares");
    survive("prepare_pt2e", &canonical, &prepared.graph);
    let mut calibrator = Pt2eCalibrator::new(&prepared).expect("valid");
    calibrator.observe(&inputs(&source, 1)).expect("runs");
    let qparams = calibrator.finish().expect("calibrated");
    let pt2e = convert_pt2e(&prepared, &qparams, ConvertOptions::default()).expect("converts");
    survive("convert_pt2e", &canonical, &pt2e);

    let (lowered, _) = lower_quantized(&fx, &rules).expect("lowers");
    survive("lower_quantized", &fx, &lowered);

    // The canonical graph computes the same numbers, up to the order of float operations.
    let same = comparison(&source, &canonical);
    assert!(same.len() > 10, "{} handles are compared", same.len());
    for (handle, summary) in &same {
        let sqnr = summary.results[0].sqnr();
        assert!(sqnr > 80.0, "{handle} ({} and {}): {sqnr} dB", summary.ref_node_name, summary.actual_node_name);
    }
    // The quantized graphs come close to it, and not closer than 8 bits allow. The lowered one has the bits of the q/dq graph.
    let (qdq, low) = (comparison(&canonical, &fx), comparison(&canonical, &lowered));
    assert!(low.len() > 5);
    for (handle, summary) in qdq.iter().chain(&low) {
        let (sqnr, mse) = (summary.results[0].sqnr(), summary.results[0].mse_loss());
        assert!(sqnr > 5.0 && mse.is_finite(), "{handle} ({}): {sqnr} dB, {mse}", summary.ref_node_name);
    }
    assert!(qdq.values().any(|s| s.results[0].sqnr() < 60.0), "something is quantized");
    let bits = comparison(&fx, &lowered);
    let output = source.calls().last().and_then(|id| source.node(id).origins().last()?.handle).expect("a handle");
    assert_eq!(bits[&output].results[0].mse_loss(), 0.0);
}

#[test]
fn resnet18() {
    check(model("resnet18.json", &[("224", "24"), ("512", "48"), ("256", "40"), ("128", "32")]), "x86");
}

const SMALLER: &[(&str, &str)] = &[("384", "48"), ("1536", "96"), ("\"heads\": 12", "\"heads\": 3")];

#[test]
fn transformer_encoder() {
    check(model("transformer_encoder.json", SMALLER), "x86");
}

#[test]
fn transformer_encoder_dynamic() {
    check(model("transformer_encoder.json", SMALLER), "dynamic");
}

const SMALL: &str = "graph g(%x: f32[2,4,6,6]) {
  param @w: f32[5,4,3,3]
  param @b: f32[5]
  %c = conv2d(%x, @w, @b) : f32[2,5,4,4]  # c: Conv2d(conv2d, 0)
  %r = relu(%c) : f32[2,5,4,4]
  %s = sigmoid(%r) : f32[2,5,4,4]  # \"\": Net(sigmoid, 0) @40
  return y=%s
}";

#[test]
fn handles_continue_behind_the_largest_there_is() {
    let mut graph = with_random_params(text::parse(SMALL).expect("parses"), 1);
    generate_numeric_debug_handle(&mut graph);
    let of = |name: &str| {
        let origins = graph.node(graph.find(name).expect("there")).origins();
        origins.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of("c"), ["c: Conv2d(conv2d, 0) @41"]);
    assert_eq!(of("r"), [": (relu, 0) @42"]);
    assert_eq!(of("s"), [": Net(sigmoid, 0) @40"]);
}

/// A fused node's value is that of its last member; the others say where they went.
#[test]
fn a_fused_call_is_compared_by_its_last_member() {
    let mut graph = with_random_params(text::parse(SMALL).expect("parses"), 1);
    generate_numeric_debug_handle(&mut graph);
    let quantizer = XNNPACKQuantizer::new().set_global(get_symmetric_quantization_config(Default::default()));
    let prepared = prepare_pt2e(&graph, &quantizer).expect("prepares");
    let mut calibrator = Pt2eCalibrator::new(&prepared).expect("valid");
    calibrator.observe(&inputs(&graph, 1)).expect("runs");
    let qparams = calibrator.finish().expect("calibrated");
    let converted = convert_pt2e(&prepared, &qparams, ConvertOptions::default()).expect("converts");
    let (lowered, _) = lower_quantized(&converted, &RuleSet::builtin().expect("valid")).expect("lowers");
    assert!(lowered.calls().any(|id| lowered.node(id).is_op("quantized.conv2d")), "{lowered}");
    let logged_graph = logged(&lowered);
    assert_eq!(logged_graph.taken_in().keys().copied().collect::<Vec<_>>(), [41], "{lowered}");
    let compared = comparison(&graph, &lowered);
    assert_eq!(compared.keys().copied().collect::<Vec<_>>(), [40, 42]);
    let relu = &compared[&42];
    assert_eq!((relu.ref_node_name.as_str(), relu.ref_module_path.as_str()), ("r", ""));
    assert!(relu.results[0].sqnr() > 25.0, "{}", relu.results[0].sqnr());
    let reference = convert_pt2e(
        &prepared,
        &qparams,
        ConvertOptions { use_reference_representation: true, ..ConvertOptions::default() },
    )
    .expect("converts");
    let compared = comparison(&lowered, &reference);
    assert_eq!(compared[&40].results[0].mse_loss(), 0.0, "the integer arithmetic has the same bits");
}

#[test]
fn the_measures_are_those_of_their_names() {
    let result = quantc_quant::pt2e::QuantizationComparisonResult {
        actual: Tensor::vector(vec![3.0f32, 4.0]),
        reference: Tensor::vector(vec![3.0f32, 3.5]),
    };
    assert_eq!(result.mse_loss(), 0.125);
    assert!((result.sqnr() - 20.0).abs() < 1e-12, "20 log10(5 / 0.5)");
    let equal = quantc_quant::pt2e::QuantizationComparisonResult { actual: result.reference.clone(), ..result };
    assert_eq!((equal.mse_loss(), equal.sqnr()), (0.0, f64::INFINITY));
}
