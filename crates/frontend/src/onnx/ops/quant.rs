//! Quantize and dequantize nodes of QDQ models.

use quantc_ops::Attrs;
use quantc_tensor::DType;

use super::reduce::axis;
use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;
use crate::onnx::tensor;

/// The scale of a node and, for scales along an axis, that axis.
fn channel_axis(im: &Importer, cx: &NodeCx<'_>, x: Val, scale: Val) -> Result<Option<i64>, NodeError> {
    cx.only_int("block_size", 0, "scales for blocks are not supported")?;
    let along = cx.int("axis", 1)?;
    let scales = im.constant(scale).ok_or_else(|| NodeError::NotConstant { name: "scale".to_owned() })?;
    if scales.numel() == 1 && scales.rank() <= 1 {
        return Ok(None);
    }
    if scales.rank() != 1 {
        return Err(NodeError::mismatch(format!(
            "its scale has shape {:?}, it must be a number or a row",
            scales.shape()
        )));
    }
    Ok(Some(axis(along, im.rank(x))? as i64))
}

fn zero_point(im: &Importer, input: Option<Val>) -> Result<i64, NodeError> {
    match input {
        None => Ok(0),
        Some(v) => match im.need_ints(v, "zero_point")?[..] {
            [z] => Ok(z),
            ref all => Err(NodeError::mismatch(format!("it has {} zero points for one scale", all.len()))),
        },
    }
}

pub(super) fn quantize_linear(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.ignore(&["saturate"]);
    let (x, scale) = (cx.input(0, "x")?, cx.input(1, "y_scale")?);
    let zero = cx.opt_input(2);
    let output_dtype = cx.int("output_dtype", 0)?;
    let dtype = match (zero, output_dtype) {
        (Some(z), _) => im.ty(z).dtype,
        (None, 0) => DType::U8,
        (None, onnx) => tensor::dtype(i32::try_from(onnx).unwrap_or_default())?,
    };
    match channel_axis(im, cx, x, scale)? {
        None => {
            let attrs = Attrs::new()
                .with("scale", im.need_scalar(scale, "y_scale")?)
                .with("zero_point", zero_point(im, zero)?)
                .with("dtype", dtype);
            im.emit(cx, "quantize_per_tensor", &[Some(x)], attrs)
        }
        Some(axis) => {
            let attrs = Attrs::new().with("axis", axis).with("dtype", dtype);
            im.emit(cx, "quantize_per_channel", &[Some(x), Some(scale), zero], attrs)
        }
    }
}

pub(super) fn dequantize_linear(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let (x, scale) = (cx.input(0, "x")?, cx.input(1, "x_scale")?);
    let zero = cx.opt_input(2);
    match channel_axis(im, cx, x, scale)? {
        None => {
            let attrs =
                Attrs::new().with("scale", im.need_scalar(scale, "x_scale")?).with("zero_point", zero_point(im, zero)?);
            im.emit(cx, "dequantize_per_tensor", &[Some(x)], attrs)
        }
        Some(axis) => {
            im.emit(cx, "dequantize_per_channel", &[Some(x), Some(scale), zero], Attrs::new().with("axis", axis))
        }
    }
}
