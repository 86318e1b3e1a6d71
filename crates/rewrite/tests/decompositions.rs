//! Every decomposition that exporters make of activations, normalisations and attention is recognised: ONNX files of each, the
//! operators that must come of them, and equality with the graph as it was imported. `scripts/golden_decompositions.py` makes
//! the files.

use std::fmt::Write as _;

use quantc_frontend::onnx;
use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_ops::{OpClass, OpRef};
use quantc_pattern::RuleSet;
use quantc_rewrite::canonicalize;
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType};
use quantc_testkit::{random_tensor, rng};
use serde::Deserialize;

const MODELS: &[u8] = include_bytes!("golden/decompositions.bin");
const INDEX: &str = include_str!("golden/decompositions.json");

/// One file.
#[derive(Deserialize)]
struct Case {
    name: String,
    /// The operators of the canonical graph.
    operators: Vec<String>,
    /// Whether operators that only move elements may be there too.
    moves: bool,
    /// The exporters that write this file.
    sources: Vec<String>,
    /// Its ONNX operators.
    before: String,
    offset: usize,
    length: usize,
}

impl Case {
    fn label(&self) -> String {
        format!("{} ({})", self.name, self.sources.join("; "))
    }

    fn import(&self) -> Graph {
        let bytes = &MODELS[self.offset..][..self.length];
        onnx::import_bytes(bytes).unwrap_or_else(|e| panic!("{}: {e}", self.label()))
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(INDEX).expect("the index is JSON")
}

/// The operators that compute numbers, and whether there are others: those that move elements or compute shapes.
fn operators(graph: &Graph) -> (Vec<String>, bool) {
    let calls: Vec<_> =
        graph.calls().filter_map(|id| graph.node(id).call().map(|(op, _)| (op, graph.ty(id).dtype))).collect();
    let computes = |op: OpRef, dtype| op.class() != OpClass::Movement && matches!(dtype, DType::F32 | DType::Bool);
    let found: Vec<String> = calls.iter().filter(|c| computes(c.0, c.1)).map(|c| c.0.to_string()).collect();
    let others = found.len() < calls.len();
    (found, others)
}

/// Random inputs; a dimension that is open gets a size of its own.
fn inputs(graph: &Graph, seed: u64) -> Vec<(String, Tensor)> {
    let mut rng = rng(seed);
    let size = |d: &Dim| match d {
        Dim::Known(n) => *n,
        Dim::Symbol(s) => 3 + s.len() % 2 + usize::from(s.starts_with('S')),
        Dim::Unknown => 3,
    };
    let mut make = |ty: &TensorType| {
        let known: Vec<usize> = ty.shape.dims().iter().map(size).collect();
        let mut tensor = random_tensor(&mut rng, &TensorType::new(ty.dtype, Shape::known(&known)));
        if let (Tensor::Bool(mask), Some(columns)) = (&mut tensor, known.last()) {
            // A mask that forbids everything has no softmax; one that allows everything tests nothing.
            for (i, v) in mask.iter_mut().enumerate() {
                *v = (*v || i % columns == 0) && i % columns != 1;
            }
        }
        tensor
    };
    graph.placeholders().map(|id| (graph.node(id).name().to_owned(), make(graph.ty(id)))).collect()
}

/// The largest difference between the outputs of both, relative to the largest value.
fn difference(a: &Graph, b: &Graph, seed: u64) -> f32 {
    let inputs = inputs(a, seed);
    let run = |g: &Graph| Interpreter::new(g).run(&inputs).unwrap_or_else(|e| panic!("{e}\n{g}"));
    let mut worst = 0f32;
    for ((_, x), (_, y)) in run(a).iter().zip(&run(b)) {
        assert_eq!(x.ty(), y.ty());
        assert_eq!(x.dtype(), DType::F32);
        let (x, y) = (x.to_f32_vec(), y.to_f32_vec());
        let largest = x.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (x, y) in x.iter().zip(&y) {
            let difference = if x.is_finite() { (x - y).abs() / largest } else { f32::INFINITY };
            worst = worst.max(difference);
        }
    }
    worst
}

fn scratch_rules() -> RuleSet {
    quantc_pattern::Library::with_dir(std::path::Path::new("/tmp/w/patterns/patterns"))
        .unwrap_or_else(|e| panic!("{e}"))
        .rules
}

#[test]
fn scratch_examples() {
    let rules = scratch_rules();
    let failures: Vec<String> = rules.rules.iter().flat_map(quantc_rewrite::check_examples).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_exporter_s_form_is_recognised_and_keeps_its_value() {
    let rules = scratch_rules();
    let mut failures = String::new();
    for case in cases() {
        let before = case.import();
        let (after, _) = canonicalize(&before, &rules).unwrap_or_else(|e| panic!("{}: {e}", case.label()));
        let (found, moves) = operators(&after);
        if found != case.operators || (moves && !case.moves) {
            let _ = writeln!(failures, "{}: expected {}\n{after}", case.label(), case.operators.join(" "));
            continue;
        }
        let worst = (1..=3).map(|seed| difference(&before, &after, seed)).fold(0f32, f32::max);
        if worst.is_nan() || worst > 2e-5 {
            let _ = writeln!(failures, "{}: differs by {worst}\n{before}\n{after}", case.label());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
