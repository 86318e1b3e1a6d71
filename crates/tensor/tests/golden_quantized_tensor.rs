//! Quantized tensors against torch 2.8.0's, bit for bit (`scripts/golden_quantized_tensor.py` made the file).

use quantc_tensor::quantized::{Operand, QuantizedError, Quantizer};
use quantc_tensor::{DType, QParams, QRange, QuantizedTensor, Tensor, choose_qparams};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/quantized_tensor.json")).expect("a JSON file")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list `{key}` in {value}"))
}

fn ints<T: TryFrom<i64>>(value: &Value) -> Vec<T> {
    let int = |v: &Value| v.as_i64().and_then(|v| T::try_from(v).ok()).unwrap_or_else(|| panic!("{v} is no integer"));
    value.as_array().expect("a list").iter().map(int).collect()
}

fn hex<T>(value: &Value, digits: usize, read: fn(u64) -> T) -> Vec<T> {
    let text = value.as_str().expect("digits");
    let number = |i: usize| u64::from_str_radix(&text[i * digits..(i + 1) * digits], 16).expect("hexadecimal");
    (0..text.len() / digits).map(|i| read(number(i))).collect()
}

fn f32s(value: &Value) -> Vec<f32> {
    hex(value, 8, |bits| f32::from_bits(bits as u32))
}

fn f64s(value: &Value) -> Vec<f64> {
    hex(value, 16, f64::from_bits)
}

fn dense(value: &Value) -> Tensor {
    Tensor::from_vec(&ints(&value["shape"]), f32s(&value["x"])).expect("fills its shape")
}

/// The quantized tensor that a description of one asks for, by the function that PyTorch was asked.
fn source(value: &Value) -> Result<QuantizedTensor, QuantizedError> {
    let (x, dtype) = (dense(value), value["dtype"].as_str().expect("a name").parse().expect("a quantized dtype"));
    let scales = f64s(&value["scales"]);
    let Some(axis) = value["axis"].as_u64() else {
        return QuantizedTensor::quantize_per_tensor(&x, scales[0], ints::<i64>(&value["zero_points"])[0], dtype);
    };
    let zero_points = if value["float_zero_points"] == Value::Bool(true) {
        Tensor::vector(f32s(&value["zero_points"]))
    } else {
        Tensor::vector(ints::<i64>(&value["zero_points"]))
    };
    QuantizedTensor::quantize_per_channel(&x, &Tensor::vector(scales), &zero_points, axis as usize, dtype)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.slice::<f32>().expect("f32").iter().map(|v| v.to_bits()).collect()
}

#[test]
fn quantize_and_dequantize() {
    let golden = golden();
    for case in list(&golden, "quantize") {
        let q = source(case).unwrap_or_else(|e| panic!("{e}: {case}"));
        assert_eq!(q.ints(), ints::<i32>(&case["ints"]), "{case}");
        assert_eq!(q.int_repr().to_i64_vec(), ints::<i64>(&case["int_repr"]), "{case}");
        assert_eq!(q.int_repr().shape(), ints::<usize>(&case["int_repr_shape"]), "{case}");
        assert_eq!(q.int_repr().dtype(), q.dtype().storage(), "{case}");
        assert_eq!(q.dequantize().shape(), q.shape(), "{case}");
        let want: Vec<u32> = f32s(&case["dequantized"]).iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits(&q.dequantize()), want, "{case}");
        let again = QuantizedTensor::from_int_repr(&q.int_repr(), q.shape(), q.quantizer().clone(), q.dtype());
        assert!(again.expect("what it gave").equal(&q), "{case}");
    }
}

#[test]
fn what_pytorch_refuses() {
    for case in list(&golden(), "refused") {
        assert!(source(case).is_err(), "{case}");
    }
}

/// What a method gives, of whatever kind.
#[derive(Debug)]
enum Outcome {
    Quantized(QuantizedTensor),
    Indexed(QuantizedTensor, Tensor),
    Plain(Tensor),
    Flag(bool),
}

