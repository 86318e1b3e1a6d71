//! Our integer operators against PyTorch's quantized kernels (torch 2.8.0; `scripts/golden_quantized_ops.py` made the file): every value is equal or
//! one step apart, as many are apart as [`ROWS`] says, and for the reason given there. The table of docs/numerics.md is made of these rows;
//! `QUANTC_BLESS=1` writes it.
//!
//! Held elsewhere: embeddings, recurrent layers and attention (`quantc/tests/torch_modules.rs`), dynamic layers and whole models of the eager
//! workflow (`quant/tests/eager.rs`), models against `convert_to_reference_fx` (`quant/tests/reference.rs`), quantize, dequantize and the methods of quantized tensors
//! (`tensor/tests/golden_quantized_tensor.rs`), the decomposed operators (`golden_decomposed.rs`). PyTorch has no quantized kernel of `quantized.sub`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use quantc_ops::{Attr, Attrs, InferCx, InputInfo, OpRef, lookup, operators};
use quantc_tensor::{DType, Element, Tensor, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// What PyTorch runs.
struct Row {
    name: &'static str,
    /// Values compared.
    values: usize,
    /// Those that differ, all by one step.
    differ: usize,
    /// How far from the middle between two steps, in steps, our result is before it is rounded, where it differs.
    margin: f32,
    why: &'static str,
}

/// All values are equal.
const fn equal(name: &'static str, values: usize, why: &'static str) -> Row {
    Row { name, values, differ: 0, margin: 0.0, why }
}

/// Some values lie in the middle between two steps, but for the rounding errors of f32.
const fn ties(name: &'static str, values: usize, differ: usize, why: &'static str) -> Row {
    Row { name, values, differ, margin: 1e-4, why }
}

const FUNCTION: &str = "dequantized, the function in f32, quantized";
const CLAMPED: &str = "the codes are clamped to the quantized bounds";
const MOVED: &str = "codes are moved as they are";
const SUMS: &str = "the sum is exact, one product by s_x s_w / s_y, rounded half to even";
const SCALED: &str = "the sum is exact, the scales are applied in f32";
const CONTIGUOUS: &str = "a mean in the middle between two codes: this kernel rounds q to even, the contract q - z, so they differ where z is odd; and as in the next row";
const UNLIKE: &str = "windows of unlike sizes give real means here, rounded once more than PyTorch's factor 1 / n";
const FLOAT_BIAS: &str = "the bias is added in f32, the contract rounds it to i32: half a unit of s_x s_w at most";

static ROWS: &[Row] = &[
    equal("relu, relu6", 3516, CLAMPED),
    equal("hardtanh, clamp", 3516, CLAMPED),
    equal("threshold", 1758, FUNCTION),
    ties(
        "leaky_relu",
        3516,
        2,
        "the vector loop dequantizes by a fused multiply-add, which is a last bit apart; it shows where the result is in the middle between two steps",
    ),
    equal("elu", 1758, FUNCTION),
    equal("celu", 1758, FUNCTION),
    equal("hardswish", 1758, FUNCTION),
    equal("hardsigmoid", 1758, FUNCTION),
    equal("sigmoid", 3516, FUNCTION),
    equal("tanh", 1758, FUNCTION),
    equal("gelu", 3516, FUNCTION),
    equal("prelu", 1120, "one integer product, exact; ours is in f32"),
    equal("softmax", 1320, FUNCTION),
    equal("max_pool1d, 2d, 3d", 2180, MOVED),
    equal("interpolate (nearest, nearest-exact), upsample_nearest", 5596, MOVED),
    ties(
        "interpolate (bilinear), upsample_bilinear",
        7256,
        95,
        "PyTorch weighs codes, in both dimensions at once, ours real numbers, one dimension after the other: weights of 1/2 and 1/4 meet the middle between two steps",
    ),
    ties("avg_pool1d, avg_pool2d", 3636, 531, CONTIGUOUS),
    ties("avg_pool2d (channels last), avg_pool3d", 3972, 20, UNLIKE),
    ties("adaptive_avg_pool1d, 2d, 3d", 1224, 163, CONTIGUOUS),
    ties("adaptive_avg_pool1d, 2d, 3d (channels last)", 1128, 1, UNLIKE),
    ties("mean (innermost dimensions)", 272, 3, "the mean of the codes, sum / n, rounds q to even; the contract q - z"),
    ties("mean (other dimensions)", 452, 1, "the mean of the dequantized values in f32; a tie falls either way"),
    equal("layer_norm", 3096, "sums of the codes are integers, the rest f32; ours is f32 throughout"),
    equal("group_norm", 3360, "the same"),
    equal("instance_norm", 5352, "the same"),
    equal(
        "batch_norm1d, 2d, 3d, and with relu",
        6416,
        "factor and term take in both scales, one multiply-add, fused in the vector loop",
    ),
    equal("add, add_relu", 3120, "dequantized (in the vector loop by fused multiply-adds), added in f32, quantized"),
    equal("mul, mul_relu", 3120, "one integer product, exact, by s_a s_b (1 / s_y); the contract has s_a s_b / s_y"),
    Row {
        name: "add_scalar, add_scalar_relu (any steps)",
        values: 888,
        differ: 76,
        margin: 0.3,
        why: "PyTorch rounds the scalar to whole steps of the input; it shows where the scale has to change",
    },
    equal("add_scalar, add_scalar_relu (whole steps)", 592, "the zero point moves, or the scale changes"),
    equal("mul_scalar, mul_scalar_relu", 1480, "the scale changes, codes stay or are mirrored"),
    equal("matmul", 480, "dequantized, multiplied in f32, quantized; ours is an exact integer sum"),
    equal("cat (equal parameters)", 3528, MOVED),
    equal("cat, cat_relu (other parameters)", 5400, "dequantized and quantized, ours too"),
    equal("linear, conv, conv_transpose: fbgemm, no bias", 2171, SUMS),
    equal("linear, conv, conv_transpose: fbgemm, bias of whole units", 2171, SUMS),
    Row {
        name: "linear, conv, conv_transpose: fbgemm, any bias",
        values: 2171,
        differ: 2,
        margin: 1e-3,
        why: FLOAT_BIAS,
    },
    equal("linear, conv: onednn, no bias", 1340, SCALED),
    equal("linear, conv: onednn, bias of whole units", 1340, SCALED),
    Row { name: "linear, conv: onednn, any bias", values: 1340, differ: 1, margin: 1e-3, why: FLOAT_BIAS },
    equal("linear, conv, conv_transpose: qnnpack, no bias", 2911, SUMS),
    equal("linear, conv, conv_transpose: qnnpack, bias of whole units", 2911, SUMS),
    equal("linear, conv, conv_transpose: qnnpack, any bias", 2911, "the bias is rounded to i32, as in the contract"),
    equal(
        "linear_leaky_relu, linear_tanh (onednn)",
        748,
        "the function sees the sum before it is rounded, as in the contract",
    ),
    equal(
        "conv2d_add, conv2d_add_relu (onednn)",
        1152,
        "the sum is not rounded before the addition, as in the contract",
    ),
];

/// Operators that other tests compare, or that PyTorch has no kernel of.
const ELSEWHERE: &[&str] = &[
    "quantized.conv1d_dynamic",
    "quantized.conv2d_dynamic",
    "quantized.conv3d_dynamic",
    "quantized.conv_transpose1d_dynamic",
    "quantized.conv_transpose2d_dynamic",
    "quantized.conv_transpose3d_dynamic",
    "quantized.embedding",
    "quantized.embedding_bag",
    "quantized.gru_dynamic",
    "quantized.linear_dynamic",
    "quantized.lstm_dynamic",
    "quantized.rnn_dynamic",
    "quantized.sub",
];

#[derive(Deserialize)]
struct Golden {
    torch: String,
    tensors: Vec<Stored>,
    kernels: BTreeMap<String, Vec<Case>>,
}

/// Type, shape, and the elements' bytes in base64.
#[derive(Deserialize)]
struct Stored(String, Vec<usize>, String);

/// The inputs, the steps that compute here what PyTorch's kernel computes, its result.
#[derive(Deserialize)]
struct Case(Vec<usize>, Vec<Step>, usize);

/// An operator, the values that it takes, its attributes.
#[derive(Clone, Deserialize)]
struct Step(String, Vec<usize>, Map<String, Json>);

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} in base64"),
    };
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0u32, |bits, &c| bits << 6 | u32::from(digit(c)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes[1..group.len()].to_vec()
    };
    text.as_bytes().chunks(4).flat_map(group).collect()
}

