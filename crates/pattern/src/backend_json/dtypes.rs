//! Dtype configurations in PyTorch's words.

use std::sync::Arc;

use quantc_tensor::DType;
use serde_json::{Map, Value as Json, json};

use super::read::{Fields, FormError};
use crate::backend::{DTypeConfig, DTypeWithConstraints, FixedQParams};

/// PyTorch's names of the element types, a type's own first.
const DTYPES: &[(&str, DType)] = &[
    ("torch.quint8", DType::U8),
    ("torch.uint8", DType::U8),
    ("torch.qint8", DType::I8),
    ("torch.int8", DType::I8),
    ("torch.int16", DType::I16),
    ("torch.qint32", DType::I32),
    ("torch.int32", DType::I32),
    ("torch.int64", DType::I64),
    ("torch.float32", DType::F32),
    ("torch.float", DType::F32),
    ("torch.float64", DType::F64),
    ("torch.double", DType::F64),
    ("torch.bool", DType::Bool),
];

/// Types that PyTorch has and quantc has not.
const OTHER_DTYPES: &[&str] = &[
    "torch.float16",
    "torch.half",
    "torch.bfloat16",
    "torch.quint4x2",
    "torch.quint2x4",
    "torch.uint16",
    "torch.uint32",
    "torch.float8_e4m3fn",
    "torch.float8_e5m2",
];

/// A type as PyTorch writes it.
fn dtype_name(dtype: DType) -> &'static str {
    DTYPES.iter().find(|d| d.1 == dtype).map_or("", |d| d.0)
}

/// The type that values are rounded to, in PyTorch's words; quantc has a flag for it.
const HALF: &str = "torch.float16";
/// The codes of 4 bits that a weight may have.
const FOUR_BITS: &str = "torch.quint4x2";

/// A configuration as a dictionary. `fixed`: the parameters that the pattern's output always has, which PyTorch asks for as exact ones.
/// `weighted`: whether the pattern has a weight.
pub(super) fn to_json(config: &DTypeConfig, fixed: &[FixedQParams], weighted: bool) -> Json {
    let mut out = Map::new();
    if config.half {
        let rest = if config.dynamic { dtype_name(DType::F32) } else { HALF };
        let fields = [("input_dtype", HALF), ("output_dtype", rest), ("weight_dtype", HALF), ("bias_dtype", rest)];
        let fields = fields.into_iter().take(if weighted { 4 } else { 2 });
        out.extend(fields.map(|(key, dtype)| (key.to_owned(), json!(dtype))));
        if config.dynamic {
            out.insert("is_dynamic".to_owned(), json!(true));
        }
        return Json::Object(out);
    }
    if let Some(input) = &config.input {
        out.insert("input_dtype".to_owned(), constraints_to_json(input));
    }
    if let Some(output) = &config.output {
        let mut output = output.clone();
        if let Some(fixed) = fixed.iter().find(|f| f.dtype == output.dtype) {
            output.scale_exact.get_or_insert(fixed.scale);
            output.zero_point_exact.get_or_insert(fixed.zero_point);
        }
        out.insert("output_dtype".to_owned(), constraints_to_json(&output));
    }
    if let Some(weight) = &config.weight {
        out.insert("weight_dtype".to_owned(), constraints_to_json(weight));
    }
    if let Some(bias) = config.bias {
        out.insert("bias_dtype".to_owned(), json!(dtype_name(bias)));
    }
    if config.dynamic {
        out.insert("is_dynamic".to_owned(), json!(true));
    }
    Json::Object(out)
}

fn constraints_to_json(c: &DTypeWithConstraints) -> Json {
    let int = |v: Option<i32>| v.map(|v| json!(v));
    let real = |v: Option<f32>| v.map(|v| json!(decimal(v)));
    let fields = [
        ("quant_min_lower_bound", int(c.quant_min)),
        ("quant_max_upper_bound", int(c.quant_max)),
        ("scale_min_lower_bound", real(c.scale_min)),
        ("scale_max_upper_bound", real(c.scale_max)),
        ("scale_exact_match", real(c.scale_exact)),
        ("zero_point_exact_match", int(c.zero_point_exact)),
    ];
    let given: Vec<(&str, Json)> = fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    if given.is_empty() {
        return json!(dtype_name(c.dtype));
    }
    let mut out = Map::new();
    out.insert("dtype".to_owned(), json!(dtype_name(c.dtype)));
    out.extend(given.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Json::Object(out)
}

/// The number whose decimal form is the shortest that is this f32; a power of two is itself.
fn decimal(v: f32) -> f64 {
    let exact = f64::from(v);
    if is_power_of_two(v) { exact } else { v.to_string().parse().unwrap_or(exact) }
}

fn is_power_of_two(v: f32) -> bool {
    // The fraction bits of a normal number.
    v.is_normal() && v > 0.0 && v.to_bits() << 9 == 0
}

/// A configuration, or the type in it that quantc has not.
pub(super) type Read = Result<DTypeConfig, String>;

/// Reads a configuration; its name is left empty.
///
/// # Errors
/// If it is not of the form.
pub(super) fn from_json(at: &str, value: &Json) -> Result<Read, FormError> {
    let fields = Fields::new(at, value)?;
    fields.only(&["input_dtype", "output_dtype", "weight_dtype", "bias_dtype", "is_dynamic"])?;
    if let Some(half) = half(&fields)? {
        return Ok(Ok(half));
    }
    let mut missing = None;
    let mut known = |read: Result<DTypeWithConstraints, String>| match read {
        Ok(constraints) => Some(constraints),
        Err(name) => {
            missing.get_or_insert(name);
            None
        }
    };
    let mut constraints = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some((at, value)) => Ok(known(constraints_from_json(&at, value)?)),
    };
    let (input, output) = (constraints("input_dtype")?, constraints("output_dtype")?);
    let weight = match fields.get("weight_dtype") {
        // Four bits are a part of the range of u8.
        Some((_, value)) if value == FOUR_BITS => {
            let codes = DTypeWithConstraints::new(DType::U8);
            Some(DTypeWithConstraints { quant_min: Some(0), quant_max: Some(15), ..codes })
        }
        _ => constraints("weight_dtype")?,
    };
    let bias = constraints("bias_dtype")?.map(|c| c.dtype);
    let dynamic = fields.flag("is_dynamic")?.unwrap_or(false);
    let config = DTypeConfig { name: Arc::from(""), input, output, weight, bias, dynamic, half: false };
    Ok(missing.map_or(Ok(config), Err))
}

