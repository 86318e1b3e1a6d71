//! What the commands make of data: batches, element types, preprocessing, labels, outputs.

mod common;

use std::fs;

use common::{arg, demo, ok, refused, stored, write_array};

/// The text form of a graph with one input `x` and one output `y`.
fn graph(input: &str, calls: &str) -> String {
    format!("graph g(%x: {input}) {{\n{calls}\n  return y=%y\n}}\n")
}

#[test]
fn samples_that_depend_on_each_other_run_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    write_array(&at.join("x.npy"), &[40, 3], (0..120).map(|i| (i * 37 % 11) as f32 / 5.0).collect());
    fs::write(at.join("m.qg"), graph("f32[N,3]", "  %y = softmax(%x) {dim=0} : f32[N,3]")).expect("written");
    ok(at, &["run", "m.qg", "--input", "x.npy", "-o", "y.npz"]);
    for sum in stored(&at.join("y.npz"), "y").sum_axis(ndarray::Axis(0)) {
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    fs::write(at.join("t.qg"), graph("f32[N,3]", "  %y = permute(%x) {dims=[1,0]} : f32[3,N]")).expect("written");
    ok(at, &["run", "t.qg", "--input", "x.npy", "-o", "y.npz"]);
    assert_eq!(stored(&at.join("y.npz"), "y").shape(), [3, 40]);
    let constant =
        graph("f32[N,3]", "  param @c: f32[2] = [1, 2]\n  %y = relu(%x) : f32[N,3]").replace("y=%y", "y=%y, c=@c");
    fs::write(at.join("c.qg"), constant).expect("written");
    ok(at, &["run", "c.qg", "--input", "x.npy", "-o", "y.npz"]);
    assert_eq!(stored(&at.join("y.npz"), "c").shape(), [2]);
}

#[test]
fn dynamic_ranges_do_not_depend_on_neighbours() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let calls = "  param @w: f32[2,3] = [0.5, -0.25, 1, 0.125, 2, -1]\n  %y = linear(%x, @w) : f32[N,2]";
    fs::write(at.join("m.qg"), graph("f32[N,3]", calls)).expect("written");
    ok(at, &["quantize", "m.qg", "-o", "m.qtc", "--mode", "dynamic"]);
    let rows = [[0.1f32, 0.2, -0.3], [100.0, -50.0, 7.0]];
    write_array(&at.join("one.npy"), &[1, 3], rows[0].to_vec());
    write_array(&at.join("two.npy"), &[2, 3], rows.concat());
    let first = |data: &str| {
        ok(at, &["run", "m.qtc", "--input", data, "-o", "y.npz"]);
        stored(&at.join("y.npz"), "y").index_axis(ndarray::Axis(0), 0).to_owned()
    };
    assert_eq!(first("one.npy"), first("two.npy"));
}

#[test]
fn numbers_that_an_input_cannot_hold() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("m.qg"), graph("u8[N]", "  %y = to(%x) {dtype=f32} : f32[N]")).expect("written");
    let run = ["run", "m.qg", "--input", "x.npy", "-o", "y.npz"];
    write_array(&at.join("x.npy"), &[20], (0..20).map(|i| if i == 18 { 300i64 } else { i }).collect());
    let message = refused(at, &run);
    assert!(message.contains("x.npy") && message.contains("300 at [18]") && message.contains("u8"), "{message}");
    write_array(&at.join("x.npy"), &[2], vec![1.0f32, 0.5]);
    assert!(refused(at, &run).contains("0.5 at [1]"));
    write_array(&at.join("x.npy"), &[2], vec![1.0f32, 255.0]);
    ok(at, &run);
    assert_eq!(stored(&at.join("y.npz"), "y").as_slice(), Some(&[1.0, 255.0][..]));
    // Types of files that tensors do not have.
    write_array(&at.join("x.npy"), &[2], vec![7u16, 255]);
    ok(at, &run);
    assert_eq!(stored(&at.join("y.npz"), "y").as_slice(), Some(&[7.0, 255.0][..]));
}

