//! Bad input: one clear error, exit code 1, no panic, no file left behind.

mod common;

use std::fs;
use std::path::Path;

use common::{arg, demo, ok, quantc, quantize_demo, refused, write_array};

/// Runs the command, which must fail as a user's error and leave no file; gives the message.
fn fails(folder: &Path, args: &[&str]) -> String {
    let before = listing(folder);
    let stderr = refused(folder, args);
    assert_eq!(before, listing(folder), "it left files behind");
    stderr
}

fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("readable")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.is_file())
        .map(|p| (p.file_name().expect("named").to_string_lossy().into_owned(), fs::read(&p).expect("readable")))
        .collect();
    files.sort();
    files
}

fn write_npy(path: &Path, shape: &[usize], value: impl Fn(usize) -> f32) {
    write_array(path, shape, (0..shape.iter().product()).map(value).collect());
}

/// `quantize MODEL` with the embedded calibration data.
fn quantize_fails(folder: &Path, model: &Path) -> String {
    let (calibration, preprocess) = (demo("digits_calib_x.npy"), demo("digits_preprocess.json"));
    let command = ["quantize", arg(model), "-o", "out.qtc", "--calibration", arg(&calibration)];
    fails(folder, &[&command[..], &["--preprocess", arg(&preprocess)]].concat())
}

#[test]
fn truncated_onnx() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = fs::read(demo("digits_cnn.onnx")).expect("readable");
    for keep in [0, 1, 10, 100, 1000, bytes.len() / 2, bytes.len() - 1] {
        let path = folder.path().join("cut.onnx");
        fs::write(&path, &bytes[..keep]).expect("written");
        let message = quantize_fails(folder.path(), &path);
        assert!(message.contains("cut.onnx"), "{message}");
    }
}

#[test]
fn text_file_named_onnx() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("notes.onnx");
    fs::write(&path, "Dear diary, today I quantized a model.\n".repeat(40)).expect("written");
    let message = quantize_fails(folder.path(), &path);
    assert!(message.contains("notes.onnx") && message.contains("ONNX"), "{message}");
}

#[test]
fn unsupported_operator() {
    let folder = tempfile::tempdir().expect("folder");
    let mut bytes = fs::read(demo("digits_cnn.onnx")).expect("readable");
    let name = b"GlobalAveragePool";
    let at = bytes.windows(name.len()).position(|w| w == name).expect("the model has one");
    bytes[at..at + name.len()].copy_from_slice(b"GlobalAveragePooX");
    // The operator's name stands after its field's length; node names may hold it too.
    for start in 0..bytes.len() - name.len() {
        if &bytes[start..start + name.len()] == name {
            bytes[start..start + name.len()].copy_from_slice(b"GlobalAveragePooX");
        }
    }
    let path = folder.path().join("odd.onnx");
    fs::write(&path, bytes).expect("written");
    let message = quantize_fails(folder.path(), &path);
    assert!(message.contains("GlobalAveragePooX"), "{message}");
}

#[test]
fn wrong_input_shape() {
    let folder = tempfile::tempdir().expect("folder");
    write_npy(&folder.path().join("x.npy"), &[4, 1, 9, 9, 1], |i| i as f32);
    let model = demo("digits_cnn.onnx");
    let message = fails(folder.path(), &["run", arg(&model), "--input", "x.npy", "-o", "y.npz"]);
    assert!(message.contains("image") && message.contains("9"), "{message}");
    let message = fails(folder.path(), &["quantize", arg(&model), "-o", "y.qtc", "--calibration", "x.npy"]);
    assert!(message.contains("image"), "{message}");
    let message = fails(folder.path(), &["run", arg(&model), "--input", "pixels=x.npy", "-o", "y.npz"]);
    assert!(message.contains("pixels") && message.contains("image"), "{message}");
}

#[test]
fn nan_in_the_calibration_data() {
    let folder = tempfile::tempdir().expect("folder");
    write_npy(&folder.path().join("x.npy"), &[40, 1, 8, 8], |i| if i == 20 * 64 + 5 { f32::NAN } else { 0.5 });
    let model = demo("digits_cnn.onnx");
    let message = fails(folder.path(), &["quantize", arg(&model), "-o", "y.qtc", "--calibration", "x.npy"]);
    assert!(message.contains("NaN") && message.contains("image"), "{message}");
}

