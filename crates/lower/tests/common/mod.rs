//! Runs a graph by reference evaluation and as a plan on every tier, and holds the plan to the reference bit for bit.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod tiers;

use std::sync::Arc;

use quantc_interp::Interpreter;
use quantc_ir::{Graph, text::parse};
use quantc_kernels::{Isa, Kernels};
use quantc_lower::{WeightCache, lower_for};
use quantc_runtime::{Executor, Plan, StepInfo, Threads};
use quantc_tensor::{DType, Shape, Tensor, TensorType, f16};

/// Reproducible numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In -1..1.
    pub fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let tensor = match dtype {
            DType::F32 => Tensor::from_vec(shape, (0..n).map(|_| self.real() * 3.0).collect::<Vec<f32>>()),
            DType::F16 => Tensor::from_vec(shape, (0..n).map(|_| f16::from_f32(self.real() * 3.0)).collect()),
            DType::U8 => Tensor::from_vec(shape, (0..n).map(|_| self.next() as u8).collect::<Vec<u8>>()),
            DType::I8 => Tensor::from_vec(shape, (0..n).map(|_| self.next() as i8).collect::<Vec<i8>>()),
            DType::I32 => Tensor::from_vec(shape, (0..n).map(|_| self.below(4) as i32).collect::<Vec<i32>>()),
            DType::Bool => Tensor::from_vec(shape, (0..n).map(|_| self.below(2) == 1).collect::<Vec<bool>>()),
            DType::I64 => Tensor::from_vec(shape, (0..n).map(|_| self.below(4) as i64).collect::<Vec<i64>>()),
            other => panic!("no random {other}"),
        };
        tensor.expect("fits")
    }
}

/// A graph's text for a quantized type: `DT` in it is the type, `ZP` a zero point.
pub fn typed(text: &str, dtype: &str, zero_point: i32) -> String {
    text.replace("DT", dtype).replace("ZP", &zero_point.to_string())
}

/// Parses a graph and fills the parameters it only declares: names ending in `scale` or `scales` get small positive numbers.
pub fn graph(text: &str, random: &mut Random) -> Graph {
    let mut graph = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let missing: Vec<(String, TensorType)> =
        graph.params().iter().filter(|(_, p)| p.value.is_none()).map(|(n, p)| (n.to_string(), p.ty.clone())).collect();
    for (name, ty) in missing {
        let shape = ty.shape.to_known().expect("parameters have known shapes");
        let tensor = if name.contains("scale") {
            let n = shape.iter().product();
            Tensor::from_vec(&shape, (0..n).map(|_| 0.002 + 0.01 * random.real().abs()).collect::<Vec<f32>>())
                .expect("fits")
        } else {
            random.tensor(ty.dtype, &shape)
        };
        graph.set_param(&name, tensor);
    }
    graph
}

pub fn types(inputs: &[(String, Tensor)]) -> Vec<(&str, TensorType)> {
    inputs.iter().map(|(n, t)| (n.as_str(), TensorType::new(t.dtype(), Shape::known(t.shape())))).collect()
}

/// Inputs for the graph with every symbol bound to `size`.
pub fn inputs(graph: &Graph, size: usize, random: &mut Random) -> Vec<(String, Tensor)> {
    graph
        .placeholders()
        .map(|id| {
            let ty = graph.ty(id);
            let shape: Vec<usize> = ty.shape.dims().iter().map(|d| d.known().unwrap_or(size)).collect();
            (graph.node(id).name().to_owned(), random.tensor(ty.dtype, &shape))
        })
        .collect()
}

pub fn plan(graph: &Graph, inputs: &[(String, Tensor)], isa: Isa, cache: &WeightCache) -> Plan {
    plan_for(graph, inputs, quantc_runtime::kernels(isa), cache)
}

fn plan_for(graph: &Graph, inputs: &[(String, Tensor)], kernels: Kernels, cache: &WeightCache) -> Plan {
    lower_for(graph, &types(inputs), kernels, cache).unwrap_or_else(|e| panic!("{e}\n{graph}"))
}

/// Holds the plan to the reference for each size of the symbolic dimensions, and for size 0; the steps of the last plan on the best
/// tier.
pub fn check(graph: &Graph, sizes: &[usize], random: &mut Random) -> Vec<StepInfo> {
    check_on(graph, &[0], random, &tiers::tiers());
    check_on(graph, sizes, random, &tiers::tiers())
}

/// As [`check`], on some tiers.
pub fn check_on(graph: &Graph, sizes: &[usize], random: &mut Random, tiers: &[Kernels]) -> Vec<StepInfo> {
    let cache = WeightCache::new();
    let mut steps = Vec::new();
    for &size in sizes {
        let inputs = inputs(graph, size, random);
        let want = Interpreter::new(graph).run(&inputs).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        for kernels in tiers {
            let isa = kernels.isa;
            let plan = Arc::new(plan_for(graph, &inputs, *kernels, &cache));
            steps = plan.describe().cloned().collect();
            for threads in [1, 2] {
                let mut executor = Executor::new(plan.clone(), Threads::new(threads).expect("threads"));
                let tensors: Vec<Tensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
                // Twice: the second run meets the memory the first one left.
                for run in 0..2 {
                    let got = executor.run(&tensors).unwrap_or_else(|e| panic!("{e}\n{graph}"));
                    assert_eq!(got.len(), want.len());
                    for ((name, want), got) in want.iter().zip(&got) {
                        if !got.bits_eq(want) {
                            panic!(
                                "{isa}, {threads} threads, run {run}, size {size}: output {name} differs{}\n{graph}\n{plan:#?}",
                                difference(want, got)
                            );
                        }
                    }
                }
            }
        }
    }
    steps
}

/// The graph and its plan, unless they are too long to read.
fn describe(graph: &Graph, plan: &Plan) -> String {
    if graph.len() > 100 { String::new() } else { format!("{graph}\n{plan:#?}") }
}

fn difference(want: &Tensor, got: &Tensor) -> String {
    if want.shape() != got.shape() || want.dtype() != got.dtype() {
        return format!(": {} instead of {}", got.ty(), want.ty());
    }
    let (w, g) = (want.to_f32_vec(), got.to_f32_vec());
    let bad: Vec<usize> = (0..w.len()).filter(|&i| w[i].to_bits() != g[i].to_bits()).collect();
    let first: Vec<String> = bad.iter().take(8).map(|&i| format!("[{i}] {} for {}", g[i], w[i])).collect();
    format!(" in {} of {} elements: {}", bad.len(), w.len(), first.join(", "))
}

/// Fails if a step runs by reference evaluation.
pub fn no_reference(steps: &[StepInfo]) {
    let slow: Vec<String> =
        steps.iter().filter(|s| s.is_reference()).map(|s| format!("{} ({})", s.node, s.op)).collect();
    assert!(slow.is_empty(), "by reference: {}", slow.join(", "));
}
