//! Every operator's import against onnxruntime: small models in the opsets where an operator's form changed
//! (scripts/golden_onnx_ops.py and golden_onnx_resize.py make them).

use quantc_frontend::onnx::import_bytes;
use quantc_interp::Interpreter;
use quantc_tensor::{DType, Tensor};
use serde_json::Value;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn tensor(v: &Value) -> Tensor {
    let shape: Vec<usize> = serde_json::from_value(v["shape"].clone()).expect("shape");
    let dtype: DType = v["dtype"].as_str().expect("dtype").parse().expect("dtype");
    // All goldens are exact in f64.
    let data: Vec<f64> = serde_json::from_value(v["data"].clone()).expect("data");
    Tensor::from_vec(&shape, data).expect("as many as the shape has").cast(dtype)
}

fn differs(got: &Tensor, want: &Tensor) -> Option<String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Some(format!("is {}, not {}", got.ty(), want.ty()));
    }
    if !got.dtype().is_float() {
        return (!got.bits_eq(want)).then(|| format!("is {:?}, not {:?}", got.to_i64_vec(), want.to_i64_vec()));
    }
    let (got, want) = (got.to_f32_vec(), want.to_f32_vec());
    let close = |a: f32, b: f32| (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
    let at = got.iter().zip(&want).position(|(a, b)| !close(*a, *b))?;
    Some(format!("is {} at {at}, not {}", got[at], want[at]))
}

fn check(case: &Value) -> Result<(), String> {
    let graph = import_bytes(&unhex(case["model"].as_str().expect("hex"))).map_err(|e| e.to_string())?;
    graph.verify().map_err(|e| e.to_string())?;
    let inputs = case["inputs"].as_object().expect("inputs");
    // Inputs that a folded graph no longer uses stay its inputs.
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(name, v)| (name.as_str(), tensor(v))).collect();
    let outputs = Interpreter::new(&graph).run(&inputs).map_err(|e| format!("{e}\n{}", graph.to_table()))?;
    let wanted = case["outputs"].as_object().expect("outputs");
    if outputs.len() != wanted.len() {
        return Err(format!("{} outputs, not {}", outputs.len(), wanted.len()));
    }
    for ((name, got), (wanted_name, want)) in outputs.iter().zip(wanted) {
        if **name != **wanted_name {
            return Err(format!("output `{name}` in the place of `{wanted_name}`"));
        }
        if let Some(difference) = differs(got, &tensor(want)) {
            return Err(format!("output `{name}` {difference}\n{}", graph.to_table()));
        }
    }
    Ok(())
}

/// Holds every case of a golden file.
fn check_all(golden: &str) {
    let cases: Vec<Value> = serde_json::from_str(golden).expect("golden file");
    let failures: Vec<String> =
        cases.iter().filter_map(|c| check(c).err().map(|e| format!("{}: {e}", c["name"]))).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_operator_computes_what_onnxruntime_does() {
    check_all(include_str!("golden/ops.json"));
}

#[test]
fn every_way_of_resizing_does() {
    check_all(include_str!("golden/resize.json"));
}
