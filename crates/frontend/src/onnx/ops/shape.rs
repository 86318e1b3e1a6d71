//! Shapes and constants.

use std::ops::Range;

use quantc_ops::Attrs;
use quantc_tensor::{DType, Tensor};

use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;
use crate::onnx::tensor;

pub(super) fn shape(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let rank = im.rank(x) as i64;
    let clamp = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let (start, end) = (clamp(cx.int("start", 0)?), clamp(cx.int("end", rank)?));
    Ok(vec![sizes(im, cx, x, start..end.max(start))?])
}

/// The sizes of some dimensions as a vector, which is a constant where they are known.
pub(super) fn sizes(im: &mut Importer, cx: &NodeCx<'_>, x: Val, dims: Range<usize>) -> Result<Val, NodeError> {
    let shape = im.ty(x).shape;
    let given = &shape.0[dims.clone()];
    if let Some(sizes) = given.iter().map(|d| d.known().map(|n| n as i64)).collect::<Option<Vec<_>>>() {
        return Ok(im.ints_val(cx, sizes));
    }
    let mut attrs = Attrs::new();
    if dims.start > 0 {
        attrs.set("start", dims.start as i64);
    }
    if dims.end < shape.rank() {
        attrs.set("end", dims.end as i64);
    }
    let symbols = given.iter().map(Into::into).collect();
    let y = im.emit1(cx, "shape", &[x], attrs)?;
    im.set_sym_ints(y, symbols);
    Ok(y)
}

pub(super) fn size(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let all = 0..im.rank(x);
    let sizes = sizes(im, cx, x, all)?;
    im.emit(cx, "prod", &[Some(sizes)], Attrs::new().with("dims", vec![0i64]))
}

pub(super) fn constant(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let tensor = if let Some(proto) = cx.tensor("value")? {
        tensor::decode(proto, None)?
    } else if let Some(v) = cx.opt_float("value_float")? {
        Tensor::scalar(v)
    } else if let Some(v) = cx.floats("value_floats")? {
        Tensor::vector(v)
    } else if let Some(v) = cx.opt_int("value_int")? {
        Tensor::scalar(v)
    } else if let Some(v) = cx.ints("value_ints")? {
        Tensor::vector(v)
    } else {
        return Err(NodeError::attribute("value", "...", "only numbers are supported: no strings, no sparse tensors"));
    };
    Ok(vec![im.constant_val(cx.output_name(), tensor)])
}

pub(super) fn constant_of_shape(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let value = match cx.tensor("value")? {
        Some(proto) => tensor::decode(proto, None)?,
        None => Tensor::scalar(0.0f32),
    };
    let number = value
        .as_scalar_f32()
        .ok_or_else(|| NodeError::mismatch(format!("value has shape {:?}, it must be one number", value.shape())))?;
    let attrs = Attrs::new().with("value", number).with("dtype", value.dtype());
    im.emit(cx, "full", &[Some(cx.input(0, "input")?)], attrs)
}

pub(super) fn range(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let inputs = [cx.input(0, "start")?, cx.input(1, "limit")?, cx.input(2, "delta")?];
    if let Some(v) = inputs.iter().find(|v| !matches!(im.ty(**v).dtype, DType::F32 | DType::I32 | DType::I64)) {
        return Err(NodeError::mismatch(format!("its inputs are {}, they must be f32, i32 or i64", im.ty(*v))));
    }
    Ok(vec![im.emit1(cx, "arange", &inputs, Attrs::new())?])
}
