//! Random networks through the whole pipeline. The meaning of a quantized graph is `convert_to_reference_fx`'s graph under the interpreter: the lowered
//! graph and the compiled plans must have its bits, whatever the network, the mapping, the ISA tier, the threads and the batch size.
//!
//! `PROPTEST_CASES` sets the number of networks; the ignored test runs many.

mod pipeline;

use std::cell::Cell;

use pipeline::{Inputs, Outputs, Quantization, check_graph, check_plans, fail, inputs, interpret};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError, TestRunner};
use quantc_ir::Graph;
use quantc_pattern::{BackendConfig, Library, RuleSet};
use quantc_quant::qconfig::{NAMES, ObserverDType, ObserverSpec, named};
use quantc_quant::{Placement, QConfig, QConfigMapping};
use quantc_tensor::{DType, QScheme, Tensor};
use quantc_testkit::networks::{Gene, network};
use quantc_testkit::rng;
use rand::RngExt;

/// A network and how it is to be quantized.
#[derive(Clone, Debug)]
struct Case {
    genes: Vec<Gene>,
    seed: u64,
    /// The preset of the global entry.
    preset: usize,
    /// Further entries: kind, target and configuration.
    entries: Vec<[u8; 3]>,
}

fn cases() -> impl Strategy<Value = Case> {
    let entries = prop_oneof![Just(Vec::new()), prop::collection::vec(any::<[u8; 3]>(), 1..4)];
    (prop::collection::vec(any::<Gene>(), 1..24), any::<u64>(), 0..NAMES.len(), entries)
        .prop_map(|(genes, seed, preset, entries)| Case { genes, seed, preset, entries })
}

/// The mapping of a case: the preset, with parts of the graph left float, made dynamic, or given another preset.
fn mapping(case: &Case, graph: &Graph) -> QConfigMapping {
    let preset = |i: usize| named(NAMES[i % NAMES.len()].0).expect("a name of the list");
    let config = |choice: u8| -> Option<QConfig> {
        let config = preset(usize::from(choice / 8));
        let affine = |qscheme| ObserverSpec { qscheme, ..config.weight.clone() };
        let weight = match choice % 8 {
            0 | 1 => return None,
            2 | 3 => return named("dynamic"),
            4 => affine(QScheme::PerChannelAffine),
            5 => ObserverSpec {
                dtype: ObserverDType::Quint8,
                quant_min: None,
                quant_max: None,
                ..affine(QScheme::PerTensorAffine)
            },
            6 => ObserverSpec { ch_axis: 1, ..config.weight.clone() },
            _ => config.weight.clone(),
        };
        Some(QConfig { weight, ..config })
    };
    let calls: Vec<_> = graph.calls().collect();
    let mut mapping = QConfigMapping::default_for(preset(case.preset));
    for [kind, target, choice] in case.entries.iter().filter(|_| !calls.is_empty()) {
        let node = graph.node(calls[usize::from(*target) % calls.len()]);
        let (Some((op, _)), origin) = (node.call(), node.origins().first()) else { continue };
        let path = origin.map_or("", |o| &*o.module_path);
        let block = path.split('.').next().unwrap_or(path);
        let config = config(*choice);
        mapping = match kind % 4 {
            0 => mapping.set_object_type(op.name(), config),
            1 => mapping.set_module_name(path, config),
            2 => mapping.set_module_name(block, config),
            _ => mapping.set_module_name_object_type_order(path, op.name(), 0, config),
        };
    }
    mapping
}

/// The inputs, larger than what calibration saw, and with numbers far out and near zero.
fn with_outliers(inputs: Inputs) -> Inputs {
    const ODD: [f32; 6] = [3e9, 1e-39, -7e8, -0.0, 1e4, -1e-40];
    let odd = |(i, v): (usize, f32)| if i % 7 == 3 { ODD[i / 7 % ODD.len()] } else { v * 3.0 };
    let change = |(name, tensor): (String, Tensor)| {
        let values = tensor.to_f32_vec().into_iter().enumerate().map(odd).collect();
        (name, Tensor::from_vec(tensor.shape(), values).expect("as many as before"))
    };
    inputs.into_iter().map(change).collect()
}

/// Of the largest value: rules of class `real` keep the value within the tolerances they state, which add up over a network.
const TOLERANCE: f32 = 2e-4;

