//! Reductions and softmax.

use quantc_ops::Attrs;

use super::layout::reshape_to;
use super::shape::sizes;
use crate::onnx::error::NodeError;
use crate::onnx::importer::{Importer, Val};
use crate::onnx::node::NodeCx;

/// An axis counted from the front.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, NodeError> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front)
        .ok()
        .filter(|a| *a < rank)
        .ok_or_else(|| NodeError::mismatch(format!("axis {axis} is outside a tensor of {rank} dimensions")))
}

/// Axes that are an attribute before opset `since` and input 1 from then on.
pub(super) fn axes(im: &Importer, cx: &NodeCx<'_>, since: i64) -> Result<Option<Vec<i64>>, NodeError> {
    if cx.opset < since {
        return cx.ints("axes");
    }
    cx.opt_input(1).map(|v| im.need_ints(v, "axes")).transpose()
}

/// `None` where the node reduces nothing.
fn reduce_attrs(im: &Importer, cx: &NodeCx<'_>, since: i64) -> Result<Option<Attrs>, NodeError> {
    let rank = im.rank(cx.input(0, "data")?);
    let keepdim = cx.flag("keepdims", true)?;
    let noop = cx.flag("noop_with_empty_axes", false)?;
    let given = axes(im, cx, since)?.unwrap_or_default();
    if given.is_empty() && noop {
        return Ok(None);
    }
    let dims: Vec<i64> = if given.is_empty() { (0..rank as i64).collect() } else { given };
    Ok(Some(Attrs::new().with("dims", dims).with("keepdim", keepdim)))
}

/// A reduction; its axes are an input since opset `since`.
pub(super) fn reduce(im: &mut Importer, cx: &NodeCx<'_>, op: &'static str, since: i64) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    match reduce_attrs(im, cx, since)? {
        Some(attrs) => im.emit(cx, op, &[Some(x)], attrs),
        None => Ok(vec![x]),
    }
}

pub(super) fn reduce_l1(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = im.emit1(cx, "abs", &[cx.input(0, "data")?], Attrs::new())?;
    match reduce_attrs(im, cx, 18)? {
        Some(attrs) => im.emit(cx, "sum", &[Some(x)], attrs),
        None => Ok(vec![x]),
    }
}

pub(super) fn reduce_sum_square(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "data")?;
    let square = im.emit1(cx, "mul", &[x, x], Attrs::new())?;
    match reduce_attrs(im, cx, 18)? {
        Some(attrs) => im.emit(cx, "sum", &[Some(square)], attrs),
        None => Ok(vec![square]),
    }
}

pub(super) fn reduce_l2(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    let sum = reduce_sum_square(im, cx)?;
    im.emit(cx, "sqrt", &[sum.first().copied()], Attrs::new())
}

/// Before opset 13 the softmax runs over all dimensions from `axis` on.
pub(super) fn softmax(im: &mut Importer, cx: &NodeCx<'_>, op: &'static str) -> Result<Vec<Val>, NodeError> {
    let x = cx.input(0, "input")?;
    let rank = im.rank(x);
    let axis = axis(cx.int("axis", if cx.opset < 13 { 1 } else { -1 })?, rank)?;
    if cx.opset >= 13 || axis + 1 == rank {
        let dim = axis as i64 - if axis + 1 == rank { rank as i64 } else { 0 };
        return im.emit(cx, op, &[Some(x)], Attrs::new().with("dim", dim));
    }
    let mut flat = vec![0i64; axis];
    flat.push(-1);
    let merged = im.emit1(cx, "reshape", &[x], Attrs::new().with("shape", flat))?;
    let y = im.emit1(cx, op, &[merged], Attrs::new().with("dim", -1i64))?;
    let back = sizes(im, cx, x, 0..rank)?;
    let y = reshape_to(im, cx, y, back, true)?;
    if let Val::Node(value) = y {
        // It only names what is the input's own size, so it can't fail.
        let _ = im.graph.refine_type(value, &im.ty(x));
    }
    Ok(vec![y])
}

pub(super) fn arg_max(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.only_int("select_last_index", 0, "only the first maximum is supported")?;
    let attrs = Attrs::new().with("dim", cx.int("axis", 0)?).with("keepdim", cx.flag("keepdims", true)?);
    im.emit(cx, "argmax", &[Some(cx.input(0, "data")?)], attrs)
}

pub(super) fn cum_sum(im: &mut Importer, cx: &NodeCx<'_>) -> Result<Vec<Val>, NodeError> {
    cx.only_int("exclusive", 0, "only inclusive sums are supported")?;
    cx.only_int("reverse", 0, "only sums from the front are supported")?;
    let axis = im.need_ints(cx.input(1, "axis")?, "axis")?;
    let [axis] = axis[..] else {
        return Err(NodeError::mismatch(format!("axis is {axis:?}, it must be one number")));
    };
    im.emit(cx, "cumsum", &[Some(cx.input(0, "x")?)], Attrs::new().with("dim", axis))
}
