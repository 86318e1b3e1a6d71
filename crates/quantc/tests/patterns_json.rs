//! `quantc patterns export` and `import` on the command line.

mod common;

use std::fs;

use common::{ok, quantc, refused};

#[test]
fn a_backend_goes_out_and_comes_back() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let printed = ok(at, &["patterns", "export", "qnnpack"]);
    ok(at, &["patterns", "export", "qnnpack", "-o", "qnnpack.json"]);
    assert_eq!(fs::read_to_string(at.join("qnnpack.json")).expect("written"), printed);
    let json: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(json["name"], "qnnpack");
    fs::create_dir(at.join("own")).expect("made");
    ok(at, &["patterns", "import", "qnnpack.json", "--name", "mine", "-o", "own/mine.qpat"]);
    assert_eq!(
        ok(at, &["patterns", "import", "qnnpack.json", "--name", "mine"]),
        fs::read_to_string(at.join("own/mine.qpat")).expect("written")
    );
    ok(at, &["patterns", "check", "own/mine.qpat"]);
    // It is a backend like any other.
    let again = ok(at, &["patterns", "export", "mine", "--patterns", "own"]);
    let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    let count = |v: &serde_json::Value| v["configs"].as_array().map(Vec::len);
    assert!(count(&json).is_some_and(|n| n > 190), "{:?}", count(&json));
    assert_eq!(count(&again), count(&json));
}

#[test]
fn what_is_not_said_is_a_warning_and_what_is_wrong_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let at = folder.path();
    let out = quantc(at, &["patterns", "export", "x86", "-o", "x86.json"]);
    let warnings = String::from_utf8(out.stderr).expect("UTF-8");
    assert!(out.status.success() && warnings.contains("warning: `movement/depth_to_space` is left out"), "{warnings}");
    let half = r#"{"name": "b", "configs": [
      {"pattern": "torch.nn.ReLU", "dtype_configs": [{"input_dtype": "torch.quint8", "output_dtype": "torch.quint8"}]},
      {"pattern": "torch.nn.ELU", "dtype_configs": [{"input_dtype": "torch.bfloat16", "output_dtype": "torch.bfloat16"}]}]}"#;
    fs::write(at.join("half.json"), half).expect("written");
    let out = quantc(at, &["patterns", "import", "half.json"]);
    let warnings = String::from_utf8(out.stderr).expect("UTF-8");
    assert!(out.status.success() && warnings.contains("quantc has no torch.bfloat16: torch.nn.ELU"), "{warnings}");
    fs::write(at.join("wrong.json"), half.replace("nn.ELU", "nn.Hardswissh")).expect("written");
    let message = refused(at, &["patterns", "import", "wrong.json"]);
    assert!(
        message.contains("wrong.json: configs[1].pattern: ") && message.contains("`torch.nn.Hardswish`"),
        "{message}"
    );
    assert!(refused(at, &["patterns", "import", "nowhere.json"]).contains("cannot read nowhere.json"));
    assert!(refused(at, &["patterns", "export", "nobody"]).contains("there is no backend `nobody`"));
}
