//! `quantc explain` says what runs: the calls of the compiled graph, whatever was decided.

mod common;

use common::{ok, write_array};

const CONVOLUTIONS: &str = r#"{
    "inputs": {"x": "f32[N,4,8,8]"}, "outputs": ["y"],
    "modules": {
        "c": {"type": "Conv2d", "in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1}, "relu": "ReLU",
        "pool": {"type": "MaxPool2d", "kernel_size": 2}, "unshuffle": {"type": "PixelUnshuffle", "downscale_factor": 2},
        "c2": {"type": "Conv2d", "in_channels": 16, "out_channels": 4, "kernel_size": 1}
    },
    "forward": ["return c2(unshuffle(pool(relu(c(x)))))"]
}"#;

const FUNCTIONS: &str = r#"{
    "inputs": {"x": "f32[N,8]"}, "outputs": ["y"],
    "modules": {
        "fc1": {"type": "Linear", "in_features": 8, "out_features": 8}, "elu": "ELU",
        "fc2": {"type": "Linear", "in_features": 8, "out_features": 8}, "ln": {"type": "LayerNorm", "normalized_shape": [8]},
        "fc3": {"type": "Linear", "in_features": 8, "out_features": 8}, "sig": "Sigmoid",
        "fc4": {"type": "Linear", "in_features": 8, "out_features": 8}
    },
    "forward": ["a = fc2(elu(fc1(x)))", "return fc4(sig(fc3(ln(a))))"]
}"#;

const ATTENTION: &str = r#"{
    "inputs": {"x": "f32[N,5,8]"}, "outputs": ["y"],
    "modules": {
        "quant": "QuantStub", "mha": {"type": "MultiheadAttention", "batch_first": true, "embed_dim": 8, "num_heads": 2},
        "fc": {"type": "Linear", "in_features": 8, "out_features": 4}, "dequant": "DeQuantStub"
    },
    "forward": ["x = quant(x)", "return dequant(fc(mha(x, x, x)))"]
}"#;

const BAG: &str = r#"{
    "inputs": {"ids": "i64[N,6]"}, "outputs": ["y"],
    "modules": {
        "emb": {"type": "EmbeddingBag", "num_embeddings": 50, "embedding_dim": 16, "mode": "sum"},
        "fc": {"type": "Linear", "in_features": 16, "out_features": 4}
    },
    "forward": ["return fc(emb(ids))"]
}"#;

/// What `explain` prints about a description, quantized with these arguments and samples of a shape (none if it is empty).
fn explain(model: &str, shape: &[usize], mapping: &str, args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let mut command = vec!["quantize", "m.json", "-o", "m.qtc"];
    write("m.json", model);
    if !mapping.is_empty() {
        write("mapping.json", mapping);
        command.extend(["--qconfig-mapping", "mapping.json"]);
    }
    if !shape.is_empty() {
        let values = (0..shape.iter().product()).map(|i: usize| (i * 2_654_435_761 % 1000) as f32 / 500.0 - 1.0);
        write_array(&folder.path().join("x.npy"), shape, values.collect());
        command.extend(["--calibration", "x.npy"]);
    }
    command.extend(args);
    ok(folder.path(), &command);
    ok(folder.path(), &["explain", "m.qtc"])
}

/// Its decision about a node (`float` or `quantized`) and what it says that the node runs as.
fn runs(explained: &str, node: &str) -> String {
    let mut lines = explained.lines().skip_while(|l| !l.starts_with(&format!("{node} = "))).skip(1);
    let decision = lines.next().unwrap_or_else(|| panic!("no node {node}: {explained}")).trim();
    let decision = decision.split([':', ' ']).next().unwrap_or_default();
    let line = lines.take_while(|l| l.starts_with(' ')).find(|l| l.starts_with("  runs as "));
    format!("{decision}, {}", line.unwrap_or_else(|| panic!("{node} runs as nothing: {explained}")).trim())
}

fn assert_runs(explained: &str, expected: &[(&str, &str)]) {
    for (node, text) in expected {
        assert_eq!(runs(explained, node), *text, "{node}: {explained}");
    }
}

/// Readers have the origins of what they read.
#[test]
fn movement_runs_on_codes_and_is_not_its_reader() {
    let explained = explain(CONVOLUTIONS, &[8, 4, 8, 8], "", &[]);
    let expected = [
        ("c", "quantized, runs as quantized.conv2d (relu.quantize) on u8"),
        ("relu", "quantized, runs as quantized.conv2d (relu.quantize) on u8"),
        ("pool", "quantized, runs as max_pool2d (pool) on u8"),
        ("unshuffle.reshape", "quantized, runs as reshape (unshuffle.reshape) on u8"),
        ("unshuffle.permute", "quantized, runs as permute (unshuffle.permute) on u8"),
        ("unshuffle", "quantized, runs as reshape (unshuffle) on u8"),
        ("c2", "quantized, runs as quantized.conv2d (c2) from u8 to f32"),
    ];
    assert_runs(&explained, &expected);
}

