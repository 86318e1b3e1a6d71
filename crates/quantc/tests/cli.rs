//! The commands on the embedded model, as a user would run them.

mod common;

use std::path::Path;

use common::{arg, demo, ok, ok_json, quantc, quantc_where, quantize_demo, refused};

#[test]
fn quantize_eval_compare_bench_inspect_explain() {
    let folder = tempfile::tempdir().expect("folder");
    let qtc = quantize_demo(folder.path());
    let (model, preprocess) = (demo("digits_cnn.onnx"), demo("digits_preprocess.json"));
    let (x, y) = (demo("digits_test_x.npy"), demo("digits_test_y.npy"));
    let at = folder.path();
    let score = |m: &str| {
        let common = ["--data", arg(&x), "--labels", arg(&y), "--preprocess", arg(&preprocess), "--json"];
        ok_json(at, &[&["eval", m][..], &common].concat())
    };
    let (float, int8) = (score(arg(&model)), score(arg(&qtc)));
    assert_eq!(float["samples"], 450);
    let top1 = |v: &serde_json::Value| v["top1"].as_f64().expect("a number");
    // 445 of 450 with onnxruntime; the int8 model may lose one point.
    assert!((top1(&float) - 445.0 / 450.0).abs() < 1e-9, "{float}");
    assert!(top1(&int8) > top1(&float) - 0.01, "{int8}");

    let compared = ["compare", arg(&model), arg(&qtc), "--data", arg(&x), "--preprocess", arg(&preprocess), "--json"];
    let compared = ok_json(at, &compared);
    assert_eq!(compared["outputs"][0]["name"], "logits");
    assert!(compared["outputs"][0]["sqnr_db"].as_f64().expect("a number") > 25.0, "{compared}");
    assert!(compared["top1_agreement"].as_f64().expect("a number") > 0.98, "{compared}");

    let bench = ok_json(at, &["bench", arg(&qtc), "--runs", "3", "--batch", "2", "--json"]);
    for key in ["median_ms", "min_ms", "p90_ms", "isa", "threads"] {
        assert!(!bench[key].is_null(), "{key}: {bench}");
    }
    let timed = ok_json(at, &["bench", arg(&qtc), "--runs", "3", "--per-layer", "--json"]);
    let inspected = ok_json(at, &["inspect", arg(&qtc), "--json"]);
    let steps = inspected["steps"].as_array().expect("steps");
    assert!(steps.len() > 5, "{inspected}");
    let kernels = |steps: &serde_json::Value| -> Vec<String> {
        steps.as_array().expect("steps").iter().map(|s| s["kernel"].to_string()).collect()
    };
    assert_eq!(kernels(&timed["layers"]), kernels(&inspected["steps"]));
    let arena = inspected["memory"]["arena"].as_u64().expect("bytes");
    for step in steps {
        for range in step["writes"].as_array().expect("ranges") {
            assert!(range[0].as_u64() < range[1].as_u64() && range[1].as_u64() <= Some(arena), "{step}");
        }
    }
    let explained = ok(at, &["explain", arg(&qtc)]);
    assert!(explained.contains("quantized (static)") && explained.contains("zero point"), "{explained}");
    assert!(explained.contains("runs as quantized.conv2d ("), "{explained}");
}

#[test]
fn run_stores_every_output_and_any_number_of_samples() {
    let folder = tempfile::tempdir().expect("folder");
    let qtc = quantize_demo(folder.path());
    let (x, preprocess) = (demo("digits_test_x.npy"), demo("digits_preprocess.json"));
    let run = ["run", arg(&qtc), "--input", arg(&x), "-o", "y.npz", "--preprocess", arg(&preprocess)];
    for threads in ["1", "2"] {
        ok(folder.path(), &[&run[..], &["--threads", threads]].concat());
        let file = std::fs::File::open(folder.path().join("y.npz")).expect("written");
        let mut npz = ndarray_npy::NpzReader::new(file).expect("npz");
        let logits: ndarray::Array2<f32> = npz.by_name("logits").expect("the output");
        assert_eq!(logits.dim(), (450, 10));
    }
}

