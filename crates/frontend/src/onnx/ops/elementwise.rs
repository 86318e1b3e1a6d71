//! Functions of single elements.

use quantc_ops::Attrs;
use quantc_tensor::{DType, Tensor};

use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;
use crate::onnx::tensor;

/// An operator of ours with the same inputs and no attributes.
pub(super) fn same(im: &mut Importer, cx: &NodeCx<'_>, op: &'static str, inputs: usize) -> Result<Vec<Val>, NodeError> {
    let inputs: Vec<_> = (0..inputs).map(|i| cx.input(i, "input").map(Some)).collect::<Result<_, _>>()?;
    im.emit(cx, op, &inputs, Attrs::new())
}

/// A binary operator over any number of inputs, from the left.
pub(super) fn chain(im: &mut Importer, cx: &NodeCx<'_>, op: &'static str) -> Result<Vec<Val>, NodeError> {
    let inputs = cx.variadic()?;
    let mut result = inputs[0];
    for &input in &inputs[1..] {
        result = im.emit1(cx, op, &[result, input], Attrs::new())?;
    }
    Ok(vec![result])
}

/// The bounds are attributes before opset 11, inputs since; only for f32 are they attributes of ours.
pub(super) fn clip(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let (mut lo, mut hi) = (cx.opt_input(1), cx.opt_input(2));
    if cx.opset < 11 {
        lo = cx.opt_float("min")?.map(|v| im.constant_val("", Tensor::scalar(v)));
        hi = cx.opt_float("max")?.map(|v| im.constant_val("", Tensor::scalar(v)));
    }
    let is_constant = |v: Option<Val>| v.is_none_or(|v| im.constant(v).is_some());
    if im.ty(x).dtype != DType::F32 || !is_constant(lo) || !is_constant(hi) {
        let mut y = x;
        if let Some(lo) = lo {
            y = im.emit1(cx, "maximum", &[y, lo], Attrs::new())?;
        }
        if let Some(hi) = hi {
            y = im.emit1(cx, "minimum", &[y, hi], Attrs::new())?;
        }
        return Ok(vec![y]);
    }
    let mut attrs = Attrs::new();
    if let Some(lo) = lo {
        let lo = im.need_scalar(lo, "min")?;
        // The lowest finite number is how older exporters wrote "none".
        attrs.set("min", if lo <= f32::MIN { f32::NEG_INFINITY } else { lo });
    }
    if let Some(hi) = hi {
        let hi = im.need_scalar(hi, "max")?;
        attrs.set("max", if hi >= f32::MAX { f32::INFINITY } else { hi });
    }
    im.emit(cx, "clamp", &[Some(x)], attrs)
}

pub(super) fn leaky_relu(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let attrs = Attrs::new().with("negative_slope", cx.float("alpha", 0.01)?);
    im.emit(cx, "leaky_relu", &[Some(cx.input(0, "X")?)], attrs)
}

pub(super) fn elu(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let attrs = Attrs::new().with("alpha", cx.float("alpha", 1.0)?);
    im.emit(cx, "elu", &[Some(cx.input(0, "X")?)], attrs)
}

pub(super) fn hard_sigmoid(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let attrs = Attrs::new().with("alpha", cx.float("alpha", 0.2)?).with("beta", cx.float("beta", 0.5)?);
    im.emit(cx, "hardsigmoid", &[Some(cx.input(0, "X")?)], attrs)
}

pub(super) fn gelu(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let attrs = Attrs::new().with("approximate", cx.one_of("approximate", "none", &["none", "tanh"])?);
    im.emit(cx, "gelu", &[Some(cx.input(0, "X")?)], attrs)
}

pub(super) fn cast(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.ignore(&["saturate"]);
    let x = cx.input(0, "input")?;
    let to = cx.need("to", cx.opt_int("to")?)?;
    let dtype = tensor::dtype(i32::try_from(to).unwrap_or_default())?;
    if im.ty(x).dtype == dtype {
        return Ok(vec![x]);
    }
    im.emit(cx, "to", &[Some(x)], Attrs::new().with("dtype", dtype))
}

/// Only NaN differs from itself.
pub(super) fn is_nan(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = Some(cx.input(0, "X")?);
    im.emit(cx, "not_equal", &[x, x], Attrs::new())
}

/// The sign of the result is that of the divisor, or with `fmod` that of the dividend.
pub(super) fn modulo(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let op = if cx.flag("fmod", false)? { "fmod" } else { "remainder" };
    im.emit(cx, op, &[Some(cx.input(0, "A")?), Some(cx.input(1, "B")?)], Attrs::new())
}

pub(super) fn identity(_: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    Ok(vec![cx.input(0, "input")?])
}

/// The identity when a model only runs.
pub(super) fn dropout(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.ignore(&["ratio", "seed"]);
    if let Some(training) = cx.opt_input(2)
        && im.need_scalar(training, "training_mode")? != 0.0
    {
        return Err(NodeError::attribute("training_mode", true, "export the model in evaluation mode"));
    }
    Ok(vec![cx.input(0, "data")?])
}
