//! Real float models as plans: the bits of the reference evaluation.

mod common;

use common::tiers::tiers;
use common::{Random, check_on};
use quantc_kernels::Kernels;

/// Imports a model and holds its plan to the reference; the names of operators that have no kernel.
fn model(file: &str, size: usize) -> Option<Vec<String>> {
    let path = match quantc_testkit::data_or_skip(file)?.join(file) {
        path if path.exists() => path,
        _ => quantc_testkit::models_or_skip(file, file)?,
    };
    let graph = quantc_frontend::onnx::import_file(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let best: Vec<Kernels> = tiers().into_iter().rev().take(1).collect();
    let steps = check_on(&graph, &[size], &mut Random(1), &best);
    let slow: Vec<String> = steps.iter().filter(|s| s.is_reference()).map(|s| s.op.clone()).collect();
    eprintln!("{file}: {} steps, by reference: {slow:?}", steps.len());
    Some(slow)
}

macro_rules! models {
    ($($name:ident: $file:literal, $size:literal;)*) => {$(
        #[test]
        fn $name() {
            model($file, $size);
        }
    )*};
}
models! {
    cifar10_resnet20: "cifar10_resnet20.onnx", 2;
    mlperf_resnet8: "mlperf_resnet8.onnx", 2;
    mlperf_kws_dscnn: "mlperf_kws_dscnn.onnx", 2;
    mnist_lenet: "mnist_lenet.onnx", 2;
    squeezenet: "squeezenet1.1.onnx", 1;
    mobilenet_v1: "mobilenet_v1_0.75.onnx", 1;
    dncnn: "dncnn_sigma25.onnx", 6;
    dtln_1: "dtln_model_1.onnx", 1;
    dtln_2: "dtln_model_2.onnx", 1;
    silero_vad: "silero_vad_16k.onnx", 1;
    minilm: "minilm_l6.onnx", 9;
}