#[test]
fn stages_are_emitted_in_the_text_form_and_the_last_one_runs() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, calibration) = (demo("digits_cnn.onnx"), demo("digits_calib_x.npy"));
    let preprocess = demo("digits_preprocess.json");
    let mut args = vec!["quantize", arg(&model), "-o", "m.qtc", "--calibration", arg(&calibration)];
    args.extend(["--preprocess", arg(&preprocess), "--emit"]);
    let stages = ["imported", "canonical", "prepared", "converted", "quantized"];
    let emits: Vec<String> = stages.iter().map(|s| format!("{s}={s}.qg")).collect();
    args.extend(emits.iter().map(String::as_str));
    ok(folder.path(), &args);
    for stage in stages {
        let text = std::fs::read_to_string(folder.path().join(format!("{stage}.qg"))).expect("emitted");
        let graph = quantc_ir::text::parse(&text).unwrap_or_else(|e| panic!("{stage}: {e}"));
        graph.verify().unwrap_or_else(|e| panic!("{stage}: {e}"));
    }
    assert!(std::fs::read_to_string(folder.path().join("prepared.qg")).expect("emitted").contains("observer("));
    let quantized = std::fs::read_to_string(folder.path().join("quantized.qg")).expect("emitted");
    assert!(quantized.contains("quantized.conv2d(") && !quantized.contains("batch_norm("), "{quantized}");
}

#[test]
fn dynamic_mode_needs_no_data() {
    let folder = tempfile::tempdir().expect("folder");
    let model = demo("digits_cnn.onnx");
    ok(folder.path(), &["quantize", arg(&model), "-o", "d.qtc", "--mode", "dynamic"]);
    let explained = ok(folder.path(), &["explain", "d.qtc"]);
    assert!(explained.contains("quantized (dynamic)"), "{explained}");
    // The answer to "are the activations quantized?", with what runs.
    assert!(explained.contains("input: quantized at each call to u8 (0..255)"), "{explained}");
    assert!(explained.contains("the bias rounded to an integer; output: f32"), "{explained}");
    assert!(explained.contains("runs as quantized.linear_dynamic ("), "{explained}");
    assert!(explained.contains("float: "), "convolutions have no dynamic form: {explained}");
}

#[test]
fn trace_prints_a_graph_that_parses() {
    let folder = tempfile::tempdir().expect("folder");
    let model = demo("digits_cnn.onnx");
    let text = ok(folder.path(), &["trace", arg(&model)]);
    let graph = quantc_ir::text::parse(&text).expect("parses");
    assert_eq!(graph.to_string(), text);
    assert!(ok(folder.path(), &["trace", arg(&model), "--format", "dot"]).starts_with("digraph"));
    assert!(ok(folder.path(), &["trace", arg(&model), "--format", "table"]).starts_with("opcode"));
}

#[test]
fn demo_reports_both_models() {
    let folder = tempfile::tempdir().expect("folder");
    let result = ok_json(folder.path(), &["demo", "--json"]);
    assert!(result["int8"]["top1"].as_f64().expect("a number") > 0.97, "{result}");
    assert!(result["int8"]["bytes"].as_u64() < result["float"]["bytes"].as_u64(), "{result}");
}

#[test]
fn the_plan_is_a_stage() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, calibration) = (demo("digits_cnn.onnx"), demo("digits_calib_x.npy"));
    let preprocess = demo("digits_preprocess.json");
    let command = ["quantize", arg(&model), "-o", "digits.qtc", "--calibration", arg(&calibration)];
    let emit = ["--preprocess", arg(&preprocess), "--emit", "plan=plan.txt"];
    ok(folder.path(), &[&command[..], &emit].concat());
    let plan = std::fs::read_to_string(folder.path().join("plan.txt")).expect("written");
    let inspected = ok(folder.path(), &["inspect", "digits.qtc"]);
    // The same steps at the same places of the arena, under the inputs and outputs.
    let steps = &plan[plan.find("plan on ").expect("the heading")..];
    assert!(inspected.ends_with(steps), "{plan}\n{inspected}");
    assert!(plan.starts_with("input ") && plan.contains("\noutput logits: f32[1,10] "), "{plan}");
    assert!(steps.contains("quantized.conv2d") && steps.contains(" nhwc "), "{plan}");
}

