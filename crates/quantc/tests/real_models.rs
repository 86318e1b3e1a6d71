//! The real models of the data folder: the compiled plan gives the bits of the reference graph, and quantization keeps the accuracy.
//! Skipped, visibly, where the folder is absent.

use std::path::Path;

use quantc::data::{Batches, read_npy};
use quantc::{Compiled, Mode, Model, Preprocess, QuantizeOptions, metrics, quantize};
use quantc_interp::Interpreter;
use quantc_kernels::Isa;
use quantc_tensor::Tensor;
use quantc_testkit::{data_or_skip, models_or_skip};

/// A classifier of the folder: how it is quantized and scored.
struct Classifier {
    model: &'static str,
    calibration: &'static str,
    samples: usize,
    data: &'static [&'static str],
    mean: &'static [f32],
    std: &'static [f32],
    /// Top-1 may fall by this much.
    tolerance: f64,
}

const IMAGENET: (&[f32], &[f32]) = (&[123.675, 116.28, 103.53], &[58.395, 57.12, 57.375]);

const fn cifar(model: &'static str, mean: &'static [f32], std: &'static [f32]) -> Classifier {
    let data = &["cifar10_test"];
    Classifier { model, calibration: "cifar10_calib", samples: 256, data, mean, std, tolerance: 0.01 }
}

const CLASSIFIERS: &[Classifier] = &[
    cifar("cifar10_resnet20", IMAGENET.0, IMAGENET.1),
    cifar("cifar10_resnet44", IMAGENET.0, IMAGENET.1),
    cifar("cifar10_resnet56", IMAGENET.0, IMAGENET.1),
    cifar("mlperf_resnet8", &[0.0], &[1.0]),
    Classifier {
        model: "mlperf_kws_dscnn",
        calibration: "kws",
        samples: 256,
        data: &["kws"],
        mean: &[83.0],
        std: &[1.710_270_3],
        tolerance: 0.01,
    },
    Classifier {
        model: "mnist_lenet",
        calibration: "mnist",
        samples: 256,
        data: &["mnist"],
        mean: &[0.0],
        std: &[255.0],
        tolerance: 0.01,
    },
    Classifier {
        model: "squeezenet1.1",
        calibration: "imagenet_calib",
        samples: 64,
        data: &["imagenet_eli", "imagenet_nips17"],
        mean: IMAGENET.0,
        std: IMAGENET.1,
        tolerance: 0.01,
    },
    Classifier {
        model: "mobilenet_v1_0.75",
        calibration: "imagenet_calib",
        samples: 64,
        data: &["imagenet_eli", "imagenet_nips17"],
        mean: &[127.5],
        std: &[127.5],
        tolerance: 0.03,
    },
];

impl Classifier {
    fn preprocess(&self) -> Preprocess {
        let json = serde_json::json!({"layout": "nhwc", "mean": self.mean, "std": self.std});
        Preprocess::parse(Path::new("test"), &json.to_string()).expect("sound")
    }

    fn batches(&self, folder: &Path, graph: &quantc_ir::Graph, data: &str, limit: Option<usize>) -> Batches {
        let x = read_npy(&folder.join(format!("{data}_x.npy"))).expect("readable");
        let name = graph.placeholders().next().map(|id| graph.node(id).name().to_owned()).expect("an input");
        Batches::new(graph, vec![(name, x)], Some(&self.preprocess()), 16, limit).expect("fits")
    }
}