/// Half precision in a graph, its file of values, a compiled model, inputs and outputs.
#[test]
fn half_precision_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let n = 4096;
    let weights: Vec<f32> = (0..n).map(|i| (i % 37) as f32 / 8.0).collect();
    let calls = format!(
        "  param @w: f32[{n}]\n  %h = to(@w) {{dtype=f16}}\n  %wide = to(%h) {{dtype=f32}}\n  %r = to(%x) {{dtype=f32}}\n  %m = mul(%r, %wide)\n  \
         %y = to(%m) {{dtype=f16}}"
    );
    fs::write(at.join("m.qg"), graph(&format!("f16[N,{n}]"), &calls)).expect("written");
    let bytes: Vec<u8> = weights.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![n], &bytes).expect("fits");
    let values = safetensors::serialize([("w", view)], None).expect("serializes");
    fs::write(at.join("m.qg.safetensors"), values).expect("written");
    ok(at, &["quantize", "m.qg", "-o", "m.qtc", "--mode", "dynamic", "--emit", "quantized=q.qg"]);
    let (emitted, model) = (fs::metadata(at.join("q.qg.safetensors")), fs::metadata(at.join("m.qtc")));
    assert!(emitted.expect("written").len() < 3 * n as u64, "two bytes for each weight");
    assert!(model.expect("written").len() < 3 * n as u64);
    write_array(&at.join("x.npy"), &[2, n], (0..2 * n).map(|i| (i % 3) as f32).collect());
    for model in ["m.qg", "q.qg", "m.qtc"] {
        ok(at, &["run", model, "--input", "x.npy", "-o", "y.npz"]);
        let y = stored(&at.join("y.npz"), "y");
        assert!(y.iter().enumerate().all(|(i, y)| *y == (i % 3) as f32 * weights[i % n]), "{model}");
    }
}

#[test]
fn preprocessing_is_for_one_input() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("m.qg"), graph("f32[N,4]", "  %y = relu(%x) : f32[N,4]")).expect("written");
    write_array(&at.join("x.npy"), &[2, 4], vec![1f32; 8]);
    let preprocess = demo("digits_preprocess.json");
    let run = ["run", "m.qg", "--input", "x.npy", "-o", "y.npz", "--preprocess", arg(&preprocess)];
    let message = refused(at, &run);
    assert!(message.contains("preprocessing") && message.contains("f32[N,4]"), "{message}");
}

#[test]
fn labels_are_classes() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("m.qg"), graph("f32[N,3]", "  %y = relu(%x) : f32[N,3]")).expect("written");
    write_array(&at.join("x.npy"), &[2, 3], vec![0f32, 1., 2., 3., 1., 0.]);
    let eval = ["eval", "m.qg", "--data", "x.npy", "--labels", "l.npy", "--json"];
    for bad in [vec![2f32, f32::NAN], vec![2.5, 0.0], vec![3.0, 0.0], vec![-1.0, 0.0]] {
        write_array(&at.join("l.npy"), &[2], bad);
        assert!(refused(at, &eval).contains("label"));
    }
    write_array(&at.join("l.npy"), &[2, 1], vec![2f32, 0.0]);
    let score: serde_json::Value = serde_json::from_str(&ok(at, &eval)).expect("JSON");
    assert_eq!(score["top1"], 1.0);
}

#[test]
fn nan_shows_in_a_comparison() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("log.qg"), graph("f32[N,2]", "  %y = log(%x) : f32[N,2]")).expect("written");
    fs::write(at.join("abs.qg"), graph("f32[N,2]", "  %a = abs(%x) : f32[N,2]\n  %y = log(%a) : f32[N,2]"))
        .expect("written");
    let named = graph("f32[N,2]", "  %y = log(%x) : f32[N,2]").replace("return y", "return z");
    fs::write(at.join("named.qg"), named).expect("written");
    write_array(&at.join("x.npy"), &[2, 2], vec![1f32, -2.0, 3.0, 4.0]);
    let message = refused(at, &["compare", "abs.qg", "log.qg", "--data", "x.npy", "--json"]);
    assert!(message.contains("`y`") && message.contains("0 and 1 NaN"), "{message}");
    let same = ok(at, &["compare", "log.qg", "log.qg", "--data", "x.npy", "--json"]);
    let same: serde_json::Value = serde_json::from_str(&same).expect("JSON");
    assert_eq!((&same["outputs"][0]["not_finite"], &same["outputs"][0]["max_abs"]), (&1.into(), &0.0.into()));
    let message = refused(at, &["compare", "log.qg", "named.qg", "--data", "x.npy"]);
    assert!(message.contains("different outputs: y and z"), "{message}");
}

