//! `quantc tune`: what it stores is used where it holds, and nowhere else. Never its times.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{arg, demo, ok, ok_json, quantc_on, quantize_demo, refused, stored};
use quantc::tuning::{Choice, Machine, Tuning};
use quantc::{Compiled, Model, ModelKind, qtc};
use quantc_kernels::{Blocking, Isa};
use quantc_runtime::Plan;
use quantc_tensor::{DType, TensorType};

/// The plan for one image, and whether the file's blockings are used.
fn plan(model: &Path, threads: usize) -> (Arc<Plan>, bool) {
    let mut compiled = Compiled::load(model, threads).expect("loads");
    let input = compiled.graph().placeholders().next().expect("an input");
    let name = compiled.graph().node(input).name().to_owned();
    let plan = compiled.plan(&[(name, TensorType::new(DType::F32, [1, 1, 8, 8].as_slice()))]).expect("plans");
    (plan, compiled.tuning_used().is_some())
}

/// The demo model with a blocking for every layer, said to be made for `machine`.
fn write_tuned(at: &Path, name: &str, machine: Machine, blocking: Blocking) {
    let model = Model::load(&at.join("digits.qtc")).expect("loads");
    let ModelKind::Qtc { report, .. } = &model.kind else { panic!("a compiled model") };
    let (plan, _) = plan(&at.join("digits.qtc"), 1);
    let choices = plan.blocked().flatten().map(|layer| Choice::new(layer.geometry(), blocking)).collect();
    qtc::write_tuned(&at.join(name), &model.graph, report, Some(&Tuning { machine, choices })).expect("written");
}

/// The model `from` again as `to`, with changed blockings.
fn rewrite(at: &Path, from: &str, to: &str, change: impl FnOnce(&mut Tuning)) {
    let qtc::QtcFile { graph, report, tuning, .. } = qtc::read(&at.join(from)).expect("reads");
    let mut tuning = tuning.expect("blockings");
    change(&mut tuning);
    qtc::write_tuned(&at.join(to), &graph, &report, Some(&tuning)).expect("written");
}

fn here(threads: usize) -> Machine {
    Machine::new(quantc_kernels::isa::select().expect("a tier"), threads)
}

#[test]
fn tune_reports_every_layer_and_keeps_the_results() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    quantize_demo(at);
    let tuned = ok(at, &["tune", "digits.qtc", "-o", "tuned.qtc", "--rounds", "2", "--json"]);
    let tuned: serde_json::Value = serde_json::from_str(&tuned).expect("JSON");
    let layers = tuned["layers"].as_array().expect("layers");
    assert!(!layers.is_empty(), "{tuned}");
    let file = qtc::read(&at.join("tuned.qtc")).expect("reads");
    let tuning = file.tuning.expect("blockings");
    assert_eq!(tuning.machine, here(1));
    let kept = layers.iter().filter(|layer| !layer["rows"].is_null()).count();
    assert_eq!(tuning.choices.len(), kept, "{tuned}");
    let (x, preprocess) = (demo("digits_test_x.npy"), demo("digits_preprocess.json"));
    let run = |model: &str| {
        ok(at, &["run", model, "--input", arg(&x), "-o", "y.npz", "--preprocess", arg(&preprocess)]);
        stored(&at.join("y.npz"), "logits")
    };
    assert_eq!(run("digits.qtc"), run("tuned.qtc"));
    // In place, too.
    let text = ok(at, &["tune", "tuned.qtc", "--rounds", "1", "--threads", "2"]);
    assert!(text.starts_with("layer ") && text.contains("whole model: default "), "{text}");
    assert_eq!(qtc::read(&at.join("tuned.qtc")).expect("reads").tuning.expect("blockings").machine, here(2));
}