impl Stored {
    fn tensor(&self) -> Tensor {
        fn of<T: Element>(shape: &[usize], data: Vec<T>) -> Tensor {
            Tensor::from_vec(shape, data).expect("as many as the shape says")
        }
        let Stored(dtype, shape, data) = self;
        let bytes = base64(data);
        match dtype.as_str() {
            "u8" => of(shape, bytes),
            "i8" => of(shape, bytes.iter().map(|b| b.cast_signed()).collect()),
            "f32" => {
                let four = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
                of(shape, bytes.chunks_exact(4).map(four).collect())
            }
            other => panic!("dtype {other}"),
        }
    }
}

fn attrs(op: OpRef, given: &Map<String, Json>) -> Attrs {
    let mut out = Attrs::new();
    for (name, v) in given {
        let real = |v: &Json| v.as_f64().expect("a number") as f32;
        let int = |v: &Json| v.as_i64().expect("an integer");
        let attr = match v {
            Json::Bool(b) => Attr::from(*b),
            Json::String(s) if name == "dtype" => Attr::from(s.parse::<DType>().expect("dtype")),
            Json::String(s) => Attr::from(s.as_str()),
            Json::Number(n) if n.is_f64() => Attr::from(real(v)),
            Json::Number(_) => Attr::from(int(v)),
            Json::Array(list) if list.iter().any(Json::is_f64) => {
                Attr::from(list.iter().map(real).collect::<Vec<f32>>())
            }
            Json::Array(list) => Attr::from(list.iter().map(int).collect::<Vec<i64>>()),
            other => panic!("attribute {other}"),
        };
        let name = op.signature().attr_name(name).unwrap_or_else(|| panic!("{op} has no attribute {name}"));
        out.set(name, attr);
    }
    out.check(op.signature()).unwrap_or_else(|e| panic!("{op}: {e}"))
}