#[test]
fn emitted_graphs_run() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let (model, x) = (demo("digits_cnn.onnx"), demo("digits_test_x.npy"));
    let (calibration, preprocess) = (demo("digits_calib_x.npy"), demo("digits_preprocess.json"));
    let quantize = ["quantize", arg(&model), "-o", "digits.qtc", "--calibration", arg(&calibration)];
    let emit = ["--emit", "imported=a.qg", "canonical=b.qg", "converted=c.qg", "quantized=d.qg", "plan=e.txt"];
    ok(at, &[&quantize[..], &emit, &["--preprocess", arg(&preprocess)]].concat());
    let answers = |model: &str| {
        ok(at, &["run", model, "--input", arg(&x), "--preprocess", arg(&preprocess), "-o", "y.npz"]);
        ::quantc::data::read_arrays(&at.join("y.npz")).expect("read").remove(0).1.all().expect("read")
    };
    let (float, int8) = (answers(arg(&model)), answers("digits.qtc"));
    for (graph, expected) in [("a.qg", &float), ("b.qg", &float), ("c.qg", &int8), ("d.qg", &int8)] {
        assert!(answers(graph).bits_eq(expected), "{graph}");
    }
    ok(
        at,
        &["quantize", "a.qg", "-o", "again.qtc", "--calibration", arg(&calibration), "--preprocess", arg(&preprocess)],
    );
    assert!(answers("again.qtc").bits_eq(&int8));
    std::fs::write(at.join("d.qg.safetensors"), "text").expect("written");
    let out = quantc(at, &["run", "d.qg", "--input", arg(&x), "--preprocess", arg(&preprocess), "-o", "z.npz"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("d.qg.safetensors: is no safetensors file"));
}

