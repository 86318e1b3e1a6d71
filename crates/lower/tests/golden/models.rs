//! The models: what quantc ships, and networks whose layers those lack.

use quantc_frontend::onnx::import_bytes;
use quantc_frontend::trace::{Description, Weights};
use quantc_ir::{Graph, text::parse};
use quantc_pattern::Library;
use quantc_quant::qconfig::named;
use quantc_quant::{Calibrator, QConfigMapping, convert_to_reference_fx, correct_biases, prepare_fx};
use quantc_tensor::{DType, Shape, Tensor, TensorType};
use quantc_testkit::networks::{Gene, network};
use quantc_testkit::{load_npy, random_tensor, rng, with_random_params, workspace_root};

pub type Inputs = Vec<(String, Tensor)>;

/// A float model, and how it is quantized and run.
pub struct Model {
    graph: Graph,
    /// Name of the QConfig.
    qconfig: &'static str,
    /// Batches that ranges are taken from.
    calibration: Vec<Inputs>,
    /// Inputs of the runs.
    pub runs: Vec<Inputs>,
}

/// Inputs of the graph with every symbol bound to `size`; indices are small.
fn inputs(graph: &Graph, size: usize, seed: u64) -> Inputs {
    let mut rng = rng(seed);
    let input = |id| {
        let ty: &TensorType = graph.ty(id);
        let sizes: Vec<usize> = ty.shape.dims().iter().map(|d| d.known().unwrap_or(size)).collect();
        let tensor = random_tensor(&mut rng, &TensorType::new(ty.dtype, Shape::known(&sizes)));
        let tensor = match tensor.slice::<i64>() {
            Ok(indices) => Tensor::from_vec(&sizes, indices.iter().map(|i| i.abs()).collect()).expect("as many"),
            Err(_) => tensor,
        };
        (graph.node(id).name().to_owned(), tensor)
    };
    graph.placeholders().map(input).collect()
}

impl Model {
    /// A model calibrated and run on random inputs.
    fn new(graph: Graph, qconfig: &'static str, sizes: &[usize]) -> Model {
        let calibration = (0..2).map(|seed| inputs(&graph, 2, seed)).collect();
        let runs = sizes.iter().map(|&size| inputs(&graph, size, 10 + size as u64)).collect();
        Model { graph, qconfig, calibration, runs }
    }

