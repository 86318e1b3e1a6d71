//! The order of rules and files changes nothing: byte-identical results, on several threads at once.

use std::path::Path;

use quantc::data::Batches;
use quantc::{Mode, Model, QuantizeOptions, quantize};
use quantc_ir::Graph;
use quantc_pattern::library::builtin_sources;
use quantc_pattern::{Library, RuleSet};
use quantc_rewrite::{canonicalize, lower_quantized};
use quantc_tensor::{DType, Dim, Tensor};
use quantc_testkit::data_or_skip;
use quantc_testkit::random::{random_tensor, rng};
use rand::seq::SliceRandom;

/// A graph to canonicalize and one to lower.
struct Case {
    float: Graph,
    converted: Graph,
}

/// The stages of a model, calibrated on one random sample: the ranges do not matter here.
fn case(path: &Path) -> Case {
    let model = Model::load(path).unwrap_or_else(|e| panic!("{e}"));
    let mut rng = rng(1);
    let inputs: Vec<(String, Tensor)> = model
        .graph
        .placeholders()
        .map(|id| {
            let node = model.graph.node(id);
            let mut ty = node.types()[0].clone();
            ty.shape = ty.shape.dims().iter().map(|d| Dim::Known(d.known().unwrap_or(1))).collect();
            let shape = ty.shape.to_known().expect("every dimension was made known");
            let integer = ty.dtype != DType::F32;
            let value = if integer { Tensor::full(&shape, 1i64).cast(ty.dtype) } else { random_tensor(&mut rng, &ty) };
            (node.name().to_owned(), value)
        })
        .collect();
    let batches = Batches::new(&model.graph, inputs, None, 1, None).unwrap_or_else(|e| panic!("{e}"));
    let options = QuantizeOptions::new(Mode::Static, "x86", None).unwrap_or_else(|e| panic!("{e}"));
    let quantized = quantize(&model.graph, &options, Some(&batches), |_| {}).unwrap_or_else(|e| panic!("{e}"));
    Case { float: model.graph, converted: quantized.stages.converted }
}

/// The embedded rules with files and rules in a random order.
fn shuffled(seed: u64) -> RuleSet {
    let mut rng = rng(seed);
    let mut sources = builtin_sources();
    sources.shuffle(&mut rng);
    let mut rules = Library::parse(&sources).unwrap_or_else(|e| panic!("{e}")).rules;
    rules.rules.shuffle(&mut rng);
    rules
}

/// Both results as text, and their parameters.
fn results(case: &Case, rules: &RuleSet) -> (String, Vec<Tensor>) {
    let (canonical, first) = canonicalize(&case.float, rules).unwrap_or_else(|e| panic!("{e}"));
    let (lowered, second) = lower_quantized(&case.converted, rules).unwrap_or_else(|e| panic!("{e}"));
    let text = format!("{canonical}{first}{lowered}{second}");
    let params =
        [canonical, lowered].iter().flat_map(|g| g.params().values()).filter_map(|p| p.value.clone()).collect();
    (text, params)
}

fn check(name: &str, case: &Case, orders: u64) {
    let expected = results(case, &RuleSet::builtin().unwrap_or_else(|e| panic!("{e}")));
    let next = std::sync::atomic::AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= orders {
                        break;
                    }
                    let (text, params) = results(case, &shuffled(seed));
                    assert_eq!(text, expected.0, "{name}, order {seed}");
                    let same =
                        params.len() == expected.1.len() && params.iter().zip(&expected.1).all(|(a, b)| a.bits_eq(b));
                    assert!(same, "{name}, order {seed}: parameters differ");
                }
            });
        }
    });
}

#[test]
fn descriptions_give_one_result_in_any_order() {
    let models = quantc_testkit::workspace_root().join("models");
    for name in ["mobilenet_v2", "transformer_encoder", "lstm_classifier"] {
        check(name, &case(&models.join(format!("{name}.json"))), 8);
    }
}

#[test]
fn real_models_give_one_result_in_any_order() {
    let Some(data) = data_or_skip("real_models_give_one_result_in_any_order") else { return };
    // One order in ten by default: QUANTC_RULE_ORDERS=1000 runs them all.
    let orders = std::env::var("QUANTC_RULE_ORDERS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    for name in ["cifar10_resnet20", "mlperf_kws_dscnn", "silero_vad_16k"] {
        check(name, &case(&data.join(format!("{name}.onnx"))), orders);
    }
}
