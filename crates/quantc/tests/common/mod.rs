//! Running the `quantc` command in tests.
// Every file of tests is a crate of its own, and needs some of these only.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use quantc_kernels::Isa;

/// The embedded model and its data.
pub fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(file)
}

/// Runs the command in a folder.
pub fn quantc(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quantc")).args(args).current_dir(folder).output().expect("quantc starts")
}

/// Runs the command in a folder on an ISA tier.
pub fn quantc_on(isa: Isa, folder: &Path, args: &[&str]) -> Output {
    quantc_where(isa.name(), folder, args)
}

/// Runs the command in a folder with this value of `QUANTC_ISA`.
pub fn quantc_where(isa: &str, folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantc"));
    command.args(args).current_dir(folder).env("QUANTC_ISA", isa).output().expect("quantc starts")
}

/// Runs the command, which must succeed; gives stdout.
pub fn ok(folder: &Path, args: &[&str]) -> String {
    let out = quantc(folder, args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "quantc {}: {stderr}", args.join(" "));
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// Runs the command, which must succeed and print JSON.
pub fn ok_json(folder: &Path, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&ok(folder, args)).expect("JSON")
}

/// Runs the command, which must fail as a user's error and print nothing else; gives the message.
pub fn refused(folder: &Path, args: &[&str]) -> String {
    let out = quantc(folder, args);
    let stderr = String::from_utf8(out.stderr).expect("UTF-8");
    assert_eq!(out.status.code(), Some(1), "quantc {}: {stderr}", args.join(" "));
    assert!(stderr.starts_with("error: ") && stderr.matches("error: ").count() == 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(out.stdout.is_empty(), "it printed a result all the same");
    stderr
}

/// Writes a `.npy` file.
pub fn write_array<T: ndarray_npy::WritableElement>(path: &Path, shape: &[usize], values: Vec<T>) {
    let array = ndarray::ArrayD::from_shape_vec(ndarray::IxDyn(shape), values).expect("fits");
    ndarray_npy::write_npy(path, &array).expect("written");
}

/// An f32 array of a `.npz` file.
pub fn stored(path: &Path, name: &str) -> ndarray::ArrayD<f32> {
    let file = std::fs::File::open(path).expect("there");
    ndarray_npy::NpzReader::new(file).expect("npz").by_name(name).expect("an array of that name")
}

/// The path as the command line takes it.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("UTF-8 path")
}

/// Quantizes the embedded model into `folder/digits.qtc`.
pub fn quantize_demo(folder: &Path) -> PathBuf {
    let (model, calibration) = (demo("digits_cnn.onnx"), demo("digits_calib_x.npy"));
    let preprocess = demo("digits_preprocess.json");
    let command = ["quantize", arg(&model), "-o", "digits.qtc", "--calibration", arg(&calibration)];
    ok(folder, &[&command[..], &["--preprocess", arg(&preprocess)]].concat());
    folder.join("digits.qtc")
}
