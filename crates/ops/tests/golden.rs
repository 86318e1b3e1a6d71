//! Every operator against values computed by PyTorch and ONNX Runtime (`scripts/golden_ops.py`).

use quantc_ops::{Attr, Attrs, InferCx, InputInfo, OpError, lookup};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};
use serde_json::Value as Json;

fn tensor(j: &Json) -> Option<Tensor> {
    if j.is_null() {
        return None;
    }
    let dtype: DType = j["dtype"].as_str().expect("dtype").parse().expect("known dtype");
    let shape: Vec<usize> =
        j["shape"].as_array().expect("shape").iter().map(|d| d.as_u64().expect("size") as usize).collect();
    let data = j["data"].as_array().expect("data");
    let t = match dtype {
        DType::F32 => {
            let real = |v: &Json| v.as_f64().or_else(|| v.as_str().and_then(|s| s.parse().ok())).expect("number");
            Tensor::from_vec(&shape, data.iter().map(|v| real(v) as f32).collect())
        }
        DType::Bool => Tensor::from_vec(&shape, data.iter().map(|v| v.as_bool().expect("bool")).collect()),
        _ => {
            Tensor::from_vec(&shape, data.iter().map(|v| v.as_i64().expect("integer")).collect()).map(|t| t.cast(dtype))
        }
    };
    Some(t.expect("as many elements as the shape says"))
}

fn attrs(op: quantc_ops::OpRef, j: &Json) -> Result<Attrs, OpError> {
    let mut out = Attrs::new();
    for (name, v) in j.as_object().expect("attributes") {
        let name = op.signature().attr_name(name).unwrap_or_else(|| panic!("{op} has no attribute {name}"));
        let attr = match v {
            Json::Bool(b) => Attr::from(*b),
            Json::String(s) if name == "dtype" => Attr::from(s.parse::<DType>().expect("dtype")),
            Json::String(s) => Attr::from(s.as_str()),
            Json::Number(n) if n.is_f64() => Attr::from(n.as_f64().expect("float") as f32),
            Json::Number(n) => Attr::from(n.as_i64().expect("integer")),
            Json::Array(list) if list.iter().any(Json::is_f64) => {
                Attr::from(list.iter().map(|v| v.as_f64().expect("float") as f32).collect::<Vec<f32>>())
            }
            Json::Array(list) => Attr::from(list.iter().map(|v| v.as_i64().expect("integer")).collect::<Vec<i64>>()),
            other => panic!("attribute {other}"),
        };
        out.set(name, attr);
    }
    out.check(op.signature())
}

fn close(got: f32, want: f32) -> bool {
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= 2e-6 + 1e-5 * want.abs()
}

/// The type of a tensor with every size unknown.
fn vague(t: &Tensor) -> TensorType {
    TensorType { dtype: t.dtype(), shape: t.shape().iter().map(|_| Dim::Unknown).collect() }
}

/// The type with a symbol for every size.
fn symbolic(t: &Tensor) -> TensorType {
    let name = |d: usize| Dim::symbol(&format!("S{d}"));
    TensorType { dtype: t.dtype(), shape: (0..t.rank()).map(name).collect::<Shape>() }
}

#[test]
fn operators_agree_with_pytorch_and_onnx_runtime() {
    let text = include_str!("golden/ops.json");
    let cases: Vec<Json> = serde_json::from_str(text).expect("JSON");
    assert!(cases.len() > 150);
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let name = case["op"].as_str().expect("op");
        let op = lookup(name).unwrap_or_else(|| panic!("no operator {name}"));
        let list = |key: &str| case[key].as_array().expect("list").iter().map(tensor).collect::<Vec<_>>();
        let (inputs, want) = (list("inputs"), list("outputs"));
        let attrs = attrs(op, &case["attrs"]).expect("attributes");
        let label = format!("case {i}: {name}{attrs}");
        let values: Vec<Option<Value>> = inputs.iter().map(|t| t.clone().map(Value::Dense)).collect();
        let got = match op.eval(&values, &attrs) {
            Ok(got) => got,
            Err(e) => {
                wrong.push(format!("{label}: {e}"));
                continue;
            }
        };
        for (got, want) in got.iter().zip(want.iter().flatten()) {
            let got = got.to_tensor();
            if got.dtype() != want.dtype() || got.shape() != want.shape() {
                wrong.push(format!("{label}: {} instead of {}", got.ty(), want.ty()));
            } else if want.dtype() == DType::F32 {
                let pairs = got.to_f32_vec().into_iter().zip(want.to_f32_vec());
                if let Some((g, w)) = pairs.into_iter().find(|&(g, w)| !close(g, w)) {
                    wrong.push(format!("{label}: {g} instead of {w}"));
                }
            } else if !got.bits_eq(want) {
                wrong.push(format!("{label}: {:?} instead of {:?}", got.to_i64_vec(), want.to_i64_vec()));
            }
        }
        assert_eq!(got.len(), want.len(), "{label}");
        // Inference: exact with known sizes and constants, compatible with less.
        for constants in [true, false] {
            for ty in [Tensor::ty, vague, symbolic] {
                let infos: Vec<Option<InputInfo<'_>>> = inputs
                    .iter()
                    .map(|t| {
                        t.as_ref().map(|t| InputInfo {
                            // The length of a vector of integers is the rank of something: it must be known.
                            ty: if t.dtype() == DType::I64 && t.rank() < 2 { t.ty() } else { ty(t) },
                            value: if constants && t.dtype() != DType::F32 { Some(t) } else { None },
                        })
                    })
                    .collect();
                match op.infer(&InferCx::new(op.signature(), &infos, &attrs)) {
                    Ok(types) => {
                        for (ty, want) in types.iter().zip(want.iter().flatten()) {
                            if ty.dtype != want.dtype() || !ty.shape.compatible(&want.ty().shape) {
                                wrong.push(format!("{label}: inferred {ty} for {}", want.ty()));
                            }
                        }
                    }
                    Err(e) => wrong.push(format!("{label}: inference: {e}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
