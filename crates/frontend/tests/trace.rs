//! Tracing: the shipped descriptions, PyTorch's layouts, modules in Rust, and errors with positions.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use quantc_frontend::trace::{Description, Module, Proxy, TraceError, Tracer, Weights, nn};
use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_tensor::{DType, Tensor, TensorType};
use quantc_testkit::hashed::{hashed_input, with_hashed_params};
use quantc_testkit::workspace_root;

fn shipped(name: &str) -> Graph {
    let path = workspace_root().join("models").join(format!("{name}.json"));
    let graph =
        Description::from_file(&path).and_then(|d| d.trace(Weights::random(1))).unwrap_or_else(|e| panic!("{e}"));
    graph.verify().unwrap_or_else(|e| panic!("{name}: {e}"));
    graph
}

fn calls(graph: &Graph, op: &str) -> usize {
    graph.calls().filter(|id| graph.node(*id).is_op(op)).count()
}

/// Elements of what training would change.
fn parameter_count(graph: &Graph) -> usize {
    let learned = graph.params().iter().filter(|(name, _)| !name.contains("running_"));
    learned.map(|(_, p)| p.value.as_ref().map_or(0, Tensor::numel)).sum()
}

fn output_type(graph: &Graph) -> String {
    graph.ty(graph.outputs()[0].1).to_string()
}

#[test]
fn resnet18_is_torchvisions() {
    let graph = shipped("resnet18");
    assert_eq!(parameter_count(&graph), 11_689_512);
    assert_eq!(output_type(&graph), "f32[N,1000]");
    let counts = ["conv2d", "batch_norm", "relu", "add", "max_pool2d", "adaptive_avg_pool2d", "linear"]
        .map(|op| calls(&graph, op));
    assert_eq!(counts, [20, 20, 17, 8, 1, 1, 1]);
    let conv = graph.find("layer2.0.downsample.0").expect("named after its module");
    assert_eq!(graph.node(conv).origins()[0].to_string(), "layer2.0.downsample.0: Conv2d(conv2d, 0)");
    // The second call of one ReLU module.
    let relu = graph.find("layer1.0.relu_1").expect("named after its module");
    assert_eq!(graph.node(relu).origins()[0].to_string(), "layer1.0.relu: ReLU(relu, 1)");
    let x = Tensor::full(&[1, 3, 224, 224], 0.5f32);
    let out = Interpreter::new(&graph).run(&[("x", x)]).expect("runs");
    assert!(out[0].1.to_f32_vec().iter().all(|v| v.is_finite() && v.abs() < 1e4));
}

#[test]
fn eager_modules_carry_their_paths_and_types() {
    let text = r#"{"inputs": {"x": "f32[N,4]"}, "outputs": ["y"], "modules": {
        "body": {"type": "QuantWrapper", "module": {"type": "Linear", "in_features": 4, "out_features": 4}},
        "inner": [{"type": "QuantStub"}, "DeQuantStub"], "ff": "FloatFunctional"},
      "forward": ["a = inner(body(x))", "b = ff.add_relu(a, x)", "c = self.ff.mul_scalar(b, 2.0)", "return ff.cat(b, c, dim=1)"]}"#;
    let description = Description::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let modules: Vec<String> = description.modules().iter().map(|(path, ty)| format!("{path}: {ty}")).collect();
    assert_eq!(
        modules,
        [
            ": Module",
            "body: QuantWrapper",
            "body.quant: QuantStub",
            "body.dequant: DeQuantStub",
            "body.module: Linear",
            "inner: Sequential",
            "inner.0: QuantStub",
            "inner.1: DeQuantStub",
            "ff: FloatFunctional"
        ]
    );
    let graph = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{e}"));
    let origins: Vec<String> = graph.calls().map(|id| graph.node(id).origins()[0].to_string()).collect();
    assert_eq!(
        origins,
        [
            "body.quant: QuantStub(quant_stub, 0)",
            "body.module: Linear(linear, 0)",
            "body.dequant: DeQuantStub(dequant_stub, 0)",
            "inner.0: QuantStub(quant_stub, 0)",
            "inner.1: DeQuantStub(dequant_stub, 0)",
            "ff: FloatFunctional(add, 0)",
            "ff: FloatFunctional(relu, 0)",
            "ff: FloatFunctional(mul, 0)",
            "ff: FloatFunctional(cat, 0)"
        ]
    );
    assert_eq!(output_type(&graph), "f32[N,8]");
    for (call, message) in [
        ("ff(x)", "FloatFunctional has no forward"),
        ("ff.sub(x, x)", "there is no submodule or operator `ff.sub`"),
        ("ff.cat(x, x, axis=1)", "cat has no attribute `axis`"),
    ] {
        let wrong = text.replace("ff.add_relu(a, x)", call);
        let description = Description::parse(&wrong).unwrap_or_else(|e| panic!("{e}"));
        let error = description.trace(Weights::random(1)).expect_err(call);
        assert!(error.message.contains(message) && error.position.is_some(), "{error}");
    }
}

