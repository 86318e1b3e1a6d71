//! quantc's histogram against PyTorch's on the activations of real models: the demo's, and those of the data folder where it is.

use std::path::Path;

use quantc_frontend::onnx::import_file;
use quantc_ir::Graph;
use quantc_pattern::Library;
use quantc_quant::qconfig::{ObserverDType, RangeSearch, named};
use quantc_quant::{ActivationQParams, Calibrator, ObserverKind, ObserverSpec, QConfig, QConfigMapping, prepare_fx};
use quantc_rewrite::canonicalize;
use quantc_tensor::{QScheme, Tensor};
use quantc_testkit::{data_or_skip, load_npy, workspace_root};

const BATCH: usize = 8;

/// A model, its calibration data, and the mean and standard deviation of their channels.
struct Model {
    model: &'static str,
    data: &'static str,
    mean: &'static [f32],
    std: &'static [f32],
    samples: usize,
}

const DEMO: Model =
    Model { model: "digits_cnn.onnx", data: "digits_calib_x.npy", mean: &[4.9], std: &[6.0], samples: 256 };
const MEAN: &[f32] = &[123.675, 116.28, 103.53];
const STD: &[f32] = &[58.395, 57.12, 57.375];
const REAL: &[Model] = &[
    Model { model: "cifar10_resnet20.onnx", data: "cifar10_calib_x.npy", mean: MEAN, std: STD, samples: 64 },
    Model { model: "mlperf_resnet8.onnx", data: "cifar10_calib_x.npy", mean: &[0.0], std: &[1.0], samples: 64 },
    Model { model: "mlperf_kws_dscnn.onnx", data: "kws_x.npy", mean: &[83.0], std: &[1.710_270_3], samples: 64 },
    Model { model: "mnist_lenet.onnx", data: "mnist_x.npy", mean: &[0.0], std: &[255.0], samples: 64 },
    Model { model: "squeezenet1.1.onnx", data: "imagenet_calib_x.npy", mean: MEAN, std: STD, samples: 8 },
    Model { model: "mobilenet_v1_0.75.onnx", data: "imagenet_calib_x.npy", mean: &[127.5], std: &[127.5], samples: 8 },
];

impl Model {
    fn graph(&self, folder: &Path) -> Graph {
        let graph = import_file(&folder.join(self.model)).unwrap_or_else(|e| panic!("{}: {e}", self.model));
        let library = Library::builtin().expect("the embedded patterns are valid");
        let backend = library.backend("x86").expect("exists");
        canonicalize(&graph, &library.rules_for(backend)).unwrap_or_else(|e| panic!("{}: {e}", self.model)).0
    }

    /// Normalized batches, NCHW; the data are NHWC, a missing channel axis is one channel.
    fn batches(&self, folder: &Path) -> Vec<Tensor> {
        let x = load_npy(&folder.join(self.data)).unwrap_or_else(|e| panic!("{}: {e}", self.data));
        let (height, width) = (x.shape()[1], x.shape()[2]);
        let channels = x.shape().get(3).copied().unwrap_or(1);
        let (plane, data) = (height * width, x.to_f32_vec());
        let sample = |s: &[f32]| -> Vec<f32> {
            let value = |c: usize, i: usize| {
                (s[i * channels + c] - self.mean[c % self.mean.len()]) / self.std[c % self.std.len()]
            };
            (0..channels).flat_map(|c| (0..plane).map(move |i| (c, i))).map(|(c, i)| value(c, i)).collect()
        };
        let samples: Vec<Vec<f32>> = data.chunks(plane * channels).take(self.samples).map(sample).collect();
        let batch = |b: &[Vec<f32>]| Tensor::from_vec(&[b.len(), channels, height, width], b.concat()).expect("fits");
        samples.chunks(BATCH).map(batch).collect()
    }

    /// What an observer of activations decides for each observed value.
    fn calibrate(&self, graph: &Graph, batches: &[Tensor], observer: ObserverKind) -> Vec<ActivationQParams> {
        let activation = ObserverSpec::new(observer, ObserverDType::Quint8, QScheme::PerTensorAffine);
        let qconfig = QConfig { activation, ..named("x86").expect("the default") };
        let library = Library::builtin().expect("the embedded patterns are valid");
        let backend = library.backend("x86").expect("exists");
        let prepared = prepare_fx(graph, &QConfigMapping::default_for(qconfig), backend).expect("prepares");
        let input = graph.placeholders().next().map(|id| graph.node(id).name().to_owned()).expect("an input");
        let mut calibrator = Calibrator::new(&prepared).expect("valid observers");
        for batch in batches {
            calibrator.observe(&[(input.clone(), batch.clone())]).unwrap_or_else(|e| panic!("{}: {e}", self.model));
        }
        calibrator.finish().expect("calibrated")
    }

    /// The scales of quantc's histogram are PyTorch's, give or take a hundredth. PyTorch's search stops at the first rise of its error
    /// estimate, so that a little more or less in one bin can move its result by more than two hundredths: the order of the batches
    /// alone does. So what is compared with is all that PyTorch gives for some orders and for one batch of all samples.
    fn check(&self, folder: &Path) {
        let (graph, batches) = (self.graph(folder), self.batches(folder));
        let pytorch = |batches: &[Tensor]| self.calibrate(&graph, batches, ObserverKind::Histogram);
        let (mut reversed, mut rotated) = (batches.clone(), batches.clone());
        reversed.reverse();
        rotated.rotate_left(batches.len() / 2);
        let all = [pytorch(&batches), pytorch(&reversed), pytorch(&rotated), pytorch(&[joined(&batches)])];
        let l2 = ObserverKind::AlignedHistogram { search: RangeSearch::L2 };
        let ours = self.calibrate(&graph, &batches, l2);
        assert_eq!(self.calibrate(&graph, &reversed, l2), ours, "{}: the order matters", self.model);
        assert!(ours.len() > 3 && all.iter().all(|a| a.len() == ours.len()), "{}", self.model);
        for (i, found) in ours.iter().enumerate() {
            let scales = all.each_ref().map(|a| a[i].scale);
            let (low, high) =
                (scales.iter().copied().fold(f32::MAX, f32::min), scales.iter().copied().fold(0.0, f32::max));
            assert!(
                (low * 0.99..=high * 1.01).contains(&found.scale),
                "{}, observer {i}: {} is not within a hundredth of PyTorch's {scales:?}",
                self.model,
                found.scale
            );
        }
    }
}

/// All samples in one batch.
fn joined(batches: &[Tensor]) -> Tensor {
    let data: Vec<f32> = batches.iter().flat_map(Tensor::to_f32_vec).collect();
    let samples = batches.iter().map(|b| b.shape()[0]).sum();
    let shape = [&[samples], &batches[0].shape()[1..]].concat();
    Tensor::from_vec(&shape, data).expect("fits")
}

#[test]
fn scales_of_the_demo_are_torch_s() {
    DEMO.check(&workspace_root().join("crates/quantc/demo"));
}

#[test]
fn scales_of_real_models_are_torch_s() {
    let Some(folder) = data_or_skip("scales_of_real_models_are_torch_s") else { return };
    for model in REAL {
        model.check(&folder);
    }
}