#[test]
fn no_output_replaces_the_model_or_another_output() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let bytes = std::fs::read(demo("digits_cnn.onnx")).expect("there");
    for name in ["m.onnx", "m.qtc"] {
        std::fs::write(at.join(name), &bytes).expect("written");
    }
    for (args, message) in [
        (&["quantize", "m.onnx", "-o", "m.onnx"][..], "must be a .qtc file"),
        (&["quantize", "m.qtc", "-o", "./m.qtc"], "the compiled model would replace the model"),
        (&["quantize", "m.onnx", "-o", "a.qtc", "--emit", "imported=m.onnx"], "would replace the model"),
        (&["quantize", "m.onnx", "-o", "x.qtc", "--calibration", "x.qtc"], "would replace the calibration data"),
        (&["run", "m.onnx", "--input", "x.npz", "-o", "./x.npz"], "would replace the data"),
        (&["rewrite", "g.qg", "-o", "g.qg"], "would replace the model"),
        (&["rewrite", "m.onnx", "-o", "out"], "must be a .qg file"),
        (&["quantize", "m.onnx", "-o", "a.qtc", "--emit", "imported=a.qtc"], "would replace the compiled model"),
        (
            &["quantize", "m.onnx", "-o", "a.qtc", "--emit", "imported=b", "canonical=b"],
            "would replace the graph of a stage",
        ),
        (
            &["quantize", "m.onnx", "-o", "a.qtc", "--mode", "dynamic", "--qconfig", "x86"],
            "the QConfig `x86` is static",
        ),
    ] {
        let out = quantc(at, args);
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
    assert_eq!(std::fs::read(at.join("m.onnx")).expect("there"), bytes);
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let (model, calibration) = (demo("digits_cnn.onnx"), demo("digits_calib_x.npy"));
    let preprocess = demo("digits_preprocess.json");
    let mapping = r#"{"global": "x86", "object_type": [["conv3d", null]], "module_name_regex": [["st", null], ["stem", "x86"], ["nowhere", null]]}"#;
    std::fs::write(at.join("mapping.json"), mapping).expect("written");
    let base =
        ["quantize", arg(&model), "-o", "a.qtc", "--preprocess", arg(&preprocess), "--calibration", arg(&calibration)];
    let warnings = |args: &[&str]| {
        let json: serde_json::Value =
            serde_json::from_str(&ok(at, &[&base[..], args, &["--json"]].concat())).expect("JSON");
        json["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|w| w.as_str().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    assert!(warnings(&[]).is_empty());
    assert_eq!(
        warnings(&["--qconfig-mapping", "mapping.json"]),
        [
            "the entry `module_name_regex stem` of the mapping has no effect",
            "the entry `module_name_regex nowhere` of the mapping has no effect",
            "`module_name_regex st` comes before `module_name_regex stem` for stem.1 and 1 more: of the regular expressions that match, the one \
             registered first wins"
        ]
    );
    let nothing = warnings(&["--qconfig", "qnnpack_symmetric"]);
    assert!(nothing.len() == 1 && nothing[0].starts_with("nothing is quantized; "), "{nothing:?}");
}

/// Of a folder of patterns the eager workflow uses the rules for quantized graphs, and says that it uses no more.
#[test]
fn patterns_of_the_eager_workflow_are_rules() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let model = r#"{"inputs": {"x": "f32[N,4]"}, "outputs": ["y"], "modules": {"fc": {"type": "Linear", "in_features": 4, "out_features": 4}},
        "forward": ["return relu(relu(fc(x)))"]}"#;
    std::fs::write(at.join("m.json"), model).expect("written");
    std::fs::create_dir(at.join("own")).expect("created");
    let rule = "(phase lower) (rule twice :doc \"d\" :class exact :match (relu (relu ?x)) :replace (relu ?x)
        :inputs (x f32[2]) :example (relu (relu x)) => (relu x))";
    std::fs::write(at.join("own/own.qpat"), rule).expect("written");
    let base = ["quantize", "m.json", "-o", "m.qtc", "--workflow", "eager", "--mode", "dynamic", "--json"];
    let json: serde_json::Value =
        serde_json::from_str(&ok(at, &[&base[..], &["--patterns", "own"]].concat())).expect("JSON");
    assert!(json["warnings"][0].as_str().is_some_and(|w| w.starts_with("--patterns: in eager mode")), "{json}");
    assert!(!ok(at, &["trace", "m.qtc"]).contains("= relu("));
    ok(at, &base);
    assert!(ok(at, &["trace", "m.qtc"]).contains("= relu("));
}

