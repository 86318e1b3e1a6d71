//! Running into tensors that the caller gives.

use std::sync::Arc;

use crate::common::{Random, graph, inputs, plan};
use quantc_kernels::Isa;
use quantc_lower::WeightCache;
use quantc_runtime::{Executor, RunError, Threads};
use quantc_tensor::{DType, Tensor};

/// Outputs in the arena of several types, one that is a constant.
const GRAPH: &str = r#"graph g(%x: f32[N,3]) {
  param @w: f32[4]
  %q = quantize_per_tensor(%x) {scale=0.02, zero_point=-4, dtype=i8}
  %y = relu(%x)
  return q=%q, y=%y, w=@w
}"#;

fn executor(random: &mut Random) -> (Executor, Vec<Tensor>) {
    let g = graph(GRAPH, random);
    let inputs = inputs(&g, 2, random);
    let plan = Arc::new(plan(&g, &inputs, Isa::Portable, &WeightCache::new()));
    (Executor::new(plan, Threads::default()), inputs.into_iter().map(|i| i.1).collect())
}

#[test]
fn given_tensors_are_overwritten_and_shared_ones_are_not() {
    let (mut executor, inputs) = executor(&mut Random(1));
    let want = executor.run(&inputs).expect("runs");
    let mut outputs = executor.outputs();
    let kept = outputs.clone();
    executor.run_into(&inputs, &mut outputs).expect("runs");
    assert!(want.iter().zip(&outputs).all(|(a, b)| a.bits_eq(b)), "{outputs:?}");
    assert!(kept.iter().all(|t| t.to_f32_vec().iter().all(|v| *v == 0.0)), "{kept:?}");
}

#[test]
fn tensors_of_another_type_are_refused() {
    let (mut executor, inputs) = executor(&mut Random(2));
    let mut outputs = executor.outputs();
    let few = executor.run_into(&inputs, &mut outputs[..2]).expect_err("one is missing");
    assert_eq!(few, RunError::OutputCount { expected: 3, got: 2 });
    for other in [Tensor::zeros(DType::F32, &[3, 2]), Tensor::zeros(DType::U8, &[2, 3])] {
        outputs[1] = other;
        let message = executor.run_into(&inputs, &mut outputs).expect_err("another type").to_string();
        assert!(message.contains("output `y` is f32[2,3], the tensor given for it is "), "{message}");
    }
}
