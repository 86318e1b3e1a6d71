//! Weights that are stored packed for one tier run on every other, with the same bits.

use std::collections::HashMap;
use std::sync::Arc;

use crate::common::{Random, graph, inputs, plan};
use quantc_ir::{Graph, text::parse};
use quantc_kernels::{Isa, SharedBytes};
use quantc_lower::{StoredForm, StoredWeights, WeightCache};
use quantc_runtime::{Executor, Threads};
use quantc_tensor::Tensor;

/// Layers of every kind that has packed weights; `big` is cut for threads where it has one row, `both` is used in two ways.
const GRAPH: &str = r#"graph g(%x: u8[N,6,9,7], %v: f32[N,36]) {
  param @w1: i8[80,6,3,3]
  param @w2: i8[48,80,1,1]
  param @w3: i8[48,16,3,3]
  param @w4: i8[48,1,3,3]
  param @fc: i8[36,48]
  param @dyn: i8[40,36]
  param @dyn_more: i8[20,36]
  param @big: i8[2048,1024]
  param @w5: i8[32,2,5]
  param @w6: i8[80,4,3,3]
  param @both: i8[36,36]
  param @scale: f32[1]
  %c1 = quantized.conv2d(%x, @w1, @scale) {padding=[1,1], x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %c2 = quantized.conv2d(%c1, @w2, @scale) {x_scale=0.2, x_zero_point=100, scale=0.2, zero_point=100}
  %c3 = quantized.conv2d(%c2, @w3, @scale) {padding=[1,1], groups=3, x_scale=0.2, x_zero_point=100, scale=0.2, zero_point=100}
  %c4 = quantized.conv2d(%c3, @w4, @scale) {groups=48, x_scale=0.2, x_zero_point=100, scale=0.2, zero_point=100}
  %p = quantized.adaptive_avg_pool2d(%c4) {output_size=[1,1], x_scale=0.2, x_zero_point=100, scale=0.2, zero_point=100}
  %f = reshape(%p) {shape=[-1,48]}
  %l = quantized.linear(%f, @fc, @scale) {x_scale=0.2, x_zero_point=100, scale=0.3, zero_point=90}
  %d = quantized.linear_dynamic(%v, @dyn, @scale)
  %dm = quantized.linear_dynamic(%v, @dyn_more, @scale)
  %b = quantized.linear_dynamic(%v, @both, @scale)
  %bd = dequantize_per_tensor(@both) {scale=0.5, zero_point=3}
  %z = quantize_per_tensor(%v) {scale=0.02, zero_point=128, dtype=u8}
  %zr = reshape(%z) {shape=[-1,4,9]}
  %c5 = quantized.conv1d(%zr, @w5, @scale) {groups=2, x_scale=0.02, x_zero_point=128, scale=0.2, zero_point=100}
  %vr = reshape(%v) {shape=[-1,4,3,3]}
  %c6 = quantized.conv2d_dynamic(%vr, @w6, @scale) {padding=[1,1]}
  %w = pad(%v) {pads=[0,0,0,988]}
  %g = quantized.linear_dynamic(%w, @big, @scale)
  return l=%l, d=%d, dm=%dm, b=%b, bd=%bd, c5=%c5, c6=%c6, g=%g
}"#;

/// The weights that a tier stores.
fn stored(graph: &Graph, isa: Isa) -> HashMap<String, StoredWeights> {
    let kernels = quantc_runtime::kernels(isa);
    let pack = |name: &Arc<str>| Some((name.to_string(), StoredWeights::pack(graph, name, &kernels)?));
    graph.params().keys().filter_map(pack).collect()
}

/// The graph without the values that are stored.
fn without(graph: &Graph, stored: &HashMap<String, StoredWeights>) -> Graph {
    let mut rest = parse(&graph.to_string()).expect("parses");
    for (name, param) in graph.params().iter().filter(|p| !stored.contains_key(&**p.0)) {
        rest.set_param(name, param.value.clone().expect("a value"));
    }
    rest
}

fn run(graph: &Graph, inputs: &[(String, Tensor)], isa: Isa, cache: &WeightCache, threads: usize) -> Vec<Tensor> {
    let plan = Arc::new(plan(graph, inputs, isa, cache));
    let tensors: Vec<Tensor> = inputs.iter().map(|i| i.1.clone()).collect();
    Executor::new(plan, Threads::new(threads).expect("threads")).run(&tensors).expect("runs")
}

#[test]
fn every_tier_runs_what_another_packed() {
    let mut random = Random(77);
    let graph = graph(GRAPH, &mut random);
    for size in [1, 3] {
        let inputs = inputs(&graph, size, &mut random);
        for &from in &Isa::available() {
            let stored = stored(&graph, from);
            let rest = without(&graph, &stored);
            for &to in &Isa::available() {
                let want = run(&graph, &inputs, to, &WeightCache::new(), 1);
                let cache = WeightCache::with_stored(stored.clone());
                for threads in [1, 2] {
                    let got = run(&rest, &inputs, to, &cache, threads);
                    let same = want.iter().zip(&got).all(|(want, got)| want.bits_eq(got));
                    assert!(same, "packed on {from}, run on {to}, size {size}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn what_is_stored_gives_the_weights_back() {
    let graph = graph(GRAPH, &mut Random(5));
    for &isa in &Isa::available() {
        let stored = stored(&graph, isa);
        for (name, weights) in &stored {
            let value = graph.params()[name.as_str()].value.as_ref().expect("a value");
            assert!(weights.unpack().expect("unpacks").bits_eq(value), "{isa}: {name}");
        }
        let mut names: Vec<&str> = stored.keys().map(String::as_str).collect();
        names.sort_unstable();
        // Depthwise, used in two ways, cut for threads, and what would take far more room than it has: those stay as they are.
        let kept = ["w4", "both", "big"];
        assert!(!kept.iter().any(|name| names.contains(name)), "{isa}: {names:?}");
        match isa {
            Isa::Portable => assert!(names.is_empty(), "{names:?}"),
            Isa::Avx2 => assert_eq!(names, ["dyn", "fc", "w1", "w2", "w3", "w6"]),
            Isa::Avx512Vnni => assert_eq!(names, ["w1", "w2", "w3", "w6"]),
            // What takes too much room depends on how deep a panel is; this one fills it on every tier.
            _ => assert!(names.contains(&"w2"), "{isa}: {names:?}"),
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let graph = graph(GRAPH, &mut Random(6));
    let Some(&isa) = Isa::available().iter().find(|isa| **isa != Isa::Portable) else {
        eprintln!("SKIPPED: this machine has portable kernels only, which store nothing packed");
        return;
    };
    let good = stored(&graph, isa).remove("w2").expect("packed");
    assert!(good.unpack().is_some());
    let bad: [fn(&mut StoredWeights); 10] = [
        |w| w.groups = 0,
        |w| w.groups = 5,
        |w| w.groups = usize::MAX,
        |w| w.form = StoredForm::Linear,
        |w| w.sizes = vec![usize::MAX, usize::MAX, 1, 1],
        |w| w.sizes = vec![0, 80, 1, 1],
        |w| w.panels.lanes = 0,
        |w| w.panels.vectors = usize::MAX,
        |w| w.data = SharedBytes::new(vec![0; 10]),
        |w| w.sums.truncate(3),
    ];
    for (i, spoil) in bad.iter().enumerate() {
        let mut weights = good.clone();
        spoil(&mut weights);
        assert!(weights.unpack().is_none(), "{i}: {weights:?}");
    }
}