/// A default mapping printed by one command is read by another.
#[test]
fn mappings_are_printed_read_and_resolved() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let printed = ok(at, &["qconfig-mapping", "default", "qnnpack"]);
    std::fs::write(at.join("qnnpack.json"), &printed).expect("written");
    let graph = "graph g(%x: f32[N,2]) {\n  param @w: f32[2,2] = [1, 2, 3, 4]\n  %fc = linear(%x, @w) : f32[N,2]  # body.fc: Linear(linear, 0)\n  %y = sigmoid(%fc) : f32[N,2]  # body.act: Sigmoid(sigmoid, 0)\n  return y=%y\n}\n";
    std::fs::write(at.join("m.qg"), graph).expect("written");
    let mapping = r#"{"": "x86", "object_type": [["torch.nn.Linear", "qnnpack"], ["conv2d", null]], "module_name_regex": [["body.fc", null]],
        "module_name": [["body", "fbgemm"]]}"#;
    std::fs::write(at.join("mine.json"), mapping).expect("written");
    insta::assert_snapshot!(
        "resolved_default_mapping",
        ok(at, &["qconfig-mapping", "resolve", "m.qg", "qnnpack.json"])
    );
    insta::assert_snapshot!("resolved_mapping", ok(at, &["qconfig-mapping", "resolve", "m.qg", "mine.json"]));
    let json: serde_json::Value =
        serde_json::from_str(&ok(at, &["qconfig-mapping", "resolve", "m.qg", "mine.json", "--json"])).expect("JSON");
    assert_eq!(json["calls"][0]["entry"], "module_name body");
    assert_eq!(json["shadowed"][1]["surprise"], "ancestor_before_regex");
    assert_eq!(json["unused"][0], "object_type torch.nn.Linear");
    let samples = ndarray::Array2::from_shape_fn((8, 2), |(i, j)| (2 * i + j) as f32 / 8.0 - 1.0);
    ndarray_npy::write_npy(at.join("x.npy"), &samples).expect("written");
    for placement in ["quantc", "pytorch"] {
        let args = ["quantize", "m.qg", "-o", "m.qtc", "--qconfig-mapping", "qnnpack.json", "--placement", placement];
        let args = [&args[..], &["--backend", "qnnpack", "--calibration", "x.npy"]].concat();
        ok(at, &args);
    }
    for (args, message) in [
        (&["qconfig-mapping", "default", "tpu"][..], "no default QConfig for the backend `tpu`"),
        (&["qconfig-mapping", "default", "x86", "--symmetric"], "PyTorch has it for qnnpack, not for x86"),
        (&["qconfig-mapping", "default", "--preset-version", "3"], "no default QConfig of version 3"),
    ] {
        assert!(refused(at, args).contains(message), "{args:?}");
    }
    std::fs::write(at.join("wrong.json"), r#"{"": "x86", "module_name": [["body.fd", null]]}"#).expect("written");
    let message = "`module_name body.fd`: the model has no module `body.fd` (hint: body.fc)";
    for args in [
        &["quantize", "m.qg", "-o", "n.qtc", "--qconfig-mapping", "wrong.json", "--calibration", "x.npy"][..],
        &["qconfig-mapping", "resolve", "m.qg", "wrong.json"],
    ] {
        assert!(refused(at, args).contains(message), "{}", refused(at, args));
    }
    assert!(!at.join("n.qtc").exists());
}