#[test]
fn infinities_in_the_calibration_data() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let model = |weights: &str| {
        format!(
            "graph g(%x: f32[N,2]) {{\n  param @w: f32[2,2] = {weights}\n  %a = linear(%x, @w)\n  %y = linear(%a, @w)\n  return y=%y\n}}\n"
        )
    };
    fs::write(at.join("sums.qg"), model("[1, 1, 1, 1]")).expect("written");
    fs::write(at.join("differences.qg"), model("[1, -1, 1, -1]")).expect("written");
    // The eleventh row of the second batch of 16.
    write_npy(&at.join("x.npy"), &[40, 2], |i| if i / 2 == 26 { f32::INFINITY } else { 0.5 });
    let quantize = |model: &'static str| ["quantize", model, "-o", "y.qtc", "--calibration", "x.npy"];
    let message = fails(at, &quantize("differences.qg"));
    assert!(message.contains("have an infinity: input `x`, batch 1, element 20"), "{message}");
    // Where they make no NaN they are left out, which is said once for each value.
    let out = quantc(at, &quantize("sums.qg"));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{stderr}");
    assert_eq!(stderr.matches("the value x: infinities in the calibration data, 2 in all,").count(), 1, "{stderr}");
}

/// Nobody reads stderr: the exit code says it.
#[test]
fn stderr_that_is_closed() {
    let folder = tempfile::tempdir().expect("folder");
    write_npy(&folder.path().join("x.npy"), &[40, 1, 8, 8], |i| (i % 5) as f32);
    let closed = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quantc"));
        command.args(args).current_dir(folder.path()).env("RUST_LOG", "debug").stderr(writer);
        command.output().expect("quantc starts").status.code()
    };
    let model = demo("digits_cnn.onnx");
    let quantize = ["quantize", arg(&model), "-o", "y.qtc", "--calibration"];
    assert_eq!(closed(&[&quantize[..], &["missing.npy"]].concat()), Some(1));
    assert_eq!(closed(&[&quantize[..], &["x.npy"]].concat()), Some(0));
    fs::write(folder.path().join("m.json"), r#"{"": null}"#).expect("written");
    assert_eq!(closed(&[&quantize[..], &["x.npy", "--qconfig-mapping", "m.json"]].concat()), Some(0), "a warning");
    assert_eq!(closed(&["rewrite", arg(&model)]), Some(0), "a summary");
    assert_eq!(closed(&["quantize"]), Some(2));
}