#[test]
fn outputs_keep_their_names() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let text = "graph g(%x: f32[N]) {\n  %y = relu(%x) : f32[N]\n  return \"a/b\"=%y, a_b=%x\n}\n";
    fs::write(at.join("m.qg"), text).expect("written");
    write_array(&at.join("x.npy"), &[2], vec![-1f32, 1.0]);
    ok(at, &["run", "m.qg", "--input", "x.npy", "-o", "y.npz"]);
    assert_eq!(stored(&at.join("y.npz"), "a/b").as_slice(), Some(&[0.0, 1.0][..]));
    assert_eq!(stored(&at.join("y.npz"), "a_b").as_slice(), Some(&[-1.0, 1.0][..]));
}

#[test]
fn numbers_on_the_command_line_have_limits() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::write(at.join("m.qg"), graph("f32[N,3]", "  %y = relu(%x) : f32[N,3]")).expect("written");
    write_array(&at.join("x.npy"), &[1, 3], vec![1f32; 3]);
    let data = ["--data", "x.npy"];
    for threads in ["0", "1025", "18446744073709551615"] {
        let commands: [&[&str]; 4] = [
            &["run", "m.qg", "--input", "x.npy", "-o", "y.npz"],
            &[&["eval", "m.qg", "--labels", "x.npy"][..], &data].concat(),
            &[&["compare", "m.qg", "m.qg"][..], &data].concat(),
            &["bench", "m.qg"],
        ];
        for command in commands {
            assert!(refused(at, &[command, &["--threads", threads]].concat()).contains("--threads"));
        }
    }
    for (option, value) in [("--runs", "0"), ("--runs", "18446744073709551615"), ("--batch", "0")] {
        assert!(refused(at, &["bench", "m.qg", option, value]).contains(option));
    }
    assert!(refused(at, &["bench", "m.qg", "--batch", "300000000"]).contains("too large"));
    for shapes in [&["x=1,3", "--shape", "x=2,3"][..], &["x=2,3", "--batch", "3"], &["x=1,4"]] {
        assert!(refused(at, &[&["bench", "m.qg", "--shape"][..], shapes].concat()).contains("--shape x="));
    }
    ok(at, &["bench", "m.qg", "--runs", "2", "--shape", "x=2,3", "--batch", "2"]);
}

#[cfg(unix)]
#[test]
fn outputs_have_the_permissions_of_new_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let model = demo("digits_cnn.onnx");
    let mode = |file: &str| fs::metadata(at.join(file)).expect("there").permissions().mode() & 0o777;
    fs::write(at.join("plain"), b"").expect("written");
    ok(at, &["quantize", arg(&model), "-o", "m.qtc", "--mode", "dynamic"]);
    assert_eq!(mode("m.qtc"), mode("plain"));
    fs::set_permissions(at.join("m.qtc"), fs::Permissions::from_mode(0o640)).expect("set");
    ok(at, &["quantize", arg(&model), "-o", "m.qtc", "--mode", "dynamic"]);
    assert_eq!(mode("m.qtc"), 0o640);
    let message = refused(at, &["quantize", arg(&model), "-o", "missing/m.qtc", "--mode", "dynamic"]);
    assert!(message.contains("cannot write missing/m.qtc") && !message.contains(".tmp"), "{message}");
}

#[test]
fn usual_models_run_in_batches() {
    use quantc::{Model, canonicalize, samples_are_independent};
    let models = quantc_testkit::data::workspace_root().join("models");
    let mut paths = vec![demo("digits_cnn.onnx")];
    paths.extend(["lstm_classifier", "resnet18", "transformer_encoder"].map(|m| models.join(format!("{m}.json"))));
    let stored = ["mlperf_kws_dscnn", "squeezenet1.1", "dncnn_sigma25"].map(|m| format!("{m}.onnx"));
    let data = quantc_testkit::data_or_skip("usual_models_run_in_batches");
    paths.extend(data.iter().flat_map(|folder| stored.iter().map(|m| folder.join(m))));
    paths.extend(quantc_testkit::models_or_skip("usual_models_run_in_batches", "minilm_l6.onnx"));
    let rules = quantc_pattern::RuleSet::builtin().expect("embedded");
    for path in paths {
        let model = Model::load(&path).unwrap_or_else(|e| panic!("{e}"));
        let (canonical, _) = canonicalize(&model.graph, &rules).unwrap_or_else(|e| panic!("{e}"));
        for graph in [&model.graph, &canonical] {
            assert!(samples_are_independent(graph), "{}", path.display());
        }
    }
}