#[test]
fn operators_without_a_qconfig_run_as_their_neighbours_do() {
    let mapping = r#"{"": "x86", "module_name": [["elu", null], ["ln", null], ["sig", null]]}"#;
    let explained = explain(FUNCTIONS, &[16, 8], mapping, &["--backend", "native", "--placement", "pytorch"]);
    let expected = [
        ("fc1", "quantized, runs as quantized.linear (fc1.quantize) on u8"),
        ("elu", "float, runs as quantized.lookup (elu.quantize) on u8: its neighbours are quantized"),
        ("ln", "float, runs as quantized.layer_norm (ln.quantize) on u8: its neighbours are quantized"),
        ("sig", "float, runs as quantized.lookup (sig.quantize) on u8: its neighbours are quantized"),
    ];
    assert_runs(&explained, &expected);
}

#[test]
fn quantized_operators_between_floats_run_as_floats() {
    let mapping = r#"{"": "x86", "module_name": [["fc2", null], ["fc4", null]]}"#;
    let explained = explain(FUNCTIONS, &[16, 8], mapping, &[]);
    let expected = [
        ("fc1", "quantized, runs as quantized.linear (fc1) from u8 to f32"),
        ("elu", "quantized, runs as elu (elu) on f32"),
        ("fc2", "float, runs as linear (fc2) on f32"),
        ("sig", "quantized, runs as sigmoid (sig) on f32"),
    ];
    assert_runs(&explained, &expected);
}

#[test]
fn eager_attention_runs_as_its_graph_says() {
    let explained = explain(ATTENTION, &[8, 5, 8], "", &["--workflow", "eager"]);
    let expected = [
        ("mha.reshape", "quantized, runs as reshape (mha.reshape) on u8"),
        ("mha.mul", "quantized, runs as mul (mha.mul) on f32"),
        ("mha.matmul", "float, runs as quantized.matmul (mha.matmul) from u8 to f32: its neighbours are quantized"),
        ("mha.softmax", "float, runs as softmax (mha.softmax) on f32"),
        ("mha", "quantized, runs as quantized.linear (mha.quantize) on u8"),
    ];
    assert_runs(&explained, &expected);
}

#[test]
fn tables_are_read_as_codes_in_either_workflow() {
    let eager = ["--workflow", "eager", "--mode", "dynamic", "--dtype", "quint4x2"];
    for args in [&eager[..], &["--qconfig", "float_qparams_weight_only_qconfig"]] {
        let explained = explain(BAG, &[], "", args);
        assert_runs(&explained, &[("emb", "quantized, runs as quantized.embedding_bag (emb) from i64 to f32")]);
        assert!(explained.contains("weight: codes, a scale and a zero point for each row"), "{explained}");
        assert!(!explained.contains("dequantized when the model is planned"), "{explained}");
    }
}

#[test]
fn weights_and_half_precision_have_a_line_too() {
    let of = |qconfig, backend| {
        let explained = explain(FUNCTIONS, &[], "", &["--qconfig", qconfig, "--backend", backend]);
        assert_runs(&explained, &[("fc1", "quantized, runs as linear (fc1) on f32")]);
        explained
    };
    assert!(of("float16_dynamic_qconfig", "native").contains("weights: rounded to half precision"));
    assert!(
        of("float16_static_qconfig", "native").contains("inputs, weights, bias and output: rounded to half precision")
    );
    assert!(
        of("default_weight_only_qconfig", "x86").contains("weight: integers, dequantized when the model is planned")
    );
}

#[test]
fn json_has_the_types_of_what_runs() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("m.json"), FUNCTIONS).expect("written");
    ok(folder.path(), &["quantize", "m.json", "-o", "m.qtc", "--mode", "dynamic"]);
    let explained = ok(folder.path(), &["explain", "m.qtc", "fc1", "--json"]);
    let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
    let expected = serde_json::json!([{
        "node": "fc1", "op": "quantized.linear_dynamic", "takes": ["f32"], "gives": ["f32"], "merged": false, "reduce_range": false,
    }]);
    assert_eq!(explained[0]["runs_as"], expected, "{explained}");
}