    /// A description of `models/`, with random parameters; `change` makes it smaller.
    fn shipped(file: &str, change: &[(&str, &str)], qconfig: &'static str, sizes: &[usize]) -> Model {
        let path = workspace_root().join("models").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        let text = change.iter().fold(text, |text, (from, to)| {
            assert!(text.contains(from), "{file} has no {from}");
            text.replace(from, to)
        });
        let description = Description::parse(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        let graph = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{file}: {e}"));
        Model::new(graph, qconfig, sizes)
    }

    /// A graph's text, with random parameters.
    fn text(text: &str, qconfig: &'static str) -> Model {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        Model::new(with_random_params(graph, 1), qconfig, &[1, 3])
    }

    /// A random network of that many operators at most.
    fn random(seed: u64, genes: usize) -> Model {
        let bytes = TensorType::new(DType::U8, Shape::known(&[genes * size_of::<Gene>()]));
        let bytes = random_tensor(&mut rng(seed), &bytes);
        let (genes, _) = bytes.slice::<u8>().expect("bytes").as_chunks();
        Model::new(network(genes, seed), "x86", &[1, 3])
    }

    /// The demo's model, calibrated and run on its images.
    fn demo() -> Model {
        let folder = workspace_root().join("crates/quantc/demo");
        let bytes = std::fs::read(folder.join("digits_cnn.onnx")).expect("digits_cnn.onnx");
        let graph = import_bytes(&bytes).expect("digits_cnn.onnx");
        let input = graph.placeholders().map(|id| graph.node(id).name().to_owned()).next().expect("an input");
        let images = |file: &str, count: usize| {
            let pixels = load_npy(&folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let pixels = &pixels.slice::<u8>().expect("bytes")[..count * 64];
            let data: Vec<f32> = pixels.iter().map(|&p| (f32::from(p) - 4.9) / 6.0).collect();
            let tensor = Tensor::from_vec(&[count, 1, 8, 8], data).expect("as many");
            vec![(input.clone(), tensor)]
        };
        let calibration = vec![images("digits_calib_x.npy", 64)];
        let runs = vec![images("digits_test_x.npy", 1), images("digits_test_x.npy", 7)];
        Model { graph, qconfig: "x86", calibration, runs }
    }

    /// The graph that is compiled.
    pub fn quantize(&self) -> Graph {
        let library = Library::builtin().expect("built in");
        let backend = library.backend("x86").expect("built in");
        let rules = library.rules_for(backend);
        let mapping = QConfigMapping::default_for(named(self.qconfig).expect("a name of the list"));
        let (canonical, _) = quantc_rewrite::canonicalize(&self.graph, &rules).expect("canonicalizes");
        let prepared = prepare_fx(&canonical, &mapping, backend).expect("prepares");
        let mut calibrator = Calibrator::new(&prepared).expect("calibrates");
        for batch in &self.calibration {
            calibrator.observe(batch).expect("calibrates");
        }
        let means = calibrator.input_means().clone();
        let mut converted =
            convert_to_reference_fx(&prepared, &calibrator.finish().expect("ranges")).expect("converts");
        correct_biases(&prepared, &mut converted, &means).expect("corrects");
        quantc_rewrite::lower_quantized(&converted.graph, &rules).expect("lowers").0
    }
}

/// Depthwise and grouped convolutions, a squeeze-and-excitation gate, a residual, a concatenation.
const IMAGES: &str = r#"graph images(%x: f32[N,3,17,13]) {
  param @stem: f32[24,3,3,3]
  param @stem.b: f32[24]
  param @dw: f32[24,1,3,3]
  param @dw.b: f32[24]
  param @wide: f32[24,1,5,5]
  param @grouped: f32[36,6,3,3]
  param @point: f32[24,36,1,1]
  param @point.b: f32[24]
  param @squeeze: f32[6,24,1,1]
  param @excite: f32[24,6,1,1]
  param @up: f32[24,12,2,2]
  param @fc: f32[10,48]
  param @fc.b: f32[10]
  %c1 = conv2d(%x, @stem, @stem.b) {stride=[2,2], padding=[1,1]}
  %h1 = hardswish(%c1)
  %d1 = conv2d(%h1, @dw, @dw.b) {padding=[1,1], groups=24}
  %r1 = relu6(%d1)
  %g1 = conv2d(%r1, @grouped) {padding=[1,1], groups=4}
  %r2 = relu(%g1)
  %p1 = conv2d(%r2, @point, @point.b)
  %a1 = add(%p1, %h1)
  %s1 = adaptive_avg_pool2d(%a1) {output_size=[1,1]}
  %s2 = conv2d(%s1, @squeeze)
  %s3 = relu(%s2)
  %s4 = conv2d(%s3, @excite)
  %s5 = hardsigmoid(%s4)
  %m1 = mul(%a1, %s5)
  %d2 = conv2d(%m1, @wide) {padding=[2,2], groups=24}
  %k1 = cat(%d2, %m1) {dim=1}
  %k2 = max_pool2d(%k1) {kernel_size=[2,2], stride=[2,2]}
  %f1 = mean(%k2) {dims=[2,3]}
  %y = linear(%f1, @fc, @fc.b)
  %t1 = conv_transpose2d(%m1, @up) {stride=[2,2], groups=2}
  return y=%y, t=%t1
}"#;

/// Dense, depthwise, dilated and transposed convolutions of one dimension.
const SIGNALS: &str = r#"graph signals(%x: f32[N,5,61]) {
  param @w1: f32[16,5,7]
  param @b1: f32[16]
  param @w2: f32[16,1,5]
  param @w3: f32[24,16,1]
  param @w4: f32[24,6,3]
  param @w5: f32[24,12,4]
  param @fc: f32[7,12]
  %c1 = conv1d(%x, @w1, @b1) {stride=[2], padding=[3]}
  %l1 = leaky_relu(%c1) {negative_slope=0.1}
  %c2 = conv1d(%l1, @w2) {padding=[4], dilation=[2], groups=16}
  %c3 = conv1d(%c2, @w3)
  %r3 = relu(%c3)
  %m3 = max_pool1d(%r3) {kernel_size=[2], stride=[2]}
  %c4 = conv1d(%m3, @w4) {padding=[1], groups=4}
  %e4 = elu(%c4)
  %t5 = conv_transpose1d(%e4, @w5) {stride=[2]}
  %p5 = mean(%t5) {dims=[2]}
  %y = linear(%p5, @fc)
  return y=%y, t=%t5
}"#;

/// Each model and its name.
pub fn models() -> Vec<(&'static str, Model)> {
    let smaller = [("384", "48"), ("1536", "96"), ("\"heads\": 12", "\"heads\": 3")];
    let narrow = [("224", "24"), ("512", "48"), ("256", "40"), ("128", "32")];
    let encoder = |qconfig| Model::shipped("transformer_encoder.json", &smaller, qconfig, &[1, 5]);
    vec![
        ("demo", Model::demo()),
        ("mobilenet_v2", Model::shipped("mobilenet_v2.json", &[("224", "32")], "x86", &[1])),
        ("resnet18", Model::shipped("resnet18.json", &narrow, "x86", &[1])),
        ("transformer_encoder", encoder("x86")),
        ("transformer_encoder, dynamic", encoder("dynamic")),
        ("lstm_classifier", Model::shipped("lstm_classifier.json", &[], "x86", &[3])),
        ("images", Model::text(IMAGES, "x86")),
        ("signals", Model::text(SIGNALS, "x86")),
        ("random 1", Model::random(1, 40)),
        ("random 2", Model::random(2, 40)),
        ("random 3", Model::random(3, 40)),
    ]
}