#[test]
fn stored_choices_are_used_where_they_hold() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    quantize_demo(at);
    const TINY: Blocking = Blocking { rows: 8, bytes: 4096 };
    write_tuned(at, "tuned.qtc", here(1), TINY);
    let (x, preprocess) = (demo("digits_test_x.npy"), demo("digits_preprocess.json"));
    let blockings = |name: &str, threads: usize| {
        let (plan, used) = plan(&at.join(name), threads);
        let all: Vec<Blocking> = plan.blocked().flatten().map(|layer| layer.blocking()).collect();
        assert_eq!(all.len(), 5, "every convolution but the depthwise one");
        assert!(all.iter().all(|blocking| *blocking == all[0]), "{all:?}");
        (used, all[0])
    };
    let default = (false, Blocking::default());
    assert_ne!(Blocking::default(), TINY);
    assert_eq!(blockings("digits.qtc", 1), default);
    assert_eq!(blockings("tuned.qtc", 1), (true, TINY));
    assert_eq!(blockings("tuned.qtc", 2), default, "another number of threads");
    let run = |model: &str| {
        ok(at, &["run", model, "--input", arg(&x), "-o", "y.npz", "--preprocess", arg(&preprocess), "--threads", "1"]);
        stored(&at.join("y.npz"), "logits")
    };
    assert_eq!(run("digits.qtc"), run("tuned.qtc"));

    let says = |args: &[&str]| ok(at, &[&["bench", "tuned.qtc", "--runs", "1"][..], args].concat());
    assert!(says(&[]).contains("blocking: tuned (5 of 5 layers)\n"));
    assert!(says(&["--batch", "8"]).contains("blocking: default; tuned for other shapes\n"));
    let json = ok_json(at, &["bench", "tuned.qtc", "--runs", "1", "--batch", "8", "--json"]);
    assert_eq!(json["blocking"], "default; tuned for other shapes");
    rewrite(at, "tuned.qtc", "some.qtc", |tuning| tuning.choices.truncate(2));
    let text = ok(at, &["bench", "some.qtc", "--runs", "1"]);
    // Two layers have the same shape.
    assert!(text.contains("blocking: tuned (3 of 5 layers)\n"), "{text}");
    rewrite(at, "tuned.qtc", "none.qtc", |tuning| tuning.choices.clear());
    assert!(ok(at, &["bench", "none.qtc", "--runs", "1"]).contains("blocking: default; tuning found none"));
    assert!(says(&["--threads", "2"]).contains("blocking: default; the model is tuned for "));
    assert!(!ok(at, &["bench", "digits.qtc", "--runs", "1"]).contains("blocking"));
    for isa in Isa::available().into_iter().filter(|isa| isa.name() != here(1).isa) {
        let out = quantc_on(isa, at, &["bench", "tuned.qtc", "--runs", "1"]);
        assert!(String::from_utf8_lossy(&out.stdout).contains("blocking: default; "), "{isa}");
    }
    let elsewhere = Machine { l2: Some(12345), ..here(1) };
    write_tuned(at, "elsewhere.qtc", elsewhere, TINY);
    assert_eq!(blockings("elsewhere.qtc", 1), default);
}

#[test]
fn a_damaged_choice_is_one_error() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    quantize_demo(at);
    for rows in [0, usize::MAX] {
        write_tuned(at, "bad.qtc", here(1), Blocking { rows, bytes: 4096 });
        let message = refused(at, &["bench", "bad.qtc"]);
        assert!(message.contains("holds an invalid blocking") && message.contains("hint"), "{message}");
    }
    write_tuned(at, "bad.qtc", here(1), Blocking { rows: 8, bytes: 4096 });
    let mut bytes = fs::read(at.join("bad.qtc")).expect("readable");
    let key = br#""choices":"#;
    let place = bytes.windows(key.len()).position(|w| w == key).expect("stored");
    bytes[place + 2] ^= 1;
    fs::write(at.join("bad.qtc"), bytes).expect("written");
    assert!(refused(at, &["bench", "bad.qtc"]).contains("damaged, the metadata's checksum does not match (hint: "));
}

#[test]
fn tune_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    assert!(refused(at, &["tune", arg(&demo("digits_cnn.onnx"))]).contains("is no compiled model"));
    quantize_demo(at);
    assert!(refused(at, &["tune", "digits.qtc", "--rounds", "0"]).contains("--rounds 0"));
    assert!(refused(at, &["tune", "digits.qtc", "--threads", "0"]).contains("--threads 0"));
    assert!(refused(at, &["tune", "digits.qtc", "-o", "nowhere/m.qtc"]).contains("nowhere/m.qtc"));
}
