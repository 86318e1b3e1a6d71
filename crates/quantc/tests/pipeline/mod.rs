//! A graph through the whole pipeline: every stage is valid, and what comes out has the bits of the reference graph.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use quantc_interp::Interpreter;
use quantc_ir::{Graph, ValueRef, text};
use quantc_kernels::Isa;
use quantc_lower::{WeightCache, lower};
use quantc_ops::OpClass;
use quantc_pattern::{BackendConfig, RuleSet};
use quantc_quant::{Calibrator, Placement, QConfigMapping, QuantError, convert_to_reference_fx, prepare_fx_with};
use quantc_runtime::{Executor, Threads};
use quantc_tensor::{DType, Shape, Tensor, TensorType, Value};
use quantc_testkit::{random_tensor, rng};

pub type Inputs = Vec<(String, Tensor)>;
pub type Outputs = Vec<Tensor>;

/// Random inputs of a batch size.
pub fn inputs(graph: &Graph, batch: usize, seed: u64) -> Inputs {
    let mut rng = rng(seed);
    let input = |id| {
        let ty: &TensorType = graph.ty(id);
        let sizes: Vec<usize> = ty.shape.dims().iter().map(|d| d.known().unwrap_or(batch)).collect();
        let known = TensorType::new(ty.dtype, Shape::known(&sizes));
        (graph.node(id).name().to_owned(), random_tensor(&mut rng, &known))
    };
    graph.placeholders().map(input).collect()
}

pub fn fail(what: &str, graph: &Graph) -> impl Fn(String) -> TestCaseError {
    move |message| TestCaseError::fail(format!("{what}: {message}\n{graph}"))
}

/// A graph that every stage must leave behind: valid, and the same after printing and parsing.
pub fn check_graph(stage: &str, graph: &Graph) -> Result<(), TestCaseError> {
    graph.verify().map_err(|e| fail(stage, graph)(e.to_string()))?;
    let printed = graph.to_string();
    let parsed = text::parse(&printed).map_err(|e| fail(stage, graph)(e.to_string()))?;
    parsed.verify().map_err(|e| fail(stage, graph)(e.to_string()))?;
    prop_assert_eq!(parsed.to_string(), printed, "{}: parse(print(g)) is not g", stage);
    Ok(())
}

pub fn interpret(stage: &str, graph: &Graph, inputs: &Inputs) -> Result<Outputs, TestCaseError> {
    let outputs = Interpreter::new(graph).run(inputs).map_err(|e| fail(stage, graph)(e.to_string()))?;
    Ok(outputs.into_iter().map(|o| o.1).collect())
}

/// Whether some value is NaN: those are not part of the contract.
fn has_nan(graph: &Graph, inputs: &Inputs) -> Result<bool, TestCaseError> {
    let mut found = false;
    let nan = |value: &Value| value.dtype() == DType::F32 && value.to_tensor().to_f32_vec().iter().any(|v| v.is_nan());
    let outcome = Interpreter::new(graph).run_with(inputs, |_, values| found |= values.iter().any(nan));
    outcome.map_err(|e| fail("converted", graph)(e.to_string()))?;
    Ok(found)
}

/// No product of dequantized operands is left: each has an integer operator.
fn check_lowered(graph: &Graph) -> Result<(), TestCaseError> {
    let dequantized = |v: &Option<ValueRef>| {
        let producer = v.and_then(|v| graph.node(v.node).call());
        producer.is_some_and(|(op, _)| op.name().contains("dequantize"))
    };
    for id in graph.calls() {
        let node = graph.node(id);
        let heavy = node.call().is_some_and(|(op, _)| op.class() == OpClass::Heavy);
        if heavy && node.inputs().len() > 1 && node.inputs()[..2].iter().all(dequantized) {
            return Err(fail("lower_quantized", graph)(format!("{} is not lowered", node.name())));
        }
    }
    Ok(())
}

/// How two tensors differ, in bits; `None` if they do not.
fn difference(want: &Tensor, got: &Tensor) -> Option<String> {
    if want.bits_eq(got) {
        return None;
    }
    if want.shape() != got.shape() || want.dtype() != got.dtype() {
        return Some(format!("{} instead of {}", got.ty(), want.ty()));
    }
    let (w, g) = (want.to_f32_vec(), got.to_f32_vec());
    let bad: Vec<usize> = (0..w.len()).filter(|&i| w[i].to_bits() != g[i].to_bits()).collect();
    let first: Vec<String> = bad.iter().take(6).map(|&i| format!("[{i}] {} for {}", g[i], w[i])).collect();
    Some(format!("{} of {} elements differ: {}", bad.len(), w.len(), first.join(", ")))
}