/// Integers from the file to the file, with the parameters that inspecting tells.
#[test]
fn integers_come_in_and_go_out() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let graph = "graph g(%x: f32[N,2]) {\n  param @w: f32[2,2] = [1, 2, 3, 4]\n  %y = linear(%x, @w) : f32[N,2]  # body.fc: Linear(linear, 0)\n  return y=%y\n}\n";
    std::fs::write(at.join("m.qg"), graph).expect("written");
    let samples = ndarray::Array2::from_shape_fn((8, 2), |(i, j)| (2 * i + j) as f32 / 4.0 - 2.0);
    ndarray_npy::write_npy(at.join("x.npy"), &samples).expect("written");
    std::fs::write(at.join("c.json"), r#"{"input_quantized_idxs": [0], "output_quantized_idxs": [0]}"#)
        .expect("written");
    let base = ["quantize", "m.qg", "--calibration", "x.npy", "-o"];
    ok(at, &[&base[..], &["m.qtc", "--prepare-custom-config", "c.json"]].concat());
    let inspected = ok_json(at, &["inspect", "m.qtc", "--json"]);
    let port = |kind: &str| {
        let port = &inspected[kind][0];
        assert_eq!(port["dtype"], "u8", "{inspected}");
        let number = |key: &str| port[key].as_f64().expect("a number") as f32;
        (number("scale"), number("zero_point"))
    };
    let ((x_scale, x_zero), (y_scale, y_zero)) = (port("quantized_inputs"), port("quantized_outputs"));
    assert!(ok(at, &["inspect", "m.qtc"]).contains("x: u8, scale "));
    let codes = samples.mapv(|v| ((v / x_scale).round_ties_even() + x_zero).clamp(0.0, 255.0) as u8);
    ndarray_npy::write_npy(at.join("q.npy"), &codes).expect("written");
    ok(at, &["run", "m.qtc", "--input", "q.npy", "-o", "y.npz"]);
    let mut npz = ndarray_npy::NpzReader::new(std::fs::File::open(at.join("y.npz")).expect("written")).expect("npz");
    let got: ndarray::Array2<u8> = npz.by_name("y.npy").expect("u8");
    for (row, x) in got.rows().into_iter().zip(samples.rows()) {
        let want = [x[0] + 2.0 * x[1], 3.0 * x[0] + 4.0 * x[1]];
        for (code, want) in row.iter().zip(want) {
            let real = (f32::from(*code) - y_zero) * y_scale;
            assert!((real - want).abs() < 2.0 * y_scale + 7.0 * x_scale, "{real} for {want}");
        }
    }
    std::fs::write(at.join("d.json"), r#"{"non_traceable_module_name": ["bady"]}"#).expect("written");
    let message = refused(at, &[&base[..], &["n.qtc", "--prepare-custom-config", "d.json"]].concat());
    assert!(message.contains("the model has no module called `bady` (hint: body)"), "{message}");
    assert!(!at.join("n.qtc").exists());
}

/// An LSTM under a global QConfig is quantized if the configuration names its class: step by step, on both sides of the cut of a graph that is too
/// large to be rewritten at once. A parameter that nothing reads any more is in the file if it is asked for.
#[test]
fn a_custom_configuration_quantizes_an_lstm_and_preserves_attributes() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lstm_classifier.json");
    common::write_array(&at.join("ids.npy"), &[4, 20], (0..80i64).map(|i| i * 37 % 500).collect());
    let config = r#"{"float_to_observed_custom_module_class": {"static": {"LSTM": "torch.ao.nn.quantizable.LSTM"}}, "preserved_attributes": ["fc.weight"]}"#;
    std::fs::write(at.join("c.json"), config).expect("written");
    let base = ["quantize", arg(&model), "--calibration", "ids.npy", "--emit", "quantized=q.qg", "-o"];
    let quantized = |extra: &[&str]| {
        ok(at, &[&base[..], &["m.qtc"], extra].concat());
        std::fs::read_to_string(at.join("q.qg")).expect("emitted")
    };
    let plain = quantized(&[]);
    assert!(plain.contains("= lstm(") && !plain.contains("param @fc.weight:"), "{plain}");
    let custom = quantized(&["--prepare-custom-config", "c.json"]);
    let float = ["= lstm(", "= linear(", "= mul(", "= add(", "= quantize_", "= dequantize_"];
    assert!(float.iter().all(|op| !custom.contains(op)), "{custom}");
    assert_eq!(custom.matches("= quantized.linear(").count(), 81);
    assert!(custom.contains("param @fc.weight: f32"), "{custom}");
    let compared = ok_json(at, &["compare", arg(&model), "m.qtc", "--data", "ids.npy", "--json"]);
    assert!(compared["outputs"][0]["sqnr_db"].as_f64().expect("a number") > 15.0, "{compared}");
    std::fs::write(at.join("d.json"), r#"{"preserved_attributes": ["fc.wait"]}"#).expect("written");
    let message = refused(at, &[&base[..], &["n.qtc", "--prepare-custom-config", "d.json"]].concat());
    assert!(message.contains("the model has no parameter `fc.wait` (hint: fc.weight)"), "{message}");
}

#[test]
fn a_plan_of_open_sizes_takes_shapes() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let graph = "graph g(%x: f32[N,S,2]) {\n  param @w: f32[2,2] = [1, 2, 3, 4]\n  %y = linear(%x, @w) : f32[N,S,2]\n  return y=%y\n}\n";
    std::fs::write(at.join("m.qg"), graph).expect("written");
    let command = ["quantize", "m.qg", "-o", "m.qtc", "--mode", "dynamic", "--emit", "canonical=c.qg", "plan=p.txt"];
    let message = refused(at, &command);
    assert!(message.contains("--shape x=D,D,..."), "{message}");
    assert!(!at.join("m.qtc").exists() && !at.join("c.qg").exists());
    ok(at, &[&command[..], &["--shape", "x=1,7,2"]].concat());
    assert!(std::fs::read_to_string(at.join("p.txt")).expect("written").contains("output y: f32[1,7,2]"));
    // A stage that is quantized already is no float model.
    ok(at, &["quantize", "m.qg", "-o", "m.qtc", "--mode", "dynamic", "--emit", "quantized=q.qg"]);
    assert!(refused(at, &["quantize", "q.qg", "-o", "n.qtc", "--mode", "dynamic"]).contains("already quantized"));
}