#[test]
fn mobilenet_v2_is_torchvisions() {
    let graph = shipped("mobilenet_v2");
    assert_eq!(parameter_count(&graph), 3_504_872);
    assert_eq!(output_type(&graph), "f32[N,1000]");
    let counts = ["conv2d", "batch_norm", "relu6", "add", "linear"].map(|op| calls(&graph, op));
    assert_eq!(counts, [52, 52, 35, 10, 1]);
}

#[test]
fn the_transformer_encoder_traces() {
    let graph = shipped("transformer_encoder");
    assert_eq!(output_type(&graph), "f32[N,S,384]");
    let ids = Tensor::from_vec(&[2, 7], (0..14i64).collect()).expect("14 ids");
    let out = Interpreter::new(&graph).run(&[("ids", ids)]).expect("runs");
    assert_eq!(out[0].1.shape(), [2, 7, 384]);
    insta::assert_snapshot!(graph.to_table());
}

#[test]
fn the_lstm_classifier_traces() {
    let graph = shipped("lstm_classifier");
    let ids = Tensor::from_vec(&[2, 20], (0..40i64).collect()).expect("40 ids");
    let out = Interpreter::new(&graph).run(&[("ids", ids)]).expect("runs");
    assert_eq!(out[0].1.shape(), [2, 4]);
    insta::assert_snapshot!(graph.to_table());
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

const PYTORCH_NET: &str = r#"{
  "name": "net",
  "inputs": {"ids": "i64[N,5]"},
  "outputs": ["y", "h", "c", "s"],
  "modules": {
    "embedding": {"type": "Embedding", "num_embeddings": 11, "embedding_dim": 6},
    "lstm": {"type": "LSTM", "input_size": 6, "hidden_size": 4, "num_layers": 2, "batch_first": true, "bidirectional": true},
    "gru": {"type": "GRU", "input_size": 8, "hidden_size": 6, "batch_first": true},
    "self_attn": {"type": "MultiheadAttention", "embed_dim": 6, "num_heads": 2, "batch_first": true},
    "cross_attn": {"type": "MultiheadAttention", "embed_dim": 6, "num_heads": 3, "batch_first": true},
    "norm": {"type": "LayerNorm", "normalized_shape": [6]},
    "bn": {"type": "BatchNorm1d", "num_features": 5},
    "conv": {"type": "Conv1d", "in_channels": 5, "out_channels": 4, "kernel_size": 3, "stride": 2, "padding": 1},
    "fc": {"type": "Linear", "in_features": 3, "out_features": 2}
  },
  "forward": [
    "e = embedding(ids)",
    "y, h, c = lstm(e)",
    "z, s = gru(y)",
    "a = self_attn(z)",
    "b = norm(cross_attn(a, z, e) + z)",
    "return fc(conv(bn(b))), h, c, s"
  ]
}"#;

#[test]
fn weights_in_pytorchs_layout_compute_what_pytorch_does() {
    let weights = Weights::from_file(&golden("trace.safetensors")).expect("golden weights");
    let graph = Description::parse(PYTORCH_NET).and_then(|d| d.trace(weights)).unwrap_or_else(|e| panic!("{e}"));
    graph.verify().expect("valid");
    let text = std::fs::read_to_string(golden("trace.json")).expect("golden outputs");
    let want: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let ids: Vec<i64> = serde_json::from_value(want["ids"].clone()).expect("ids");
    let ids = Tensor::from_vec(&[2, 5], ids).expect("10 ids");
    let outputs = Interpreter::new(&graph).run(&[("ids", ids)]).expect("runs");
    for ((name, got), want) in outputs.iter().zip(want["outputs"].as_array().expect("outputs")) {
        let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).expect("shape");
        let data: Vec<f32> = serde_json::from_value(want["data"].clone()).expect("data");
        assert_eq!(got.shape(), shape, "{name}");
        for (a, b) in got.to_f32_vec().iter().zip(&data) {
            assert!((a - b).abs() < 2e-6, "{name}: {a} is not {b}");
        }
    }
}

