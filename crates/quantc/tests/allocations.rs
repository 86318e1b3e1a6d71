//! A run allocates nothing but what it returns. One test, in a program of its own: the counts are those of all threads.

use std::alloc::System;
use std::path::Path;

use quantc::data::Batches;
use quantc::{Compiled, InputShapes, Mode, Model, QuantizeOptions, quantize};
use quantc_ir::Graph;
use quantc_runtime::{Executor, Plan, Threads};
use quantc_tensor::{DType, Tensor, TensorType};
use quantc_testkit::data_or_skip;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often some work takes memory from the allocator.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(COUNTED);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Types of the inputs, every open dimension being `size`.
fn shapes(graph: &Graph, size: usize) -> InputShapes {
    let bind = |id| {
        let (node, ty) = (graph.node(id), graph.ty(id));
        let dims: Vec<usize> = ty.shape.dims().iter().map(|d| d.known().unwrap_or(size)).collect();
        (node.name().to_owned(), TensorType::new(ty.dtype, dims.as_slice()))
    };
    graph.placeholders().map(bind).collect()
}

/// Values of these types.
fn inputs(shapes: &InputShapes) -> Vec<Tensor> {
    let tensor = |ty: &TensorType| {
        let shape = ty.shape.to_known().expect("bound");
        let values = (0..shape.iter().product::<usize>()).map(|i| (i * 7 % 19) as f32 / 4.0);
        let tensor = Tensor::from_vec(&shape, values.collect()).expect("fits");
        if ty.dtype == DType::F32 { tensor } else { tensor.cast(ty.dtype) }
    };
    shapes.iter().map(|(_, ty)| tensor(ty)).collect()
}

/// A model's integer plan, quantized with one sample.
fn int8_plan(file: &str, backend: &str, mode: Mode) -> (InputShapes, std::sync::Arc<Plan>) {
    let graph = Model::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("loads").graph;
    let shapes = shapes(&graph, 1);
    let named = shapes.iter().map(|(name, _)| name.clone()).zip(inputs(&shapes)).collect();
    let samples = Batches::new(&graph, named, None, 1, None).expect("fits");
    let options = QuantizeOptions::new(mode, backend, None).expect("known");
    let quantized = quantize(&graph, &options, Some(&samples), |_| ()).expect("quantizes").stages.quantized;
    let mut compiled = Compiled::from_graph(quantized, 1).expect("compiles");
    let plan = compiled.plan(&shapes).expect("plans");
    (shapes, plan)
}

/// Runs counted with several threads.
const RUNS: usize = 63;

#[test]
fn runs_allocate_nothing_but_their_outputs() {
    for (file, backend, mode) in [
        ("demo/digits_cnn.onnx", "x86", Mode::Static),
        ("../../models/resnet18.json", "x86", Mode::Static),
        ("../../models/resnet18.json", "native", Mode::Dynamic),
        ("../../models/transformer_encoder.json", "x86", Mode::Static),
        ("../../models/mobilenet_v2.json", "x86", Mode::Static),
        ("../../models/lstm_classifier.json", "native", Mode::Dynamic),
    ] {
        let (shapes, plan) = int8_plan(file, backend, mode);
        let integer = |op: &str| op.starts_with("quantized.") && op.ends_with("_dynamic") == (mode == Mode::Dynamic);
        assert!(plan.describe().any(|step| integer(&step.op)), "{file}");
        let inputs = inputs(&shapes);

        let mut executor = Executor::new(plan.clone(), Threads::new(1).expect("starts"));
        let mut outputs = executor.outputs();
        for run in 0..3 {
            let count = allocations(|| executor.run_into(&inputs, &mut outputs).expect("runs"));
            assert_eq!(count, 0, "{file}, run {run}");
        }
        let mut results = Vec::new();
        let run = allocations(|| results = executor.run(&inputs).expect("runs"));
        assert_eq!(run, allocations(|| drop(executor.outputs())), "{file}: only outputs");
        assert!(results.iter().zip(&outputs).all(|(a, b)| a.bits_eq(b)), "{file}: the same results");

        // Each run is one job in the pool's queue, which takes another block of memory every 63 jobs; a thread that takes part for
        // the first time makes what it needs.
        let mut executor = Executor::new(plan, Threads::new(2).expect("starts"));
        for _ in 0..10 {
            executor.run_into(&inputs, &mut outputs).expect("runs");
        }
        let counts: Vec<usize> =
            (0..RUNS).map(|_| allocations(|| executor.run_into(&inputs, &mut outputs).expect("runs"))).collect();
        let free = counts.iter().filter(|&&count| count == 0).count();
        assert!(free >= RUNS - 4, "{file}: {counts:?}");
        assert!(results.iter().zip(&outputs).all(|(a, b)| a.bits_eq(b)), "{file}: the same results with two threads");
    }

    // Where products stay in float, the `gemm` crate allocates what it packs its operands into: those steps do, no others.
    let (shapes, plan) = int8_plan("../../models/transformer_encoder.json", "x86", Mode::Dynamic);
    assert_only_products_allocate(&plan, &inputs(&shapes));
    if let Some(folder) = data_or_skip("the allocations of silero_vad") {
        let file = folder.join("silero_vad_16k.onnx");
        for backend in ["native", "x86"] {
            let (shapes, plan) = int8_plan(file.to_str().expect("UTF-8"), backend, Mode::Dynamic);
            assert_only_products_allocate(&plan, &inputs(&shapes));
        }
    }
}

/// Fails if a step of a run allocates that is no product of f32.
fn assert_only_products_allocate(plan: &std::sync::Arc<Plan>, inputs: &[Tensor]) {
    let kernels: Vec<String> = plan.describe().map(|step| step.kernel.clone()).collect();
    let mut counts = vec![0; kernels.len()];
    let mut executor = Executor::new(plan.clone(), Threads::new(1).expect("starts"));
    executor.run(inputs).expect("runs");
    let mut region = Region::new(COUNTED);
    let inspect = |step, _| {
        // What comes before the first step is no step's.
        let change = region.change_and_reset();
        counts[step] = if step == 0 { 0 } else { change.allocations + change.reallocations };
    };
    executor.run_inspected(inputs, inspect).expect("runs");
    for (kernel, count) in kernels.iter().zip(counts) {
        assert!(count == 0 || kernel == "gemm", "{kernel}: {count}");
    }
}
