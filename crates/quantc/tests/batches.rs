//! Samples in batches give what all samples at once give.

use quantc::data::Batches;
use quantc::{Compiled, Mode, QuantizeOptions, quantize};
use quantc_ir::text::parse;
use quantc_tensor::{DType, Tensor, TensorType};
use quantc_testkit::{random_tensor, rng, with_random_params};

const SAMPLES: usize = 21;

type Outputs = Vec<(String, Tensor)>;

fn samples(shape: &[usize]) -> Vec<(String, Tensor)> {
    let shape: Vec<usize> = std::iter::once(SAMPLES).chain(shape.iter().copied()).collect();
    vec![("x".to_owned(), random_tensor(&mut rng(4), &TensorType::new(DType::F32, shape.as_slice())))]
}

/// The graph on all samples at once, and in batches of 4, however many runs that takes; and what was run at once.
fn both(graph: &str, shape: &[usize]) -> (Outputs, Outputs, usize) {
    let graph = with_random_params(parse(graph).unwrap_or_else(|e| panic!("{e}\n{graph}")), 2);
    let data = samples(shape);
    let batches = Batches::new(&graph, data.clone(), None, 4, None).expect("fits");
    let mut compiled = Compiled::from_graph(graph, 1).expect("compiles");
    let whole = compiled.run(&data).expect("runs");
    let mut last = 0;
    let mut most = 0;
    let joined = compiled.run_batches(&batches, |done| {
        most = most.max(done - last);
        last = done;
    });
    (whole, joined.expect("runs"), most)
}

#[test]
fn what_goes_across_samples_is_one_batch() {
    for (body, shape) in [
        ("  %y = softmax(%x) {dim=0}\n", vec![3]),
        ("  %m = mean(%x) {dims=[0], keepdim=true}\n  %y = sub(%x, %m)\n", vec![3]),
        ("  %y = permute(%x) {dims=[1,0]}\n", vec![3]),
        ("  %y = shape(%x)\n", vec![3]),
        ("  %y = mean(%x) {dims=[0,1]}\n", vec![3]),
    ] {
        let dims: String = shape.iter().map(|d| format!(",{d}")).collect();
        let (whole, joined, at_once) =
            both(&format!("graph g(%x: f32[N{dims}]) {{\n{body}  return y=%y\n}}\n"), &shape);
        assert!(whole[0].1.bits_eq(&joined[0].1), "{body}");
        assert_eq!(at_once, SAMPLES, "{body}");
    }
}

#[test]
fn samples_apart_are_run_in_batches() {
    let graph =
        "graph g(%x: f32[N,8]) {\n  param @w: f32[4,8]\n  %l = linear(%x, @w)\n  %y = softmax(%l)\n  return y=%y\n}\n";
    let (whole, joined, at_once) = both(graph, &[8]);
    assert!(whole[0].1.bits_eq(&joined[0].1));
    assert_eq!(at_once, 4);
}

#[test]
fn a_dynamically_quantized_answer_depends_on_its_sample_alone() {
    let graph = "graph g(%x: f32[N,8]) {\n  param @w: f32[4,8]\n  %y = linear(%x, @w)\n  return y=%y\n}\n";
    let graph = with_random_params(parse(graph).expect("parses"), 2);
    let options = QuantizeOptions::new(Mode::Dynamic, "x86", None).expect("default");
    let quantized = quantize(&graph, &options, None, |_| ()).expect("quantizes").stages.quantized;
    let mut compiled = Compiled::from_graph(quantized.clone(), 1).expect("compiles");
    let data = samples(&[8]);
    let batches = Batches::new(&quantized, data.clone(), None, 4, None).expect("fits");
    let joined = compiled.run_batches(&batches, |_| ()).expect("runs");
    for i in [0, 7, SAMPLES - 1] {
        let one = vec![("x".to_owned(), data[0].1.rows(i, i + 1).expect("a row"))];
        let alone = compiled.run(&one).expect("runs");
        assert!(alone[0].1.bits_eq(&joined[0].1.rows(i, i + 1).expect("a row")), "{i}");
    }
}