#[test]
fn misspelt_names_are_told_the_nearest() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let model = |forward: &str| {
        format!(
            r#"{{"inputs": {{"x": "f32[N,4]"}}, "outputs": ["y"], "modules": {{"fc": {{"type": "Linear", "in_features": 4, "out_features": 4}},
            "relu": "ReLU"}}, "forward": ["{forward}"]}}"#
        )
    };
    fs::write(at.join("m.json"), model("return relu(fc(x))")).expect("written");
    fs::write(at.join("operator.json"), model("return sigmiod(fc(x))")).expect("written");
    fs::write(at.join("other.json"), model("return hardtanh(fc(x))")).expect("written");
    for (name, mapping) in [
        ("preset", r#"{"": "default_qconfg"}"#),
        ("type", r#"{"object_type": [["Liner", "x86"]]}"#),
        ("module", r#"{"module_name": [["rely", "x86"]]}"#),
        ("regex", r#"{"module_name_regex": [["fc[", null]]}"#),
    ] {
        fs::write(at.join(format!("{name}.map.json")), mapping).expect("written");
    }
    write_npy(&at.join("x.npy"), &[8, 4], |i| (i % 7) as f32 - 3.0);
    let eager: &[&str] = &["--workflow", "eager", "--mode", "dynamic"];
    let mapped = |name: &'static str| ["--workflow", "eager", "--calibration", "x.npy", "--qconfig-mapping", name];
    let mut messages = Vec::new();
    for (model, options) in [
        ("m.json", vec!["--qconfig", "default_qconfg"]),
        ("m.json", vec!["--qconfig", "best"]),
        ("m.json", vec!["--backend", "x85"]),
        ("m.json", vec!["--backend", "gpu"]),
        ("m.json", vec!["--qconfig-mapping", "preset.map.json"]),
        ("m.json", vec!["--qconfig-mapping", "regex.map.json"]),
        ("m.json", mapped("type.map.json").to_vec()),
        ("m.json", mapped("module.map.json").to_vec()),
        ("m.json", [eager, &["--fuse", "fc,rely"]].concat()),
        ("m.json", [eager, &["--qconfig-spec", "Linea"]].concat()),
        ("m.json", [eager, &["--qconfig-spec", "Conv3d"]].concat()),
        ("operator.json", vec![]),
        ("other.json", vec![]),
        ("m.json", vec!["-o", "nowhere/y.qtc"]),
    ] {
        let output: &[&str] = if options.contains(&"-o") { &[] } else { &["-o", "y.qtc"] };
        let message = fails(at, &[&["quantize", model], output, &options[..]].concat());
        messages.push(format!("{model} {}\n  {}", options.join(" "), message.trim_end()));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn empty_calibration_set() {
    let folder = tempfile::tempdir().expect("folder");
    write_npy(&folder.path().join("x.npy"), &[0, 1, 8, 8], |_| 0.0);
    write_npy(&folder.path().join("some.npy"), &[3, 1, 8, 8], |_| 0.0);
    let model = demo("digits_cnn.onnx");
    let quantize = ["quantize", arg(&model), "-o", "y.qtc"];
    for extra in [&["--calibration", "x.npy"][..], &[], &["--calibration", "some.npy", "--limit", "0"]] {
        let message = fails(folder.path(), &[&quantize[..], extra].concat());
        assert!(message.contains("calibration"), "{message}");
    }
}

#[test]
fn damaged_qtc() {
    let folder = tempfile::tempdir().expect("folder");
    let model = quantize_demo(folder.path());
    let good = fs::read(&model).expect("readable");
    write_npy(&folder.path().join("x.npy"), &[2, 1, 8, 8], |i| (i % 5) as f32);
    let run = ["run", "digits.qtc", "--input", "x.npy", "-o", "y.npz"];
    for keep in [0, 3, 20, 63, 64, 200, good.len() / 2, good.len() - 1] {
        fs::write(&model, &good[..keep]).expect("written");
        let message = fails(folder.path(), &run);
        assert!(message.contains("digits.qtc") && message.contains("(hint: "), "{message}");
    }
    // One flipped bit, anywhere.
    let step = good.len() / 97;
    for at in (0..good.len()).step_by(step.max(1)) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&model, &bad).expect("written");
        let message = fails(folder.path(), &run);
        assert!(message.contains("digits.qtc") && message.contains("(hint: "), "byte {at}: {message}");
    }
    let longer = [&good[..], &[0]].concat();
    fs::write(&model, longer).expect("written");
    fails(folder.path(), &run);
    fs::write(&model, good).expect("written");
    ok(folder.path(), &run);
}

#[test]
fn unwritable_output() {
    let folder = tempfile::tempdir().expect("folder");
    fs::create_dir(folder.path().join("taken")).expect("created");
    write_npy(&folder.path().join("x.npy"), &[2, 1, 8, 8], |i| (i % 5) as f32);
    let model = demo("digits_cnn.onnx");
    for output in ["missing/y.qtc", "taken"] {
        let message = fails(folder.path(), &["quantize", arg(&model), "-o", output, "--calibration", "x.npy"]);
        assert!(message.contains("cannot write"), "{message}");
        let message = fails(folder.path(), &["run", arg(&model), "-o", output, "--input", "x.npy"]);
        assert!(message.contains("cannot write"), "{message}");
    }
}

/// A full disk, and what an output must not replace: devices, pipes, links.
#[cfg(unix)]
#[test]
fn devices_are_written_to_and_links_are_followed() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = tempfile::tempdir().expect("folder");
    let (model, calibration) = (demo("digits_cnn.onnx"), demo("digits_calib_x.npy"));
    let preprocess = demo("digits_preprocess.json");
    let quantize = |output| {
        ["quantize", arg(&model), "-o", output, "--calibration", arg(&calibration), "--preprocess", arg(&preprocess)]
    };
    if std::path::Path::new("/dev/full").exists() {
        let message = fails(folder.path(), &quantize("/dev/full"));
        assert!(message.contains("cannot write /dev/full") && message.contains("space"), "{message}");
        assert!(fs::metadata("/dev/full").expect("still there").file_type().is_char_device());
    }
    fs::write(folder.path().join("real.qtc"), b"old").expect("written");
    symlink("real.qtc", folder.path().join("link.qtc")).expect("linked");
    ok(folder.path(), &quantize("link.qtc"));
    assert!(fs::symlink_metadata(folder.path().join("link.qtc")).expect("there").is_symlink());
    assert!(fs::metadata(folder.path().join("real.qtc")).expect("there").len() > 3);
}

#[test]
fn missing_and_malformed_files() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("x.npy"), b"\x93NUMPY\x01\x00garbage").expect("written");
    fs::write(folder.path().join("p.json"), "{\"layout\": \"nhwc\"}").expect("written");
    fs::write(folder.path().join("m.json"), "{\"global\": \"best\"}").expect("written");
    let model = demo("digits_cnn.onnx");
    let calibration = demo("digits_calib_x.npy");
    let quantize = ["quantize", arg(&model), "-o", "y.qtc", "--calibration"];
    let cases: &[(&[&str], &str)] = &[
        (&["x.npy"], "x.npy"),
        (&["nowhere.npy"], "nowhere.npy"),
        (&[arg(&calibration), "--preprocess", "p.json"], "p.json"),
        (&[arg(&calibration), "--qconfig-mapping", "m.json"], "best"),
        (&[arg(&calibration), "--qconfig", "best"], "best"),
        (&[arg(&calibration), "--backend", "gpu"], "gpu"),
    ];
    for (extra, word) in cases {
        let message = fails(folder.path(), &[&quantize[..], extra].concat());
        assert!(message.contains(word), "{message}");
    }
    for args in [&["trace", "nowhere.onnx"][..], &["inspect", arg(&model)], &["explain", arg(&model)]] {
        fails(folder.path(), args);
    }
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let folder = tempfile::tempdir().expect("folder");
    for args in [&["quantize"][..], &["nonsense"], &["bench", "m.onnx", "--runs", "many"]] {
        assert_eq!(quantc(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn what_the_eager_workflow_refuses() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    fs::copy(demo("digits_cnn.onnx"), at.join("digits.onnx")).expect("copied");
    let model = |forward: &str| {
        format!(
            r#"{{"inputs": {{"x": "f32[N,4]"}}, "outputs": ["y"], "modules": {{"quant": "QuantStub", "dequant": "DeQuantStub",
            "fc": {{"type": "Linear", "in_features": 4, "out_features": 4}}, "act": "Softplus", "relu": "ReLU"}}, "forward": ["{forward}"]}}"#
        )
    };
    for (name, forward) in [
        ("good", "return dequant(relu(fc(quant(x))))"),
        ("no_quant", "return dequant(fc(x))"),
        ("no_dequant", "return act(fc(quant(x)))"),
        ("added", "y = quant(x)\", \"return dequant(fc(y) + y)"),
    ] {
        fs::write(at.join(format!("{name}.json")), model(forward)).expect("written");
    }
    for (name, mapping) in [
        ("regex", r#"{"module_name_regex": [["f.*", "x86"]]}"#),
        ("function", r#"{"object_type": [["torch.nn.functional.linear", "x86"]]}"#),
        ("order", r#"{"module_name_object_type_order": [["", "linear", 0, "x86"]]}"#),
        ("nobody", r#"{"module_name": [["fd", "x86"]]}"#),
        ("mixed", r#"{"": "x86", "module_name": [["fc", "dynamic"]]}"#),
    ] {
        fs::write(at.join(format!("{name}.map.json")), mapping).expect("written");
    }
    write_npy(&at.join("x.npy"), &[8, 4], |i| (i % 7) as f32 - 3.0);
    let statically = ["--workflow", "eager", "--calibration", "x.npy"];
    let dynamically = ["--workflow", "eager", "--mode", "dynamic"];
    let mapped = |name: &'static str| [&statically[..], &["--qconfig-mapping", name]].concat();
    let mut messages = Vec::new();
    for (model, options) in [
        ("digits.onnx", statically.to_vec()),
        ("no_quant.json", statically.to_vec()),
        ("no_dequant.json", statically.to_vec()),
        ("added.json", statically.to_vec()),
        ("good.json", vec!["--workflow", "eager"]),
        ("good.json", vec!["--fuse", "fc,relu", "--calibration", "x.npy"]),
        ("good.json", [&statically[..], &["--fuse", "fc,nope"]].concat()),
        ("good.json", [&statically[..], &["--fuse", "relu,fc"]].concat()),
        ("good.json", [&statically[..], &["--placement", "pytorch"]].concat()),
        ("good.json", [&statically[..], &["--dtype", "float16"]].concat()),
        ("good.json", [&statically[..], &["--qconfig-spec", "fc"]].concat()),
        ("good.json", mapped("regex.map.json")),
        ("good.json", mapped("function.map.json")),
        ("good.json", mapped("order.map.json")),
        ("good.json", mapped("nobody.map.json")),
        ("good.json", mapped("mixed.map.json")),
        ("good.json", [&dynamically[..], &["--qconfig-spec", "fd"]].concat()),
        ("good.json", [&dynamically[..], &["--dtype", "quint8", "--qconfig-spec", "Linear"]].concat()),
        ("good.json", [&dynamically[..], &["--dtype", "qint8", "--qconfig", "dynamic"]].concat()),
    ] {
        let message = fails(at, &[&["quantize", model, "-o", "y.qtc"][..], &options].concat());
        messages.push(format!("{model} {}\n  {}", options.join(" "), message.trim_end()));
    }
    insta::assert_snapshot!(messages.join("\n"));
}