#[test]
fn a_rule_is_asked_about_from_any_node_and_by_the_name_of_its_definition() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let graph = "graph g(%x: f32[2,8], %z: f32[2,8]) {\n  %s = sigmoid(%x)\n  %m = mul(%s, %z)\n  %a = relu6(%m)\n  \
                 %b = relu6(%a)\n  return y=%b\n}\n";
    std::fs::write(at.join("g.qg"), graph).expect("written");
    let ask = |args: &[&str]| ok(at, &[&["rewrite", "g.qg", "--why-not"], args].concat());
    assert_eq!(
        ask(&["silu", "--at", "s"]),
        "silu at m, with s at mul[0]: 2 of 2 calls match, then at mul[1]: ?x is bound to x, here it would be z\n"
    );
    assert_eq!(ask(&["relu-of-relu"]), "relu-of-relu/relu6 matches at b: in the result\n");
    // The two are one value.
    assert_eq!(ask(&["relu-of-relu", "--at", "a"]), "relu-of-relu/relu6 matches at b: in the result\n");
    assert_eq!(
        ask(&["batch-norm-of-conv"]),
        "batch-norm-of-conv: nothing in the graph has even the operator at its root\n"
    );
    let others = ok(at, &["rewrite", "g.qg", "--not-chosen"]);
    assert_eq!(others, "there is no result of a rule that could be chosen instead\n");
    let json = ok_json(at, &["rewrite", "g.qg", "--why-not", "silu", "--at", "s", "--json"]);
    let miss = &json["why_not"]["misses"][0];
    assert_eq!((&miss["node"], &miss["stands"], &miss["matched"]), (&"m".into(), &"mul[0]".into(), &2.into()));
    for (args, message) in [
        (["--why-not", "relu-of-rellu"], "there is no rule `relu-of-rellu` (hint: did you mean `relu-of-relu`?)"),
        (["--why-not", "quantize-of-clamp"], "`quantize-of-clamp` is of phase lower"),
    ] {
        let text = refused(at, &[&["rewrite", "g.qg"][..], &args].concat());
        assert!(text.contains(message), "{text}");
    }
}

/// The calls that `explain` says are quantized, with mode and class.
fn quantized_calls(folder: &Path, qtc: &str) -> Vec<String> {
    let explained: serde_json::Value = ok_json(folder, &["explain", qtc, "--json"]);
    let nodes = explained.as_array().unwrap_or_else(|| panic!("{explained}"));
    let quantized = nodes.iter().filter(|n| n["decision"]["kind"] == "quantized");
    quantized
        .map(|n| format!("{} {} {}", n["name"], n["decision"]["mode"], n["decision"]["pattern"]).replace('"', ""))
        .collect()
}