/// What our operators compute of these inputs, each of the type that inference gives it.
fn run(inputs: &[Tensor], steps: &[Step]) -> Tensor {
    let mut values: Vec<Value> = inputs.iter().cloned().map(Value::Dense).collect();
    for Step(name, taken, given) in steps {
        let op = lookup(name).unwrap_or_else(|| panic!("no operator {name}"));
        let attrs = attrs(op, given);
        let operands: Vec<Option<Value>> = taken.iter().map(|&i| Some(values[i].clone())).collect();
        let result = op.eval(&operands, &attrs).unwrap_or_else(|e| panic!("{op}{attrs}: {e}"));
        let infos: Vec<_> = operands.iter().map(|v| v.as_ref().map(InputInfo::of)).collect();
        let types =
            op.infer(&InferCx::new(op.signature(), &infos, &attrs)).unwrap_or_else(|e| panic!("{op}{attrs}: {e}"));
        assert_eq!(result[0].to_tensor().ty(), types[0], "{op}{attrs}");
        values.extend(result);
    }
    values.last().expect("a result").to_tensor()
}

/// The result in steps of its scale before it is rounded.
fn unrounded(inputs: &[Tensor], steps: &[Step]) -> Vec<f32> {
    let mut steps = steps.to_vec();
    let last = steps.last_mut().expect("a step");
    let scale = last.2["scale"].as_f64().expect("a scale") as f32;
    if last.0 == "quantize_per_tensor" {
        steps.pop();
    } else {
        last.2.insert("dtype".into(), "f32".into());
    }
    run(inputs, &steps).to_f32_vec().iter().map(|v| v / scale).collect()
}

#[test]
fn codes_are_those_of_pytorchs_quantized_kernels() {
    let golden: Golden = serde_json::from_str(include_str!("golden/quantized_ops.json")).expect("JSON");
    assert_eq!(golden.torch, "2.8.0");
    let tensors: Vec<Tensor> = golden.tensors.iter().map(Stored::tensor).collect();
    assert_eq!(golden.kernels.values().map(Vec::len).sum::<usize>(), 651);
    let names: BTreeSet<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names, golden.kernels.keys().map(String::as_str).collect());
    for Row { name, values, differ, margin, .. } in ROWS {
        let (mut seen, mut apart, mut farthest) = (0, 0, 0.0f32);
        for (i, Case(inputs, steps, output)) in golden.kernels[*name].iter().enumerate() {
            let inputs: Vec<Tensor> = inputs.iter().map(|&i| tensors[i].clone()).collect();
            let (ours, theirs) = (run(&inputs, steps), &tensors[*output]);
            assert_eq!(ours.ty(), theirs.ty(), "{name}, case {i}");
            let (ours, theirs) = (ours.to_i64_vec(), theirs.to_i64_vec());
            seen += ours.len();
            if ours == theirs {
                continue;
            }
            let real = unrounded(&inputs, steps);
            for ((our, their), real) in ours.iter().zip(&theirs).zip(real).filter(|((our, their), _)| our != their) {
                assert_eq!((our - their).abs(), 1, "{name}, case {i}: {our} instead of {their}");
                apart += 1;
                farthest = farthest.max((real - real.floor() - 0.5).abs());
            }
        }
        assert_eq!((seen, apart), (*values, *differ), "{name}: how many values, and how many apart");
        assert!(farthest <= *margin, "{name}: {farthest} from the middle between two steps");
    }
    let run: BTreeSet<&str> = golden.kernels.values().flatten().flat_map(|c| &c.1).map(|s| s.0.as_str()).collect();
    let missing: BTreeSet<&str> =
        operators().map(|op| op.name()).filter(|op| op.starts_with("quantized.") && !run.contains(op)).collect();
    assert_eq!(missing, ELSEWHERE.iter().copied().collect());
}

#[test]
fn the_table_is_that_of_the_page() {
    let mut table =
        String::from("| PyTorch's kernel | values | a step apart | PyTorch's way, why |\n|---|---|---|---|\n");
    for Row { name, values, differ, why, .. } in ROWS {
        let share = match differ {
            0 => "none".to_owned(),
            n => format!("{n} ({:.1} %)", 100.0 * *n as f64 / *values as f64),
        };
        writeln!(table, "| {name} | {values} | {share} | {why} |").expect("a string");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/numerics.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (start, end) = ("<!-- generated: kernels -->\n", "<!-- end -->");
    let from = page.find(start).expect("the table's start") + start.len();
    let to = from + page[from..].find(end).expect("the table's end");
    if std::env::var_os("QUANTC_BLESS").is_some() {
        std::fs::write(path, format!("{}{table}{}", &page[..from], &page[to..])).expect("can be written");
        return;
    }
    assert!(page[from..to] == table, "docs/numerics.md has another table; QUANTC_BLESS=1 writes it:\n{table}");
}
