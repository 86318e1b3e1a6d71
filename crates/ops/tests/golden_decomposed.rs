//! The decomposed quantization operators against torch 2.8.0's, bit for bit (`scripts/golden_decomposed.py` made the file).

use quantc_ops::{Attr, Attrs, InferCx, InputInfo, OpRef, lookup};
use quantc_tensor::{DType, Element, Tensor, Value};
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Golden {
    torch: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    attrs: serde_json::Map<String, Json>,
    inputs: Vec<Bits>,
    outputs: Vec<Bits>,
}

#[derive(Deserialize)]
struct Bits {
    dtype: String,
    shape: Vec<usize>,
    bits: Vec<u64>,
}

impl Bits {
    fn tensor(&self) -> Tensor {
        fn of<T: Element>(bits: &Bits, f: impl Fn(u64) -> T) -> Tensor {
            Tensor::from_vec(&bits.shape, bits.bits.iter().map(|b| f(*b)).collect()).expect("as many as the shape says")
        }
        match self.dtype.as_str() {
            "f32" => of(self, |b| f32::from_bits(b as u32)),
            "f64" => of(self, f64::from_bits),
            "i64" => of(self, |b| b as i64),
            "i32" => of(self, |b| b as u32 as i32),
            "i8" => of(self, |b| b as u8 as i8),
            "u8" => of(self, |b| b as u8),
            other => panic!("dtype {other}"),
        }
    }
}

fn attrs(op: OpRef, given: &serde_json::Map<String, Json>) -> Attrs {
    let mut out = Attrs::new();
    for (name, v) in given {
        let name = op.signature().attr_name(name).unwrap_or_else(|| panic!("{op} has no attribute {name}"));
        let attr = match v {
            Json::String(s) => Attr::from(s.parse::<DType>().expect("dtype")),
            Json::Number(n) => Attr::from(n.as_i64().expect("integer")),
            Json::Object(o) => Attr::from(f32::from_bits(o["f32"].as_u64().expect("bits") as u32)),
            other => panic!("attribute {other}"),
        };
        out.set(name, attr);
    }
    out.check(op.signature()).unwrap_or_else(|e| panic!("{op}: {e}"))
}

#[test]
fn decomposed_operators_have_the_bits_of_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/decomposed.json")).expect("JSON");
    assert_eq!(golden.torch, "2.8.0");
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for (i, case) in golden.cases.iter().enumerate() {
        let op = lookup(&case.op).unwrap_or_else(|| panic!("no operator {}", case.op));
        *seen.entry(&case.op).or_default() += 1;
        let attrs = attrs(op, &case.attrs);
        let label = format!("case {i}: {op}{attrs}");
        let inputs: Vec<Option<Value>> = case.inputs.iter().map(|b| Some(Value::Dense(b.tensor()))).collect();
        let got = op.eval(&inputs, &attrs).unwrap_or_else(|e| panic!("{label}: {e}"));
        assert_eq!(got.len(), case.outputs.len(), "{label}");
        let infos: Vec<_> = inputs.iter().map(|v| v.as_ref().map(InputInfo::of)).collect();
        let types = op.infer(&InferCx::new(op.signature(), &infos, &attrs)).expect("types");
        for ((got, want), ty) in got.iter().zip(&case.outputs).zip(types) {
            let (got, want) = (got.to_tensor(), want.tensor());
            assert_eq!(got.ty(), ty, "{label}");
            assert!(got.bits_eq(&want), "{label}: {got:?}\ninstead of {want:?}");
        }
    }
    let names: Vec<&str> = seen.keys().copied().collect();
    assert_eq!(
        names,
        [
            "choose_qparams",
            "choose_qparams_per_token",
            "choose_qparams_per_token_asymmetric",
            "choose_qparams_symmetric",
            "dequantize_per_channel_group",
            "dequantize_per_tensor.tensor",
            "dequantize_per_token",
            "quantize_per_channel_group",
            "quantize_per_tensor.tensor",
            "quantize_per_token",
        ]
    );
    assert!(seen.values().all(|n| *n > 10), "{seen:?}");
}

fn eval(op: &str, inputs: &[Tensor], attrs: Attrs) -> Result<Vec<Tensor>, String> {
    let op = lookup(op).expect("exists");
    let inputs: Vec<Option<Value>> = inputs.iter().cloned().map(|t| Some(Value::Dense(t))).collect();
    let out = op.eval(&inputs, &attrs.check(op.signature()).map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    Ok(out.iter().map(Value::to_tensor).collect())
}

/// What PyTorch leaves undefined or fails on.
#[test]
fn numbers_that_are_none_have_a_defined_result() {
    let x = Tensor::from_vec(&[1, 4], vec![f32::NAN, 1.0, -1.0, f32::INFINITY]).expect("fits");
    let narrow = Tensor::from_vec(&[1, 3], vec![f32::NAN, 1.0, -1.0]).expect("fits");
    let range = || Attrs::new().with("quant_min", -128i64).with("quant_max", 127i64).with("dtype", DType::I8);
    let chosen = eval("choose_qparams", &[narrow], range()).expect("NaN does not count");
    assert_eq!(chosen[0].to_f32_vec(), [2.0 / 255.0]);
    let (scale, zero) = (Tensor::from_vec(&[1, 1], vec![0.5f32]), Tensor::from_vec(&[1, 1], vec![3i32]));
    let parameters = [x, scale.expect("fits"), zero.expect("fits")];
    let q = eval("quantize_per_token", &parameters, range()).expect("defined");
    assert_eq!(q[0].to_i64_vec(), [-128, 5, 1, 127]);
    let refused = eval("quantize_per_channel_group", &parameters, range().with("group_size", 4i64));
    assert!(refused.expect_err("NaN").contains("element 0 is NaN"));
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let x = Tensor::from_vec(&[2, 6], vec![1.0f32; 12]).expect("fits");
    let scales = |n: usize| Tensor::from_vec(&[2, n / 2], vec![1.0f32; n]).expect("fits");
    let zeros = |n: usize| Tensor::from_vec(&[2, n / 2], vec![0i32; n]).expect("fits");
    let group = |size: i64| Attrs::new().with("group_size", size);
    let error = |op: &str, n: usize, attrs: Attrs| {
        eval(op, &[x.clone(), scales(n), zeros(n)], attrs).expect_err("does not fit")
    };
    let messages = [
        error("quantize_per_token", 4, Attrs::new()),
        error("quantize_per_channel_group", 4, group(4)),
        error("quantize_per_channel_group", 4, group(1)),
        error("quantize_per_channel_group", 4, group(2)),
        error("quantize_per_tensor.tensor", 4, Attrs::new()),
        eval("choose_qparams", std::slice::from_ref(&x), Attrs::new().with("quant_min", 5i64).with("quant_max", 9i64))
            .expect_err("does not hold 0"),
        eval("choose_qparams_per_token", std::slice::from_ref(&x), Attrs::new().with("dtype", DType::U8))
            .expect_err("only i8"),
        eval("choose_qparams_per_token", &[Tensor::scalar(1.0f32)], Attrs::new()).expect_err("no rows"),
    ];
    let wanted = [
        "4 scales for 2 blocks of 6 elements",
        "rows of 6 elements in groups of 4",
        "`group_size` can't be 1",
        "4 scales for 6 blocks of 2 elements",
        "it must be one number",
        "the range 5..=9 must hold 0",
        "gives parameters for i8, not u8",
        "needs a last dimension",
    ];
    for (message, want) in messages.iter().zip(wanted) {
        assert!(message.contains(want), "{message:?} instead of {want:?}");
    }
}