#[test]
fn the_eager_workflow_fuses_calibrates_and_quantizes_dynamically() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let (cnn, classifier) = (models.join("eager_cnn.json"), models.join("lstm_classifier.json"));
    let x = (0..8 * 3 * 16 * 16).map(|i: usize| (i * 2_654_435_761 % 1000) as f32 / 500.0 - 1.0).collect();
    common::write_array(&at.join("x.npy"), &[8, 3, 16, 16], x);
    let eager = ["quantize", arg(&cnn), "-o", "m.qtc", "--workflow", "eager"];
    let fuse = ["--fuse", "stem,bn,relu", "blocks.0.conv,blocks.0.bn", "blocks.1.conv,blocks.1.bn"];
    ok(at, &[&eager[..], &fuse, &["--calibration", "x.npy", "--emit", "prepared=p.qg"]].concat());
    let all = quantized_calls(at, "m.qtc");
    assert!(std::fs::read_to_string(at.join("p.qg")).expect("emitted").contains("observer("));
    let compared = ok_json(at, &["compare", arg(&cnn), "m.qtc", "--data", "x.npy", "--json"]);
    assert!(compared["outputs"][0]["sqnr_db"].as_f64().expect("a number") > 30.0, "{compared}");

    let mapping = r#"{"": "fbgemm", "object_type": [["torch.nn.Linear", null]], "module_name": [["blocks.1", null]]}"#;
    std::fs::write(at.join("mapping.json"), mapping).expect("written");
    let message = refused(at, &[&eager[..], &["--qconfig-mapping", "mapping.json", "--calibration", "x.npy"]].concat());
    assert!(message.contains("a DeQuantStub is missing between them"), "{message}");
    let mapping = r#"{"object_type": [["Linear", "per_tensor_dynamic"], ["GRU", "per_tensor_dynamic"]]}"#;
    std::fs::write(at.join("mapping.json"), mapping).expect("written");
    let out = quantc(at, &[&eager[..], &["--qconfig-mapping", "mapping.json"]].concat());
    let stderr = String::from_utf8_lossy(&out.stderr);
    let unused = "the entry `object_type GRU` of the mapping has no effect: no module is of this type";
    assert!(out.status.success() && stderr.contains(unused), "{stderr}");
    let by_mapping = quantized_calls(at, "m.qtc");

    let mut dynamic = Vec::new();
    for extra in [
        &[][..],
        &["--dtype", "float16"],
        &["--dtype", "quint8"],
        &["--dtype", "quint4x2", "--qconfig-spec", "embedding"],
        &["--qconfig-spec", "fc"],
        &["--qconfig", "per_channel_dynamic_qconfig"],
    ] {
        let command = ["quantize", arg(&classifier), "-o", "d.qtc", "--workflow", "eager", "--mode", "dynamic"];
        ok(at, &[&command[..], extra].concat());
        dynamic.push(format!("{}: {}", extra.join(" "), quantized_calls(at, "d.qtc").join("; ")));
    }
    // Convolutions are in no default mapping.
    let command = ["quantize", arg(&cnn), "-o", "d.qtc", "--workflow", "eager", "--mode", "dynamic"];
    let command = [&command[..], &["--qconfig-spec", "Conv2d", "--mapping"]].concat();
    ok(at, &[&command[..], &["Conv2d=torch.ao.nn.quantized.dynamic.Conv2d"]].concat());
    dynamic.push(format!("convolutions: {}", quantized_calls(at, "d.qtc").join("; ")));
    let message = refused(at, &[&command[..], &["Conv2d=mine.Conv2d"]].concat());
    assert!(message.contains("torch.ao.nn.quantized.dynamic.Conv2d"), "{message}");
    insta::assert_snapshot!(format!(
        "static:\n{}\n\nmapping: {}\n\ndynamic\n{}",
        all.join("\n"),
        by_mapping.join("; "),
        dynamic.join("\n")
    ));
}

#[test]
fn isa_lists_the_tiers_whatever_is_asked_for() {
    let folder = tempfile::tempdir().expect("folder");
    let out = quantc_where("foo", folder.path(), &["isa"]);
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    assert!(out.status.success() && text.contains("portable") && !text.contains(" selected\n"), "{text}");
    assert!(text.contains("none is selected: unknown ISA tier `foo`"), "{text}");
    let out = quantc_where("foo", folder.path(), &["isa", "--json"]);
    let tiers: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(tiers.as_array().expect("tiers").iter().all(|tier| tier["selected"] == false), "{tiers}");
    let out = quantc_where("portable", folder.path(), &["isa"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("selected"));
}
