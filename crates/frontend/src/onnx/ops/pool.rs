//! Pooling.

use quantc_ops::Attrs;

use super::conv::{by_dims, trim};
use super::window::window;
use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

fn image_dims(im: &Importer, x: Val) -> Result<usize, NodeError> {
    match im.rank(x) {
        rank @ 3..=5 => Ok(rank - 2),
        _ => Err(NodeError::mismatch(format!("its input is {}, it must have 3 to 5 dimensions", im.ty(x)))),
    }
}

fn kernel(im: &Importer, cx: &NodeCx<'_>, x: Val) -> Result<Vec<i64>, NodeError> {
    let kernel = cx.need("kernel_shape", cx.ints("kernel_shape")?)?;
    if kernel.len() == image_dims(im, x)? {
        Ok(kernel)
    } else {
        Err(NodeError::mismatch(format!("kernel_shape is {kernel:?}, its input is {}", im.ty(x))))
    }
}

pub(super) fn max_pool(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "X")?;
    // Only the indices, which are not supported, depend on it.
    cx.ignore(&["storage_order"]);
    let kernel = kernel(im, cx, x)?;
    let window = window(cx, &im.ty(x).shape, &kernel)?;
    let op = by_dims(["max_pool1d", "max_pool2d", "max_pool3d"], kernel.len())?;
    let attrs = Attrs::new()
        .with("kernel_size", kernel)
        .with("stride", window.stride)
        .with("padding", trim(window.padding, 0))
        .with("dilation", trim(window.dilation, 1))
        .with("ceil_mode", cx.flag("ceil_mode", false)?);
    im.emit(cx, op, &[Some(x)], attrs)
}

pub(super) fn average_pool(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "X")?;
    let kernel = kernel(im, cx, x)?;
    let window = window(cx, &im.ty(x).shape, &kernel)?;
    if window.dilation.iter().any(|d| *d != 1) {
        return Err(NodeError::attribute("dilations", format!("{:?}", window.dilation), "only 1 is supported"));
    }
    let op = by_dims(["avg_pool1d", "avg_pool2d", "avg_pool3d"], kernel.len())?;
    let attrs = Attrs::new()
        .with("kernel_size", kernel)
        .with("stride", window.stride)
        .with("padding", trim(window.padding, 0))
        .with("ceil_mode", cx.flag("ceil_mode", false)?)
        .with("count_include_pad", cx.flag("count_include_pad", false)?);
    im.emit(cx, op, &[Some(x)], attrs)
}

pub(super) fn global_average_pool(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "X")?;
    let n = image_dims(im, x)?;
    let op = by_dims(["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"], n)?;
    im.emit(cx, op, &[Some(x)], Attrs::new().with("output_size", vec![1i64; n]))
}

pub(super) fn global_max_pool(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "X")?;
    let dims: Vec<i64> = (0..image_dims(im, x)?).map(|d| d as i64 + 2).collect();
    im.emit(cx, "amax", &[Some(x)], Attrs::new().with("dims", dims).with("keepdim", true))
}
