//! `quantc bench`: the shape of what it says, and that its sizes are right. Never its times.

mod common;

use std::path::Path;

use common::{arg, demo, ok, ok_json, quantc, quantize_demo, refused};
use serde_json::Value;

/// Writes a graph in the text form.
fn write_graph(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

/// A matrix product, which reads 4 * (6 + 12) bytes and writes 4 * 8, and a function of one element.
const PRODUCT: &str = "graph g(%x: f32[2,3], %w: f32[3,4]) {
  %y = matmul(%x, %w) : f32[2,4]
  %z = relu(%y) : f32[2,4]
  return z=%z
}
";

/// Digits as `#`, runs of blanks as one: what is left of a report when its numbers may be any.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            ' ' if out.ends_with(' ') => {}
            c => out.push(c),
        }
    }
    out
}

#[test]
fn sizes_of_a_product_are_counted() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    write_graph(at, "m.qg", PRODUCT);
    let timed = ok_json(at, &["bench", "m.qg", "--runs", "3", "--per-layer", "--json"]);
    let product = &timed["layers"][0];
    assert_eq!((&product["macs"], &product["bytes"]), (&24.into(), &104.into()), "{timed}");
    let relu = &timed["layers"][1];
    assert_eq!((&relu["macs"], &relu["bytes"]), (&Value::Null, &64.into()), "{timed}");
    assert_eq!(timed["total"]["macs"], 24);
    for peak in ["int8_gmacs_per_s", "float_gmacs_per_s", "memory_gb_per_s"] {
        assert!(timed["peaks"][peak].as_f64().expect("a rate") > 0.0, "{timed}");
    }
}

#[test]
fn every_call_of_a_quantized_model_is_measured() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let qtc = quantize_demo(at);
    let timed = ok_json(at, &["bench", arg(&qtc), "--runs", "3", "--threads", "2", "--per-layer", "--json"]);
    let layers = timed["layers"].as_array().expect("layers");
    let number = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("a number: {v}"));
    for layer in layers {
        for key in ["node", "op", "kernel", "tier", "layout", "output"] {
            assert!(layer[key].is_string(), "{key}: {layer}");
        }
        assert!(number(&layer["bytes"]) > 0.0 && number(&layer["time_share"]) <= 1.0, "{layer}");
        let multiplies =
            layer["op"].as_str().is_some_and(|op| op.starts_with("quantized.conv") || op == "quantized.linear");
        for key in ["macs", "gmacs_per_s", "peak_share"] {
            assert_eq!(layer[key].is_number(), multiplies, "{key}: {layer}");
        }
    }
    let macs: f64 = layers.iter().filter(|l| l["macs"].is_number()).map(|l| number(&l["macs"])).sum();
    assert!(macs > 1e4 && number(&timed["total"]["macs"]) == macs, "{timed}");
    // Each weight of a layer is a byte, and is read once.
    let inspected = ok_json(at, &["inspect", arg(&qtc), "--json"]);
    let weights = number(&inspected["parameter_bytes"]);
    assert!(layers.iter().map(|l| number(&l["bytes"])).sum::<f64>() > weights, "{timed}");
}

#[test]
fn the_table_has_a_line_for_each_call() {
    let folder = tempfile::tempdir().expect("folder");
    write_graph(folder.path(), "m.qg", PRODUCT);
    let text = ok(folder.path(), &["bench", "m.qg", "--runs", "3", "--per-layer"]);
    let lines = without_numbers(&text);
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with("median # ms, min # ms, p# # ms; # threads, "), "{text}");
    insta::assert_snapshot!([lines[1], lines[2], lines[3], lines[5]].join("\n"), @r"
    peaks: int# # GMAC/s, float # GMAC/s, memory # GB/s
    node operator kernel tier layout output MMAC kB us time GMAC/s of peak GB/s of memory
    y matmul gemm portable row-major f#[#,#] # # # #% # #% # #%
    total # # #% # #%
    ");
    assert!(lines[4].starts_with("z relu float."), "{text}");
    assert_eq!(lines.len(), 6, "{text}");
}