#[test]
fn leaf_modules_compute_what_pytorchs_do() {
    let text = std::fs::read_to_string(golden("modules.json")).expect("golden modules");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    for case in &cases {
        let text = case["description"].to_string();
        let description = Description::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let graph = description.trace(Weights::random(1)).unwrap_or_else(|e| panic!("{text}: {e}"));
        graph.verify().unwrap_or_else(|e| panic!("{text}: {e}"));
        let ty = description.name();
        let origins = graph.calls().flat_map(|id| graph.node(id).origins().to_vec());
        assert!(origins.into_iter().all(|o| *o.module_path == *"m" && *o.module_type == *ty), "{text}");
        let graph = with_hashed_params(&graph);
        let sizes = graph.ty(graph.placeholders().next().expect("one")).shape.to_known().expect("known sizes");
        let outputs = Interpreter::new(&graph).run(&[("x", hashed_input("c", "x", &sizes))]).expect("runs");
        let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).expect("shape");
        let data: Vec<f32> = serde_json::from_value(case["data"].clone()).expect("data");
        assert_eq!(outputs[0].1.shape(), shape, "{text}");
        // Sums in another order.
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 2e-6 * b.abs().max(1.0);
        let got = outputs[0].1.to_f32_vec();
        assert!(!got.iter().zip(&data).any(far), "{text}: {got:?} is not {data:?}");
    }
    assert!(cases.len() > 30, "{}", cases.len());
}