/// Reads a configuration of half precision: of the weights, where it is dynamic, or of everything.
fn half(fields: &Fields<'_>) -> Result<Option<DTypeConfig>, FormError> {
    let dynamic = fields.flag("is_dynamic")?.unwrap_or(false);
    let is = |key: &str, names: &[&str]| match fields.get(key) {
        None => true,
        Some((_, value)) => {
            let name = value.get("dtype").unwrap_or(value);
            names.iter().any(|n| name == n)
        }
    };
    let rest: &[&str] = if dynamic { &["torch.float32", "torch.float"] } else { &[HALF] };
    let all = is("weight_dtype", &[HALF]) && is("output_dtype", rest) && is("bias_dtype", rest);
    let given = fields.get("input_dtype").is_some() && is("input_dtype", &[HALF]);
    Ok((given && all).then(|| DTypeConfig { dynamic, half: true, ..DTypeConfig::new(Arc::from("")) }))
}

fn constraints_from_json(at: &str, value: &Json) -> Result<Result<DTypeWithConstraints, String>, FormError> {
    if let Json::String(name) = value {
        return Ok(dtype(at, name)?.map(DTypeWithConstraints::new));
    }
    let fields = Fields::new(at, value)?;
    fields.only(&[
        "dtype",
        "quant_min_lower_bound",
        "quant_max_upper_bound",
        "scale_min_lower_bound",
        "scale_max_upper_bound",
        "scale_exact_match",
        "zero_point_exact_match",
    ])?;
    let Some(name) = fields.string("dtype")? else {
        return Err(FormError::new(at, "a type with constraints has a `dtype`"));
    };
    let dtype = match dtype(&format!("{at}.dtype"), name)? {
        Ok(dtype) => dtype,
        Err(name) => return Ok(Err(name)),
    };
    Ok(Ok(DTypeWithConstraints {
        dtype,
        quant_min: fields.int("quant_min_lower_bound")?,
        quant_max: fields.int("quant_max_upper_bound")?,
        scale_min: fields.real("scale_min_lower_bound")?,
        scale_max: fields.real("scale_max_upper_bound")?,
        scale_exact: fields.real("scale_exact_match")?,
        zero_point_exact: fields.int("zero_point_exact_match")?,
    }))
}

/// A type by its name; or the name, if only PyTorch has it.
fn dtype(at: &str, name: &str) -> Result<Result<DType, String>, FormError> {
    if let Some((_, dtype)) = DTYPES.iter().find(|d| d.0 == name) {
        return Ok(Ok(*dtype));
    }
    if OTHER_DTYPES.contains(&name) {
        return Ok(Err(name.to_owned()));
    }
    let known = DTYPES.iter().map(|d| d.0).chain(OTHER_DTYPES.iter().copied());
    Err(FormError::new(at, format!("there is no dtype `{name}`")).nearest(name, known))
}

/// A type with its constraints as a `.qpat` file has it.
pub(super) fn constraints_text(c: &DTypeWithConstraints) -> String {
    let int = |key: &str, v: Option<i32>| v.map(|v| format!(" :{key} {v}")).unwrap_or_default();
    let real = |key: &str, v: Option<f32>| v.map(|v| format!(" :{key} {}", real_text(v))).unwrap_or_default();
    let fields = [
        int("qmin", c.quant_min),
        int("qmax", c.quant_max),
        real("scale-min", c.scale_min),
        real("scale-max", c.scale_max),
        real("scale", c.scale_exact),
        int("zero-point", c.zero_point_exact),
    ]
    .concat();
    if fields.is_empty() { c.dtype.to_string() } else { format!("({}{fields})", c.dtype) }
}

/// A number as a `.qpat` file has it: a power of two as one.
pub(super) fn real_text(v: f32) -> String {
    if is_power_of_two(v) && v < 1.0 {
        return format!("2^{}", v.log2());
    }
    format!("{v:?}")
}