#[test]
fn a_roofline_is_drawn() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let qtc = quantize_demo(at);
    ok(at, &["bench", arg(&qtc), "--runs", "3", "--roofline", "roof.svg"]);
    let svg = std::fs::read_to_string(at.join("roof.svg")).expect("written");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    let timed = ok_json(at, &["bench", arg(&qtc), "--runs", "3", "--per-layer", "--json"]);
    let multiply = timed["layers"].as_array().expect("layers").iter().filter(|l| l["macs"].is_number()).count();
    assert_eq!(svg.matches("<circle ").count(), multiply);
    assert_eq!(svg.matches("<title>").count(), multiply);
    assert!(svg.contains("digits.qtc on ") && svg.contains("GMAC/s"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn a_plot_of_nothing_that_multiplies_is_drawn() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    write_graph(at, "m.qg", "graph g(%x: f32[2,3]) {\n  %y = relu(%x) : f32[2,3]\n  return y=%y\n}\n");
    ok(at, &["bench", "m.qg", "--runs", "2", "--roofline", "roof.svg"]);
    let svg = std::fs::read_to_string(at.join("roof.svg")).expect("written");
    assert!(svg.contains("0 of 1 calls multiply") && !svg.contains("<circle"), "{svg}");
}

#[test]
fn two_models_take_turns() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let (qtc, model) = (quantize_demo(at), demo("digits_cnn.onnx"));
    let command = ["bench", arg(&model), "--compare", arg(&qtc), "--runs", "6", "--rounds", "3"];
    let compared = ok_json(at, &[&command[..], &["--json"]].concat());
    assert_eq!((&compared["rounds"], &compared["runs_per_round"]), (&3.into(), &2.into()), "{compared}");
    assert_eq!(compared["models"].as_array().map(Vec::len), Some(2), "{compared}");
    let ratio = |key: &str| compared["ratio"][key].as_f64().expect("a ratio");
    let order = ["min", "lower_quartile", "median", "upper_quartile", "max"].map(ratio);
    assert!(order.is_sorted() && order[0] > 0.0, "{compared}");
    let text = without_numbers(&ok(at, &command));
    assert!(text.contains("ratio #, quartiles # to #, extremes # to #; # rounds of # runs"), "{text}");
}

#[test]
fn bad_options_are_refused_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    write_graph(at, "m.qg", PRODUCT);
    let before = || std::fs::read_dir(at).expect("folder").count();
    let count = before();
    assert!(refused(at, &["bench", "m.qg", "--roofline", "missing/roof.svg"]).contains("missing/roof.svg"));
    assert!(refused(at, &["bench", "m.qg", "--roofline", "m.qg"]).contains("would replace the model"));
    assert!(refused(at, &["bench", "m.qg", "--roofline", "."]).contains("folder"));
    assert!(refused(at, &["bench", "m.qg", "--compare", "gone.qtc"]).contains("gone.qtc"));
    assert!(
        refused(at, &["bench", "m.qg", "--compare", "m.qg", "--runs", "4", "--rounds", "5"]).contains("--rounds 5")
    );
    assert!(refused(at, &["bench", "m.qg", "--compare", "m.qg", "--rounds", "0"]).contains("--rounds 0"));
    for args in [
        &["bench", "m.qg", "--rounds", "3"][..],
        &["bench", "m.qg", "--compare", "m.qg", "--per-layer"],
        &["bench", "m.qg", "--compare", "m.qg", "--roofline", "roof.svg"],
    ] {
        assert_eq!(quantc(at, args).status.code(), Some(2), "{args:?}");
    }
    assert_eq!(before(), count);
}

#[test]
fn shapes_that_the_model_does_not_take_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    write_graph(at, "m.qg", PRODUCT);
    let message = refused(at, &["bench", "m.qg", "--runs", "1", "--batch", "4"]);
    assert!(message.contains("--batch 4: the model's batch is fixed (x: f32[2,3], w: f32[3,4])"), "{message}");
    ok(at, &["bench", "m.qg", "--runs", "1", "--batch", "2"]);
    let message = refused(at, &["bench", "m.qg", "--runs", "1", "--shape", "y=2,3"]);
    assert!(message.contains("the model has no input `y`, its inputs are `x`, `w`"), "{message}");
}