fn same_bits(what: &str, want: &Outputs, got: &Outputs, graph: &Graph) -> Result<(), TestCaseError> {
    prop_assert_eq!(want.len(), got.len(), "{}", what);
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        if let Some(difference) = difference(want, got) {
            return Err(fail(what, graph)(format!("output {i}: {difference}")));
        }
    }
    Ok(())
}

/// Plans of a graph on every tier and with one and two threads, each run twice, must have the wanted bits.
pub fn check_plans(stage: &str, graph: &Graph, inputs: &Inputs, want: &Outputs) -> Result<(), TestCaseError> {
    let types: Vec<(&str, TensorType)> = inputs.iter().map(|(n, t)| (n.as_str(), t.ty())).collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|i| i.1.clone()).collect();
    for isa in Isa::available() {
        let plan = lower(graph, &types, isa, &WeightCache::new()).map_err(|e| fail(stage, graph)(e.to_string()))?;
        let plan = Arc::new(plan);
        for threads in [1, 2] {
            let pool = Threads::new(threads).map_err(|e| fail(stage, graph)(e.to_string()))?;
            let mut executor = Executor::new(plan.clone(), pool);
            // The second run meets the memory that the first one left.
            for run in 0..2 {
                let got = executor.run(&tensors).map_err(|e| fail(stage, graph)(e.to_string()))?;
                same_bits(&format!("{stage}: plan on {isa}, {threads} threads, run {run}"), want, &got, graph)?;
            }
        }
    }
    Ok(())
}

/// How a canonical graph is quantized, and on what it is calibrated and run.
pub struct Quantization<'a> {
    pub mapping: &'a QConfigMapping,
    pub backend: &'a BackendConfig,
    pub placement: Placement,
    pub rules: &'a RuleSet,
    pub samples: &'a [Inputs],
    pub runs: &'a [Inputs],
    /// Whether scales are powers of two times one number.
    pub powers_of_two: bool,
}

impl Quantization<'_> {
    /// Holds the lowered graph and its plans to the reference graph; gives the lowered graph.
    pub fn check(&self, canonical: &Graph) -> Result<Graph, TestCaseError> {
        let prepared = prepare_fx_with(canonical, self.mapping, self.backend, self.placement)
            .map_err(|e| fail("prepare_fx", canonical)(e.to_string()))?;
        check_graph("prepared", &prepared.graph)?;
        let mut calibrator = Calibrator::new(&prepared).map_err(|e| fail("calibrate", canonical)(e.to_string()))?;
        for sample in self.samples {
            match calibrator.observe(sample) {
                Err(QuantError::Observer { .. }) => return Err(TestCaseError::reject("not tame")),
                done => done.map_err(|e| fail("calibrate", &prepared.graph)(e.to_string()))?,
            }
        }
        let mut qparams = calibrator.finish().map_err(|e| fail("calibrate", canonical)(e.to_string()))?;
        if self.powers_of_two {
            qparams.iter_mut().for_each(|q| q.scale = 0.0171 * (q.scale / 0.0171).log2().ceil().exp2());
        }
        let converted = convert_to_reference_fx(&prepared, &qparams)
            .map_err(|e| fail("convert_to_reference_fx", &prepared.graph)(e.to_string()))?
            .graph;
        check_graph("converted", &converted)?;
        let (quantized, _) = quantc_rewrite::lower_quantized(&converted, self.rules)
            .map_err(|e| fail("lower_quantized", &converted)(e.to_string()))?;
        check_graph("quantized", &quantized)?;
        check_lowered(&quantized)?;
        for inputs in self.runs {
            if has_nan(&converted, inputs)? {
                continue;
            }
            let want = interpret("converted", &converted, inputs)?;
            let got = interpret("quantized", &quantized, inputs)?;
            same_bits("lower_quantized", &want, &got, &converted)
                .map_err(|e| fail("lowered to", &quantized)(e.to_string()))?;
            check_plans("quantized", &quantized, inputs, &want)?;
        }
        Ok(quantized)
    }
}