fn call(q: &QuantizedTensor, name: &str, args: &Value) -> Result<Outcome, QuantizedError> {
    let int = |key: &str| args[key].as_i64().unwrap_or_else(|| panic!("no integer `{key}` in {args}"));
    let flag = |key: &str| args[key].as_bool().unwrap_or_else(|| panic!("no flag `{key}` in {args}"));
    let indexed = |(values, indices)| Outcome::Indexed(values, indices);
    let mut copy = q.clone();
    let written = match name {
        "copy_" => copy.copy_(&source(&args["quantized"])?),
        "copy_from_float_" => copy.copy_from_float_(&dense(args)),
        "resize_" => copy.resize_(&ints::<usize>(&args["shape"])),
        _ => Ok(()),
    };
    Ok(match name {
        "copy_" | "copy_from_float_" | "resize_" => return written.map(|()| Outcome::Quantized(copy)),
        "view" => Outcome::Quantized(q.view(&ints::<i64>(&args["shape"]))?),
        "flatten" => Outcome::Quantized(q.flatten(int("start"), int("end"))?),
        "select" => Outcome::Quantized(q.select(int("dim"), int("index"))?),
        "expand" => Outcome::Quantized(q.expand(&ints::<i64>(&args["sizes"]))?),
        "as_strided" => {
            let (sizes, strides) = (ints::<usize>(&args["sizes"]), ints::<usize>(&args["strides"]));
            Outcome::Quantized(q.as_strided(&sizes, &strides, int("offset") as usize)?)
        }
        "max" => Outcome::Quantized(q.max()?),
        "min" => Outcome::Quantized(q.min()?),
        "max_dim" => indexed(q.max_dim(int("dim"), flag("keepdim"))?),
        "min_dim" => indexed(q.min_dim(int("dim"), flag("keepdim"))?),
        "mean" => Outcome::Quantized(q.mean(&ints::<i64>(&args["dims"]), flag("keepdim"))?),
        "sort" => indexed(q.sort(int("dim"), flag("descending"))?),
        "topk" => indexed(q.topk(int("k") as usize, int("dim"), flag("largest"))?),
        "equal" if args.get("self").is_some() => Outcome::Flag(q.equal(q)),
        "equal" => Outcome::Flag(q.equal(&source(&args["quantized"])?)),
        _ => Outcome::Plain(compare(q, name, args)?),
    })
}

fn compare(q: &QuantizedTensor, name: &str, args: &Value) -> Result<Tensor, QuantizedError> {
    let (tensor, quantized);
    let other = if let Some(scalar) = args["scalar"].as_f64() {
        Operand::from(scalar)
    } else if args["quantized"].is_object() {
        quantized = source(&args["quantized"])?;
        Operand::from(&quantized)
    } else if args.get("self").is_some() {
        Operand::from(q)
    } else {
        tensor = dense(args).cast(args["dense"].as_str().expect("a dtype").parse().expect("a dtype"));
        Operand::from(&tensor)
    };
    match name {
        "eq" => q.eq(other),
        "ne" => q.ne(other),
        "ge" => q.ge(other),
        "le" => q.le(other),
        "gt" => q.gt(other),
        "lt" => q.lt(other),
        _ => panic!("no method `{name}`"),
    }
}

fn assert_is(q: &QuantizedTensor, want: &Value, what: &str) {
    assert_eq!(q.shape(), ints::<usize>(&want["shape"]), "{what}");
    assert_eq!(q.ints(), ints::<i32>(&want["ints"]), "{what}");
    assert_eq!(q.quantizer().axis().map(|a| a as u64), want["axis"].as_u64(), "{what}");
    let scales = f64s(&want["scales"]);
    match q.quantizer() {
        Quantizer::PerTensorAffine { .. } => {
            assert_eq!(
                (q.q_scale(), q.q_zero_point()),
                (Ok(scales[0]), Ok(ints::<i32>(&want["zero_points"])[0])),
                "{what}"
            );
            assert!(q.q_per_channel_scales().is_err() && q.q_per_channel_zero_points().is_err(), "{what}");
            assert!(q.q_per_channel_axis().is_err(), "{what}");
        }
        Quantizer::PerChannelAffine { axis, .. } => {
            assert!(q.q_per_channel_scales().expect("has").bits_eq(&Tensor::vector(scales)), "{what}");
            let zero_points = q.q_per_channel_zero_points().expect("has");
            assert!(zero_points.bits_eq(&Tensor::vector(ints::<i64>(&want["zero_points"]))), "{what}");
            assert_eq!(q.q_per_channel_axis(), Ok(*axis), "{what}");
            assert!(q.q_scale().is_err() && q.q_zero_point().is_err(), "{what}");
        }
        Quantizer::PerChannelAffineFloatQParams { axis, .. } => {
            let wanted = Tensor::vector(scales).cast(DType::F32);
            assert!(q.q_per_channel_scales().expect("has").bits_eq(&wanted), "{what}");
            let zero_points = q.q_per_channel_zero_points().expect("has");
            assert!(zero_points.bits_eq(&Tensor::vector(f32s(&want["zero_points"]))), "{what}");
            assert_eq!(q.q_per_channel_axis(), Ok(*axis), "{what}");
        }
    }
}

