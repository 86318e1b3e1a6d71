//! Types of backends: dtype configurations and fixed quantization parameters, and whether any QConfig can satisfy them.

use std::sync::Arc;

use quantc_tensor::DType;

use crate::backend::{DTypeConfig, DTypeWithConstraints, FixedQParams};
use crate::parse::form::Form;
use crate::reader::{Kind, Sexp};
use crate::source::QpatError;

/// Keywords of a `dtype-config`.
pub(super) const CONFIG: &[&str] = &["input", "output", "weight", "bias", "dynamic", "half"];
/// Keywords of a type with constraints.
pub(super) const CONSTRAINTS: &[&str] = &["qmin", "qmax", "scale-min", "scale-max", "scale", "zero-point"];

/// `(dtype-config NAME :input D :output D :weight D :bias f32 :dynamic true)`.
pub(super) fn dtype_config(at: &Sexp, args: &[Sexp]) -> Result<DTypeConfig, QpatError> {
    let form = Form::new(&at.span, args);
    form.check_keywords(CONFIG, &[])?;
    let [name] = form.positional else {
        return Err(at.error("a dtype-config has a name").hint("(dtype-config static :input u8 :output u8)"));
    };
    let name = name.symbol().ok_or_else(|| name.expected("a name"))?;
    let constraint = |key: &str| form.one(key)?.map(dtype_with_constraints).transpose();
    let bias = form.one("bias")?.map(|b| dtype(b, "f32")).transpose()?;
    let flag = |key: &str| match form.one(key)? {
        None => Ok(false),
        Some(d) => match d.symbol() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(d.expected("true or false")),
        },
    };
    let (dynamic, half) = (flag("dynamic")?, flag("half")?);
    let config = DTypeConfig {
        name: Arc::from(name),
        input: constraint("input")?,
        output: constraint("output")?,
        weight: constraint("weight")?,
        bias,
        dynamic,
        half,
    };
    check_satisfiable(&form, &config)?;
    Ok(config)
}

fn dtype(at: &Sexp, hint: &str) -> Result<DType, QpatError> {
    at.symbol().and_then(|s| s.parse().ok()).ok_or_else(|| at.expected("a dtype").hint(hint))
}

/// `u8` or `(i8 :qmin -127 :qmax 127 :scale-min 2^-12 :scale-max 1)` or `(u8 :scale 1/256 :zero-point 0)`.
fn dtype_with_constraints(at: &Sexp) -> Result<DTypeWithConstraints, QpatError> {
    let hint = "u8, or (i8 :qmin -127 :qmax 127 :scale-min 2^-12)";
    let Some((head, args)) = at.list().and_then(|l| l.split_first()) else {
        return Ok(DTypeWithConstraints::new(dtype(at, hint)?));
    };
    let form = Form::new(&at.span, args);
    form.check_keywords(CONSTRAINTS, &[])?;
    let mut out = DTypeWithConstraints::new(dtype(head, hint)?);
    let Some(range) = out.dtype.quantized_range() else {
        return Err(at.error(format!("{} is not quantized: it has no range or scale to constrain", out.dtype)));
    };
    let int = |key: &str| match form.one(key)? {
        None => Ok(None),
        Some(v) => quantized(v, out.dtype, range).map(Some),
    };
    let scale = |key: &str| match form.one(key)? {
        None => Ok(None),
        Some(v) => scale(v).map(Some),
    };
    let (quant_min, quant_max, zero_point_exact) = (int("qmin")?, int("qmax")?, int("zero-point")?);
    let (scale_min, scale_max, scale_exact) = (scale("scale-min")?, scale("scale-max")?, scale("scale")?);
    if let (Some(lo), Some(hi)) = (quant_min, quant_max)
        && lo >= hi
    {
        return Err(at.error(format!("no quantized range is within {lo}..{hi}")));
    }
    if let (Some(lo), Some(hi)) = (scale_min, scale_max)
        && lo > hi
    {
        return Err(at.error(format!("no scale is at least {lo:e} and at most {hi:e}")));
    }
    if let Some(exact) = scale_exact
        && (scale_min.is_some_and(|lo| exact < lo) || scale_max.is_some_and(|hi| exact > hi))
    {
        return Err(at.error(format!("the scale {exact:e} is not within the bounds of the scale")));
    }
    if let Some(exact) = zero_point_exact
        && (quant_min.is_some_and(|lo| exact < lo) || quant_max.is_some_and(|hi| exact > hi))
    {
        return Err(at.error(format!("the zero point {exact} is not within the quantized range")));
    }
    out = DTypeWithConstraints { quant_min, quant_max, scale_min, scale_max, scale_exact, zero_point_exact, ..out };
    Ok(out)
}

/// A number of a quantized type.
fn quantized(at: &Sexp, dtype: DType, (lo, hi): (i32, i32)) -> Result<i32, QpatError> {
    let Kind::Int(v) = at.kind else { return Err(at.expected("an integer")) };
    let value = i32::try_from(v).ok().filter(|v| (lo..=hi).contains(v));
    value.ok_or_else(|| at.error(format!("{v} is not in the range of {dtype}, {lo}..{hi}")))
}

fn scale(at: &Sexp) -> Result<f32, QpatError> {
    let value = at.number().map(|v| v as f32).filter(|v| *v > 0.0 && v.is_finite());
    value.ok_or_else(|| at.expected("a scale above 0").hint("0.5, 1/256, 2^-12"))
}

/// Fails if no QConfig can satisfy a configuration.
fn check_satisfiable(form: &Form<'_>, config: &DTypeConfig) -> Result<(), QpatError> {
    let fields = [("input", &config.input), ("weight", &config.weight), ("output", &config.output)];
    for (key, constraint) in fields {
        if let (Some((at, _)), Some(c)) = (form.get(key), constraint)
            && let Some(message) = unsatisfiable(key, c)
        {
            return Err(at
                .error(message)
                .hint("u8 or i8, with :qmin, :qmax, :scale-min, :scale-max, :scale, :zero-point"));
        }
    }
    Ok(())
}

/// Why no QConfig can satisfy a type of a configuration's field: observers make u8 and i8.
pub(crate) fn unsatisfiable(field: &str, c: &DTypeWithConstraints) -> Option<String> {
    // It stays float: the result of dynamic configurations, and where only inputs or only weights are quantized.
    let stays_float = field != "weight" && c.dtype == DType::F32;
    let made = matches!(c.dtype, DType::U8 | DType::I8);
    (!stays_float && !made).then(|| format!("no observer makes {}: no QConfig can satisfy this", c.dtype))
}

/// `(u8 1/256 0) (i8 1/256 -128)`.
pub(super) fn fixed_qparams(form: &Form<'_>) -> Result<Vec<FixedQParams>, QpatError> {
    let Some((_, items)) = form.get("fixed-qparams") else { return Ok(Vec::new()) };
    let mut out: Vec<FixedQParams> = Vec::new();
    for item in items {
        let bad = || item.expected("(DTYPE SCALE ZERO-POINT)").hint("(u8 1/256 0)");
        let [head, step, zero_point] = item.list().ok_or_else(bad)? else { return Err(bad()) };
        let dtype = dtype(head, "u8 or i8")?;
        let Some(range) = dtype.quantized_range() else {
            return Err(head.error(format!("{dtype} is not quantized: it has no scale")).hint("u8 or i8"));
        };
        if out.iter().any(|f| f.dtype == dtype) {
            return Err(item.error(format!("there are two fixed parameters for {dtype}")));
        }
        out.push(FixedQParams { dtype, scale: scale(step)?, zero_point: quantized(zero_point, dtype, range)? });
    }
    Ok(out)
}