#[test]
fn leaf_modules_refuse_what_they_cannot_be() {
    let error = |input: &str, module: &str| {
        let text = format!(
            r#"{{"inputs": {{"x": "f32[{input}]"}}, "outputs": ["y"], "modules": {{"m": {module}}}, "forward": ["return m(x)"]}}"#
        );
        Description::parse(&text).and_then(|d| d.trace(Weights::random(5))).expect_err(module).to_string()
    };
    let transposed = r#"{"type": "ConvTranspose2d", "in_channels": 4, "out_channels": 6, "kernel_size": 2"#;
    let messages = [
        error("N,4,8,8", &format!("{transposed}, \"output_padding\": 1}}")),
        error("N,4,8,8", &format!("{transposed}, \"groups\": 4}}")),
        error("N,5,8,8", &format!("{transposed}}}")),
        error("N,4,8,8", r#"{"type": "GroupNorm", "num_groups": 3, "num_channels": 4}"#),
        error("N,4,8,8", r#"{"type": "GroupNorm", "num_groups": 2, "num_channels": 6}"#),
        error("N,4,8,8", r#"{"type": "InstanceNorm1d", "num_features": 4}"#),
        error("N,4,8,8", r#"{"type": "InstanceNorm2d", "num_features": 4, "track_running_stats": true}"#),
        error("N,4,8,8", r#"{"type": "MaxPool3d", "kernel_size": 2}"#),
        error("N,4,8,8", r#"{"type": "AdaptiveAvgPool3d", "output_size": [1, 2]}"#),
        error("N,4,8,8", r#""Upsample""#),
        error("N,4,8,8", r#"{"type": "Upsample", "scale_factor": 2, "size": 3}"#),
        error("N,4,8,8", r#"{"type": "Upsample", "size": 2.5}"#),
        error("N,4,8,8", r#"{"type": "Upsample", "scale_factor": 2, "mode": "bicubic"}"#),
        error("N,4,8,8", r#"{"type": "Upsample", "scale_factor": 2, "align_corners": true}"#),
        error("N,4,8,8", r#"{"type": "Upsample", "scale_factor": 2, "mode": "linear"}"#),
        error("N,4,8,8", r#"{"type": "PixelShuffle", "upscale_factor": 3}"#),
        error("N,4,7,8", r#"{"type": "PixelUnshuffle", "downscale_factor": 2}"#),
        error("N,4,H,8", r#"{"type": "PixelUnshuffle", "downscale_factor": 2}"#),
        error("N,4", r#"{"type": "CELU", "alpha": 0}"#),
        error("N,4", r#"{"type": "Threshold", "value": 0}"#),
        error("N,4", r#"{"type": "Hardtanh", "min_val": 2}"#),
        error("N,4", r#"{"type": "PReLU", "num_parameters": 3}"#),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn weights_must_fit_the_description() {
    let message = |from: &str, to: &str| {
        let weights = Weights::from_file(&golden("trace.safetensors")).expect("golden weights");
        let description = Description::parse(&PYTORCH_NET.replace(from, to)).expect("valid");
        let message = description.trace(weights).expect_err("must fail").to_string();
        message.replace(&golden("trace.safetensors").display().to_string(), "FILE")
    };
    let bias = "\"in_features\": 3, \"out_features\": 2";
    let messages = [
        message(bias, "\"in_features\": 3, \"out_features\": 7"),
        message(bias, "\"in_features\": 3, \"out_features\": 2, \"bias\": false"),
        message("\"fc\"", "\"classifier\"").replace("classifier", "fc2"),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

/// A residual block, in Rust.
struct Block {
    conv: nn::Conv,
    bn: nn::BatchNorm,
    relu: nn::Simple,
}

impl Block {
    fn new(channels: usize) -> Block {
        Block {
            conv: nn::Conv::new_2d(channels, channels, 3).padding(1).without_bias(),
            bn: nn::BatchNorm { dims: 2, num_features: channels, eps: 1e-5 },
            relu: nn::Simple::relu(),
        }
    }
}

impl Module for Block {
    fn type_name(&self) -> &str {
        "Block"
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let x = inputs[0];
        let y = t.module("conv", &self.conv, &[x])?;
        let y = t.module("bn", &self.bn, &y)?[0];
        let sum = y.add(t, x)?;
        t.module("relu", &self.relu, &[sum])
    }
}

/// Blocks, the mean of each channel, a classifier.
struct Net {
    blocks: nn::Sequential,
    fc: nn::Linear,
}

impl Module for Net {
    fn type_name(&self) -> &str {
        "Net"
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let y = t.module("blocks", &self.blocks, inputs)?[0];
        let mean = y.mean(t, &[2, 3], false)?;
        t.module("fc", &self.fc, &[mean])
    }
}

fn rust_net() -> Net {
    let blocks = nn::Sequential { modules: vec![Box::new(Block::new(4)), Box::new(Block::new(4))] };
    Net { blocks, fc: nn::Linear { in_features: 4, out_features: 3, bias: true } }
}

const JSON_NET: &str = r#"{
  "name": "net", "type": "Net", "inputs": {"x": "f32[1,4,8,8]"}, "outputs": ["y"],
  "define": {
    "Block": {
      "parameters": {"channels": 4},
      "modules": {
        "conv": {"type": "Conv2d", "in_channels": "$channels", "out_channels": "$channels", "kernel_size": [3, 3], "padding": 1, "bias": false},
        "bn": {"type": "BatchNorm2d", "num_features": "$channels"},
        "relu": "ReLU"
      },
      "forward": ["return relu(bn(conv(x)) + x)"]
    }
  },
  "modules": {
    "blocks": ["Block", {"type": "Block", "channels": 4}],
    "fc": {"type": "Linear", "in_features": 4, "out_features": 3}
  },
  "forward": ["y = blocks(x)", "return fc(mean(y, dims=[2, 3]))"]
}"#;

fn rust_input() -> (&'static str, TensorType) {
    ("x", TensorType::new(DType::F32, [1, 4, 8, 8].as_slice()))
}

#[test]
fn a_module_in_rust_and_its_description_give_one_graph() {
    let rust = Tracer::trace(&rust_net(), "net", &[rust_input()], &["y"], Weights::random(5)).expect("traces");
    let json = Description::parse(JSON_NET).and_then(|d| d.trace(Weights::random(5))).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(rust.to_string(), json.to_string());
    for ((name, a), b) in rust.params().iter().zip(json.params().values()) {
        let same = a.value.as_ref().zip(b.value.as_ref()).is_some_and(|(a, b)| a.bits_eq(b));
        assert!(same, "{name}");
    }
    insta::assert_snapshot!(rust.to_table());
}

#[test]
fn calls_inside_a_leaf_belong_to_the_leaf() {
    let mut tracer = Tracer::new("net", Weights::random(5));
    tracer.set_is_leaf(|_, ty, own| own || ty == "Block");
    let graph = tracer.run(&rust_net(), &[rust_input()], &["y"]).expect("traces");
    let conv = graph.find("blocks.0.conv").expect("keeps its name");
    assert_eq!(graph.node(conv).origins()[0].to_string(), "blocks.0: Block(conv2d, 0)");
    assert!(graph.params().contains_key("blocks.0.conv.weight"), "parameters keep the path of their own module");
}

#[test]
fn errors_have_the_line_and_the_module() {
    let error = |from: &str, to: &str| {
        assert!(JSON_NET.contains(from), "{from}");
        let description = Description::parse(&JSON_NET.replacen(from, to, 1));
        description.and_then(|d| d.trace(Weights::random(5))).expect_err(to).to_string()
    };
    let messages = [
        error("\"type\": \"Net\",", "\"type\": \"Net\""),
        error("\"inputs\"", "\"input\""),
        error("f32[1,4,8,8]", "f32 1x4x8x8"),
        error("\"BatchNorm2d\"", "\"BatchNorm\""),
        error("\"num_features\": \"$channels\"", "\"num_features\": \"$width\""),
        error("\"num_features\": \"$channels\"", "\"num_features\": \"$channels\", \"features\": 3"),
        error("\"num_features\": \"$channels\"", "\"num_features\": 2.5"),
        error(", \"kernel_size\": [3, 3]", ""),
        error("[3, 3]", "[3]"),
        error("{\"type\": \"Block\", \"channels\": 4}", "{\"type\": \"Block\", \"chanels\": 4}"),
        error("{\"channels\": 4}", "{\"channels\": null}"),
        error("return relu(bn(conv(x)) + x)", "return relu(bn(conv(x) + x)"),
        error("return relu(bn(conv(x)) + x)", "y = relu(bn(conv(x)) + x)"),
        error("return relu(bn(conv(x)) + x)", "return relu(bm(conv(x)) + x)"),
        error("return relu(bn(conv(x)) + x)", "return relu(bn(conv(x)) + y)"),
        error("mean(y, dims=[2, 3])", "mean(y, dim=[2, 3])"),
        error("mean(y, dims=[2, 3])", "mean(y, dims=2.5)"),
        error("mean(y, dims=[2, 3])", "mean(y, dims=[2, 7])"),
        error("\"in_features\": 4", "\"in_features\": 5"),
        error("\"padding\": 1", "\"padding\": 0"),
        error("\"modules\": {\n        \"conv\"", "\"modules\": {\n        \"loop\": \"Block\", \"conv\""),
        error("[\"y\"]", "[\"y\", \"z\"]"),
        error("[\"y\"]", "[\"y\", \"y\"]"),
        error("return fc(mean(y, dims=[2, 3]))", "return y, y"),
        error("\"Conv2d\"", "\"Conv9d\""),
        error("[3, 3]", "-1"),
        error("\"padding\": 1", "\"padding\": 1, \"groups\": 0"),
        error("\"padding\": 1", "\"padding\": 1,\n  \"bias\": true"),
        error("[\"Block\", ", "[{}, "),
        error("[\"y = blocks(x)\", \"return fc(mean(y, dims=[2, 3]))\"]", "[]"),
    ];
    insta::assert_snapshot!(messages.join("\n"));
    let missing = Description::from_file(Path::new("no/such.json")).err().expect("no file").to_string();
    assert!(missing.starts_with("no/such.json: can't read the description"), "{missing}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_descriptions_are_errors_never_panics(
        source in prop::sample::select(vec![JSON_NET, PYTORCH_NET]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,3}", 0..4usize), 1..4),
    ) {
        let mut text = source.to_owned();
        for (at, with, len) in edits {
            let at = at.index(text.len());
            let end = (at + len).min(text.len());
            text.replace_range(at..end, &with);
        }
        if let Ok(graph) = Description::parse(&text).and_then(|d| d.trace(Weights::random(1))) {
            prop_assert!(graph.verify().is_ok());
        }
    }
}
