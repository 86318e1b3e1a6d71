//! Every decomposition that exporters make of activations, normalisations and attention is recognised: ONNX files of each, the
//! operators that must come of them, and equality with the graph as it was imported. `scripts/golden_decompositions.py` makes
//! the files.

use std::fmt::Write as _;
use std::path::Path;

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

#[test]
fn every_exporter_s_form_is_recognised_and_keeps_its_value() {
    let rules = RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"));
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

/// `torch 2.8.0 dynamo, opset 18` as exporter and opset.
fn exporter(source: &str) -> (&str, &str) {
    source.split_once(", opset ").unwrap_or((source, ""))
}

/// The page that lists every form.
fn page(cases: &[Case]) -> String {
    let mut page = String::from(INTRODUCTION);
    let mut last = "";
    for case in cases {
        if case.name != last {
            let _ = writeln!(page, "\n## {}\n\n`{}`\n", case.name.replace('_', " "), case.operators.join(" "));
            page.push_str("| ONNX operators | written by |\n|---|---|\n");
            last = &case.name;
        }
        let mut sources: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, opset) in case.sources.iter().map(|s| exporter(s)) {
            match sources.iter_mut().find(|s| s.0 == name) {
                Some((_, opsets)) => opsets.push(opset),
                None => sources.push((name, vec![opset])),
            }
        }
        let text: Vec<String> =
            sources.iter().map(|(name, opsets)| format!("{name} {}", opsets.join(" ")).trim().to_owned()).collect();
        let _ = writeln!(page, "| {} | {} |", case.before, text.join("; "));
    }
    page
}

const INTRODUCTION: &str = "\
# Decompositions that are recognised

Exporters write an activation, a normalisation or attention in simpler operators, each in its own way. `canonicalize` turns all of the forms
below into the operators named under each heading, with nothing left over; only where heads are split and joined (multi head attention,
encoder layers) or sizes are open are there operators besides that move elements or compute shapes. The rules are in
`patterns/rewrite/canonical-*.qpat`.

The files are in `crates/rewrite/tests/golden`, made by `scripts/golden_decompositions.py`: PyTorch's modules by its TorchScript exporter and
its newer one (opsets after the name), and forms of other exporters and libraries written out. `cargo test -p quantc-rewrite --test
decompositions` imports each, checks the operators, holds the result to the imported graph on random inputs, and holds this page to the
files (`BLESS=1` writes it).

Attention is fused only for a backend that has a pattern for `scaled_dot_product_attention`. `quantize` for another one, such as `x86`,
leaves out the rules that would make it (`Library::rules_for`), because that would hide the two products from int8; compiling a float model
writes it out again (`Graph::compose`).
";

#[test]
fn the_page_lists_every_form() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decompositions.md");
    let wanted = page(&cases());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &wanted).expect("writable");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/decompositions.md is not up to date: run this test with BLESS=1");
}