/// Quantizes a graph and holds plans to the interpreter on the q/dq graph: on every tier of the machine, on the best one with one and
/// two threads.
fn assert_bit_identical(
    name: &str,
    graph: &quantc_ir::Graph,
    mode: Mode,
    calibration: Option<&Batches>,
    inputs: &[(String, Tensor)],
) {
    let options = QuantizeOptions::new(mode, "x86", None).expect("default");
    let result = quantize(graph, &options, calibration, |_| ()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let reference = Interpreter::new(&result.stages.converted).run(inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
    let tiers = Isa::available();
    let best = tiers.last().copied().expect("the portable tier is always there");
    for (isa, threads) in tiers.into_iter().map(|isa| (isa, 2)).chain([(best, 1)]) {
        let mut compiled = Compiled::on_isa(result.stages.quantized.clone(), isa, threads).expect("compiles");
        let outputs = compiled.run(inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(reference.len(), outputs.len(), "{name}");
        for ((output, a), (_, b)) in reference.iter().zip(&outputs) {
            let difference = metrics::difference(output, a, b).expect("same shape");
            assert!(a.bits_eq(b), "{name}, {isa}, {threads} threads: {difference:?}");
        }
    }
}

#[test]
fn plans_equal_the_reference_graph_bit_for_bit() {
    let Some(folder) = data_or_skip("plans_equal_the_reference_graph_bit_for_bit") else { return };
    for c in CLASSIFIERS {
        let model = Model::load(&folder.join(format!("{}.onnx", c.model))).unwrap_or_else(|e| panic!("{e}"));
        let calibration = c.batches(&folder, &model.graph, c.calibration, Some(4));
        let inputs = c.batches(&folder, &model.graph, c.data[0], Some(3)).get(0, 3).expect("three samples");
        assert_bit_identical(c.model, &model.graph, Mode::Static, Some(&calibration), &inputs);
    }
}

#[test]
fn denoiser_equals_the_reference_graph_bit_for_bit() {
    let Some(folder) = data_or_skip("denoiser_equals_the_reference_graph_bit_for_bit") else { return };
    let model = Model::load(&folder.join("dncnn_sigma25.onnx")).expect("imports");
    let noisy = read_npy(&folder.join("denoise_noisy.npy")).expect("readable");
    let one = noisy.rows(0, 1).and_then(|t| t.reshape(&[1, 1, 256, 256])).expect("one image");
    let inputs = vec![("noisy".to_owned(), one)];
    let calibration = Batches::new(&model.graph, inputs.clone(), None, 1, None).expect("fits");
    assert_bit_identical("dncnn_sigma25", &model.graph, Mode::Static, Some(&calibration), &inputs);
}

#[test]
fn minilm_equals_the_reference_graph_bit_for_bit() {
    let Some(folder) = data_or_skip("minilm_equals_the_reference_graph_bit_for_bit") else { return };
    let Some(path) = models_or_skip("minilm_equals_the_reference_graph_bit_for_bit", "minilm_l6.onnx") else { return };
    let model = Model::load(&path).expect("imports");
    let rows = |file: &str| {
        let all = read_npy(&folder.join(file)).expect("readable");
        all.rows(0, 4).expect("four rows")
    };
    let inputs =
        vec![("input_ids".to_owned(), rows("sts_ids1.npy")), ("attention_mask".to_owned(), rows("sts_mask1.npy"))];
    assert_bit_identical("minilm_l6 dynamic", &model.graph, Mode::Dynamic, None, &inputs);
    let calibration = Batches::new(&model.graph, inputs.clone(), None, 4, None).expect("fits");
    assert_bit_identical("minilm_l6 static", &model.graph, Mode::Static, Some(&calibration), &inputs);
}

/// The accuracy figures: every sample of every set.
#[test]
#[ignore = "minutes; CI runs it"]
fn static_quantization_keeps_top1() {
    let Some(folder) = data_or_skip("static_quantization_keeps_top1") else { return };
    let mut failures = Vec::new();
    for c in CLASSIFIERS {
        let model = Model::load(&folder.join(format!("{}.onnx", c.model))).unwrap_or_else(|e| panic!("{e}"));
        let calibration = c.batches(&folder, &model.graph, c.calibration, Some(c.samples));
        let options = QuantizeOptions::new(Mode::Static, "x86", None).expect("default");
        let result = quantize(&model.graph, &options, Some(&calibration), |_| ()).unwrap_or_else(|e| panic!("{e}"));
        let mut int8 = Compiled::from_graph(result.stages.quantized.clone(), 2).expect("compiles");
        let mut float = Compiled::from_graph(result.stages.canonical.clone(), 2).expect("compiles");
        for data in c.data {
            let labels = read_npy(&folder.join(format!("{data}_y.npy"))).expect("readable");
            let batches = c.batches(&folder, &model.graph, data, None);
            let score = |m: &mut Compiled| {
                let outputs = m.run_batches(&batches, |_| ()).expect("runs");
                metrics::accuracy(&outputs[0].1, &labels).expect("scores").top1
            };
            let (f, q) = (score(&mut float), score(&mut int8));
            println!("{} / {data}: float {f:.4}, int8 {q:.4}", c.model);
            if q < f - c.tolerance - 1e-9 {
                failures.push(format!("{} / {data}: float {f:.4}, int8 {q:.4}", c.model));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