/// How far each output is from its twin: the largest difference, and the largest value.
fn distances<'a>(a: &'a Outputs, b: &'a Outputs) -> impl Iterator<Item = (f32, f32)> + 'a {
    a.iter().zip(b).map(|(a, b)| {
        let (a, b) = (a.to_f32_vec(), b.to_f32_vec());
        assert_eq!(a.len(), b.len(), "outputs of different sizes");
        let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        (a.iter().zip(&b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())), largest)
    })
}

/// Parameters and inputs, their last two bits changed at random.
fn nudged(graph: &Graph, inputs: &Inputs, seed: u64) -> (Graph, Inputs) {
    let mut rng = rng(seed);
    let mut nudge = |tensor: &Tensor| {
        if tensor.dtype() != DType::F32 {
            return tensor.clone();
        }
        let values =
            tensor.to_f32_vec().into_iter().map(|v| v * (1.0 + rng.random_range(-2..=2) as f32 * f32::EPSILON));
        Tensor::from_vec(tensor.shape(), values.collect()).expect("as many as before")
    };
    let mut changed = graph.clone();
    for (name, param) in graph.params() {
        if let Some(value) = &param.value {
            changed.set_param(name, nudge(value));
        }
    }
    (changed, inputs.iter().map(|(name, tensor)| (name.clone(), nudge(tensor))).collect())
}

/// For each output, whether the network computes it well enough in f32 to compare it. An output that changes in the last bits
/// of parameters and inputs already move by a good part of the tolerance (a layer norm of values that are all but equal divides their
/// rounding errors by their deviation) says nothing about a rewrite.
fn well_conditioned(graph: &Graph, inputs: &Inputs, outputs: &Outputs, seed: u64) -> Result<Vec<bool>, TestCaseError> {
    let mut good = vec![true; outputs.len()];
    for i in 0..4 {
        let (graph, inputs) = nudged(graph, inputs, seed.wrapping_add(i));
        let moved = interpret("nudged", &graph, &inputs)?;
        for (good, (moved, largest)) in good.iter_mut().zip(distances(outputs, &moved)) {
            *good &= moved <= TOLERANCE / 16.0 * largest;
        }
    }
    Ok(good)
}

/// A backend, with the rules that make sense for it.
struct Target {
    backend: BackendConfig,
    rules: RuleSet,
}

struct Compiler {
    targets: [Target; 4],
    rules: RuleSet,
    /// Networks with an integer product so far.
    quantized: Cell<u32>,
    /// Outputs so far of the networks before rewriting, and of those the ones that are compared to those after it.
    outputs: Cell<[usize; 2]>,
}

impl Compiler {
    fn new() -> Compiler {
        let library = Library::builtin().expect("built in");
        let target = |name| {
            let backend = library.backend(name).expect("there").clone();
            Target { rules: library.rules_for(&backend), backend }
        };
        Compiler {
            targets: ["x86", "arm", "onednn", "qnnpack"].map(target),
            rules: RuleSet::builtin().expect("built in"),
            quantized: Cell::new(0),
            outputs: Cell::default(),
        }
    }

    /// Canonicalization keeps the value of what can be compared.
    fn check_close(
        &self,
        original: &Outputs,
        canonical: &Outputs,
        good: &[bool],
        graph: &Graph,
    ) -> Result<(), TestCaseError> {
        let [all, compared] = self.outputs.get();
        self.outputs.set([all + good.len(), compared + good.iter().filter(|&&g| g).count()]);
        for (i, (worst, largest)) in distances(original, canonical).enumerate().filter(|(i, _)| good[*i]) {
            prop_assert!(
                worst <= TOLERANCE * largest,
                "canonicalization moved output {i} by {worst} of {largest}\n{graph}"
            );
        }
        Ok(())
    }