#[test]
fn methods() {
    let golden = golden();
    let mut seen = std::collections::BTreeMap::new();
    for case in list(&golden, "methods") {
        let q = source(&case["source"]).unwrap_or_else(|e| panic!("{e}: {case}"));
        for entry in list(case, "calls") {
            let (name, args, want) = (entry[0].as_str().expect("a name"), &entry[1], &entry[2]);
            let what = format!("{} of {}: {want}", entry[0], case["source"]) + &args.to_string();
            let counts = seen.entry(name.to_owned()).or_insert((0, 0));
            match call(&q, name, args) {
                Err(e) => {
                    assert!(want["error"].is_string(), "{e}: {what}");
                    counts.1 += 1;
                    continue;
                }
                Ok(_) if want["error"].is_string() => panic!("no error: {what}"),
                Ok(Outcome::Quantized(got)) => assert_is(&got, want, &what),
                Ok(Outcome::Indexed(got, indices)) => {
                    assert_is(&got, want, &what);
                    assert_eq!(indices.shape(), got.shape(), "{what}");
                    if want["indices"].is_array() {
                        assert_eq!(indices.slice::<i64>(), Ok(&ints::<i64>(&want["indices"])[..]), "{what}");
                    }
                }
                Ok(Outcome::Plain(got)) => {
                    let flags: Vec<Value> = got.slice::<bool>().expect("bool").iter().map(|&b| b.into()).collect();
                    assert_eq!(flags, list(want, "bool"), "{what}");
                    assert_eq!(got.shape(), ints::<usize>(&want["shape"]), "{what}");
                }
                Ok(Outcome::Flag(got)) => assert_eq!(Some(got), want["flag"].as_bool(), "{what}"),
            }
            counts.0 += 1;
        }
    }
    // Every method is among them, and every one but `equal` is refused somewhere too.
    let names = "as_strided copy_ copy_from_float_ eq equal expand flatten ge gt le lt max max_dim mean min min_dim ne resize_ select \
                 sort topk view";
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), names.split_whitespace().collect::<Vec<_>>());
    for (name, (fine, refused)) in seen {
        assert!(fine > 0 && (refused > 0) == (name != "equal"), "{name}: {fine} results, {refused} errors");
    }
}

/// The plain integer types, i16 among them, as `torch.ops.quantized_decomposed` quantizes to them.
#[test]
fn plain_integers() {
    for case in list(&golden(), "decomposed") {
        let range = QRange {
            dtype: case[0].as_str().expect("a dtype").parse().expect("a dtype"),
            qmin: case[1].as_i64().expect("qmin") as i32,
            qmax: case[2].as_i64().expect("qmax") as i32,
        };
        let qparams = QParams::per_tensor(f32s(&case[4])[0], case[5].as_i64().expect("zero point") as i32, range);
        let q: Vec<i32> = f32s(&case[3]).into_iter().map(|x| qparams.quantize(x, 0)).collect();
        assert_eq!(q, ints::<i32>(&case[6]), "{case}");
        let back: Vec<u32> = q.into_iter().map(|q| qparams.dequantize(q, 0).to_bits()).collect();
        assert_eq!(back, f32s(&case[7]).into_iter().map(f32::to_bits).collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn choose_quantization_params() {
    let range = QRange::full(DType::U8).expect("a quantized type");
    let golden = golden();
    let mut floored = 0;
    for case in list(&golden, "choose_qparams") {
        let (lo, hi) = (f32s(&case[0])[0], f32s(&case[1])[0]);
        let got =
            choose_qparams(lo, hi, range, case[2].as_bool().expect("a flag")).unwrap_or_else(|e| panic!("{e}: {case}"));
        let want = (f64s(&case[3])[0], case[4].as_i64().expect("a zero point") as i32);
        assert_eq!((got.0.to_bits(), got.1), (want.0.to_bits(), want.1), "{case}");
        floored += usize::from(got.0 == f64::from(6.1e-5f32) || got.0 == 0.1);
    }
    assert!(floored > 50, "{floored} of the ranges are tiny");
    for (lo, hi) in [(1.0, -1.0), (f32::NAN, 1.0), (0.0, f32::NAN), (0.0, f32::INFINITY), (f32::NEG_INFINITY, 0.0)] {
        assert!(choose_qparams(lo, hi, range, false).is_err(), "{lo} to {hi}");
    }
    assert!(choose_qparams(0.0, 1.0, QRange { qmin: 0, qmax: 1, ..range }, true).is_err());
}