    fn check(&self, case: &Case) -> Result<(), TestCaseError> {
        let graph = network(&case.genes, case.seed);
        check_graph("network", &graph)?;
        let batch = |i, size| inputs(&graph, size, case.seed.wrapping_add(i));
        let samples = [batch(1, 2), batch(2, 3)];
        let runs = [batch(3, 1), with_outliers(batch(4, 3))];
        let original = interpret("network", &graph, &samples[0])?;
        // A network that overflows (an exponential of an exponential) has no ranges to quantize.
        if original.iter().any(|t| t.to_f32_vec().iter().any(|v| !v.is_finite() || v.abs() > 1e6)) {
            return Err(TestCaseError::reject("not tame"));
        }

        let (canonical, _) = quantc_rewrite::canonicalize(&graph, &self.rules)
            .map_err(|e| fail("canonicalize", &graph)(e.to_string()))?;
        check_graph("canonical", &canonical)?;
        let good = well_conditioned(&graph, &samples[0], &original, case.seed)?;
        self.check_close(&original, &interpret("canonical", &canonical, &samples[0])?, &good, &graph)?;
        check_plans("float", &canonical, &runs[0], &interpret("canonical", &canonical, &runs[0])?)?;

        // Those that take i8 activations, and those that do not; half of the networks each with quantc's and PyTorch's own.
        let pytorch = case.seed / 2 % 2 == 1;
        let takes_i8 = NAMES[case.preset].0.starts_with("qnnpack");
        let target = &self.targets[usize::from(pytorch) * 2 + usize::from(takes_i8)];
        let (placement, backend) = (if pytorch { Placement::PyTorch } else { Placement::Quantc }, &target.backend);
        // What the backend quantizes is not hidden in an operator that it has no pattern for.
        let rules = if pytorch { target.rules.clone().fusing_only() } else { target.rules.clone() };
        let (canonical, _) = quantc_rewrite::canonicalize(&graph, &rules)
            .map_err(|e| fail("canonicalize for the backend", &graph)(e.to_string()))?;
        let mapping = mapping(case, &canonical);
        let quantization = Quantization {
            mapping: &mapping,
            backend,
            placement,
            rules: &rules,
            samples: &samples,
            runs: &runs,
            // With the weights that odd seeds give, products are requantized by powers of two: any other order of multiplications
            // than the contract's rounds some halves the other way.
            powers_of_two: case.seed % 2 == 1,
        };
        let quantized = quantization.check(&canonical)?;
        let products = |id| quantized.node(id).call().is_some_and(|(op, _)| op.name().starts_with("quantized."));
        self.quantized.set(self.quantized.get() + u32::from(quantized.calls().any(products)));
        Ok(())
    }
}

/// Runs `PROPTEST_CASES` networks, or `default`.
fn check_networks(default: u32) {
    let compiler = Compiler::new();
    let mut config = ProptestConfig {
        max_shrink_iters: 2000,
        max_global_rejects: 1 << 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = default;
    }
    let count = config.cases;
    match TestRunner::new(config).run(&cases(), |case| compiler.check(&case)) {
        Ok(()) => {
            let quantized = compiler.quantized.get();
            assert!(quantized >= count / 3, "only {quantized} of {count} networks have integer operators");
            let [all, compared] = compiler.outputs.get();
            assert!(compared * 20 >= all * 19, "only {compared} of {all} outputs could be compared after rewriting");
        }
        Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:?}\n{}", network(&case.genes, case.seed)),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn plans_of_random_networks_have_the_bits_of_the_reference_graph() {
    check_networks(256);
}

#[test]
#[ignore = "minutes: many networks; CI runs it"]
fn plans_of_many_random_networks_have_the_bits_of_the_reference_graph() {
    check_networks(5000);
}

#[test]
fn what_rounding_errors_decide_is_not_compared() {
    // All values of a row are equal: the layer norm divides what rounding left of their differences by almost nothing.
    let text = r#"graph g(%x: f32[N,3,4]) {
  param @b: f32[3] = [0.1, 0.7, -0.3]
  param @w: f32[7,3]
  param @wb: f32[7]
  %zero = sub(%x, %x)
  %t = permute(%zero) {dims=[0,2,1]}
  %rows = add(%t, @b)
  %mean = mean(%rows) {dims=[2], keepdim=true}
  %same = expand(%mean) {shape=[-1,4,5]}
  %norm = layer_norm(%same) {eps=1e-12}
  %y = linear(%t, @w, @wb)
  return norm=%norm, y=%y
}"#;
    let mut graph = quantc_ir::text::parse(text).expect("parses");
    graph.infer_types().expect("types");
    let graph = quantc_testkit::with_random_params(graph, 1);
    let inputs = inputs(&graph, 2, 1);
    let outputs = interpret("graph", &graph, &inputs).expect("runs");
    assert_eq!(well_conditioned(&graph, &inputs, &outputs, 1).expect("runs"), [false, true]);
}
