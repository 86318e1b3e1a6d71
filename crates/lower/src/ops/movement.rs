//! Operators that move elements: most are another view of the same memory.

use quantc_ir::ValueRef;
use quantc_runtime::Slot;
use quantc_runtime::steps::{CopyStep, Fill, Loop};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::rows::broadcast_copy;
use crate::view::{View, row_major};

/// The view of an input in the arena; `None` for a value elsewhere.
fn input_view(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<View>, NodeError> {
    Ok(lw.view(call.input(0)?).cloned())
}

/// Operators that change nothing: the same view.
pub(crate) fn identity(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    lw.alias(call.out(), view);
    Ok(true)
}

/// Operators that keep the row-major order of elements: reshape, flatten, squeeze, unsqueeze.
pub(crate) fn reshape(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    let shape = lw.shape(call.out());
    if let Some(order) = order_without_ones(&view, &shape) {
        lw.alias(call.out(), view.reshaped(shape, order));
        return Ok(true);
    }
    let operand = lw.row_major(call.input(0)?)?;
    let Some(slot) = operand.source.slot().copied() else { return Ok(false) };
    let rank = shape.len();
    let view = View { buffer: slot.buffer, offset: slot.offset, dtype: operand.dtype, shape, order: row_major(rank) };
    lw.alias(call.out(), view);
    Ok(true)
}

/// The order of a view under a shape that differs in axes of size 1 only.
fn order_without_ones(view: &View, shape: &[usize]) -> Option<Vec<usize>> {
    let significant = |shape: &[usize]| (0..shape.len()).filter(|&axis| shape[axis] != 1).collect::<Vec<_>>();
    let (old, new) = (significant(&view.shape), significant(shape));
    if old.len() != new.len() || old.iter().zip(&new).any(|(&a, &b)| view.shape[a] != shape[b]) {
        return None;
    }
    let moved = view.order.iter().filter_map(|axis| old.iter().position(|a| a == axis)).map(|i| new[i]);
    Some((0..shape.len()).filter(|&axis| shape[axis] == 1).chain(moved).collect())
}

/// `permute`: the same memory in another order.
pub(crate) fn permute(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    let rank = view.shape.len() as i64;
    let dims = call.attrs.ints("dims")?;
    let dims: Vec<usize> = if dims.is_empty() {
        (0..view.shape.len()).rev().collect()
    } else {
        dims.iter().map(|&d| (if d < 0 { d + rank } else { d }) as usize).collect()
    };
    let order = view.order.iter().filter_map(|axis| dims.iter().position(|d| d == axis)).collect();
    let shape = lw.shape(call.out());
    lw.alias(call.out(), view.reshaped(shape, order));
    Ok(true)
}

/// The integers of a trailing input or attribute; `None` if they are computed when the plan runs.
pub(crate) fn ints_or_input(
    lw: &Lowering<'_>,
    call: &Call<'_>,
    name: &str,
    i: usize,
) -> Result<Option<Vec<i64>>, NodeError> {
    match call.opt(i) {
        Some(value) => Ok(lw.constant(value).map(|t| t.to_i64_vec())),
        None if call.attrs.has(name) || call.op.signature().attr(call.raw, name).is_some() => {
            Ok(Some(call.attrs.ints(name)?))
        }
        None => Ok(None),
    }
}

/// Part of a value: for each logical axis the first index and the step.
fn part(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    view: &View,
    out: ValueRef,
    starts: &[usize],
    steps: &[isize],
) -> Result<(), NodeError> {
    let shape = lw.shape(out);
    let element = view.dtype.size();
    let physical = view.physical();
    let mut strides = vec![element; physical.len()];
    for i in (1..physical.len()).rev() {
        strides[i - 1] = strides[i] * physical[i];
    }
    let start: usize = view.order.iter().zip(&strides).map(|(&axis, stride)| starts[axis] * stride).sum();
    let whole = |i: usize| shape[view.order[i]] == physical[i] && steps[view.order[i]] == 1;
    // Contiguous if only the slowest axis that is not 1 in the result is cut.
    let slowest = (0..physical.len()).find(|&i| shape[view.order[i]] != 1).unwrap_or(physical.len());
    let contiguous =
        (0..physical.len()).all(|i| i < slowest || whole(i) || (i == slowest && steps[view.order[i]] == 1));
    if contiguous && !shape.contains(&0) {
        let offset = view.offset + start;
        lw.alias(out, View { offset, shape, ..view.clone() });
        return Ok(());
    }
    let to = lw.define(out, view.order.clone());
    let (mut loops, mut block, mut written) = (Vec::new(), element, element);
    for i in (0..physical.len()).rev() {
        let axis = view.order[i];
        if loops.is_empty() && steps[axis] == 1 && block == strides[i] {
            block *= shape[axis];
        } else if shape[axis] != 1 {
            loops.push(Loop { count: shape[axis], from: steps[axis] * strides[i] as isize, to: written });
        }
        written *= shape[axis];
    }
    loops.reverse();
    let x = quantc_runtime::Source::Arena(view.slot());
    let block = if to.numel() == 0 { 0 } else { block };
    let order = to.order.clone();
    lw.push_in(call, &order, CopyStep { x, start, loops, block, out: to.slot(), out_start: 0, fill: None });
    Ok(())
}

/// `slice` with constant bounds.
pub(crate) fn slice(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    let (Some(starts), Some(axes), Some(steps)) = (
        ints_or_input(lw, call, "starts", 1)?,
        ints_or_input(lw, call, "axes", 3)?,
        ints_or_input(lw, call, "steps", 4)?,
    ) else {
        return Ok(false);
    };
    let rank = view.shape.len();
    let axes = if axes.is_empty() { (0..starts.len() as i64).collect() } else { axes };
    let (mut first, mut step) = (vec![0; rank], vec![1isize; rank]);
    for (i, (&start, &axis)) in starts.iter().zip(&axes).enumerate() {
        let axis = (if axis < 0 { axis + rank as i64 } else { axis }) as usize;
        let Some(&size) = view.shape.get(axis) else { return Ok(false) };
        let size = size as i64;
        let by = steps.get(i).copied().unwrap_or(1);
        let last = if by < 0 { size - 1 } else { size };
        let start = if start < 0 { start.saturating_add(size) } else { start }.clamp(0, last.max(0));
        first[axis] = start as usize;
        step[axis] = by as isize;
    }
    part(lw, call, &view, call.out(), &first, &step)?;
    Ok(true)
}

/// `split`: each result is a part.
pub(crate) fn split(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    let rank = view.shape.len();
    let dim = call.attrs.int("dim")?;
    let axis = (if dim < 0 { dim + rank as i64 } else { dim }) as usize;
    let (mut starts, steps) = (vec![0; rank], vec![1; rank]);
    for output in 0..call.node.types().len() as u32 {
        let value = ValueRef { node: call.id, output };
        part(lw, call, &view, value, &starts, &steps)?;
        starts[axis] += lw.shape(value)[axis];
    }
    Ok(true)
}

/// `expand`.
pub(crate) fn expand(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let operand = lw.row_major(call.input(0)?)?;
    let shape = lw.shape(call.out());
    let missing = shape.len().saturating_sub(operand.shape.len());
    let sizes: Vec<usize> = vec![1; missing].into_iter().chain(operand.shape.iter().copied()).collect();
    let order = row_major(shape.len());
    let out = lw.define(call.out(), order.clone()).slot();
    let step = if shape.contains(&0) {
        CopyStep { x: operand.source, start: 0, loops: Vec::new(), block: 0, out, out_start: 0, fill: None }
    } else {
        broadcast_copy(operand.source, operand.dtype.size(), &sizes, &shape, out)
    };
    lw.push_in(call, &order, step);
    Ok(true)
}

/// `pad`.
pub(crate) fn pad(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some(view) = input_view(lw, call)? else { return Ok(false) };
    let Some(pads) = ints_or_input(lw, call, "pads", 1)? else { return Ok(false) };
    let rank = view.shape.len();
    if pads.len() != 2 * rank || pads.iter().any(|&p| p < 0) || view.numel() == 0 {
        return Ok(false);
    }
    if call.attrs.str("mode")? != "constant" {
        return pad_from_itself(lw, call, &view, &pads);
    }
    let value = match call.opt(2) {
        Some(value) => match lw.constant(value) {
            Some(value) => value.cast(view.dtype),
            None => return Ok(false),
        },
        None => quantc_tensor::Tensor::scalar(call.attrs.float("value")?).cast(view.dtype),
    };
    let mut fill = vec![0; view.dtype.size()];
    let stored = value.reshape(&[1]).ok().map(|v| quantc_runtime::store(&v, &mut fill));
    if !matches!(stored, Some(Ok(()))) {
        return Ok(false);
    }
    let to = lw.define(call.out(), view.order.clone());
    let (from_sizes, to_sizes) = (view.physical(), to.physical());
    let element = view.dtype.size();
    let (mut from, mut written, mut start) = (element, element, 0);
    let (mut loops, mut block) = (Vec::new(), element);
    for i in (0..rank).rev() {
        let axis = view.order[i];
        start += pads[axis] as usize * written;
        if loops.is_empty() && from == written {
            block *= from_sizes[i];
        } else {
            loops.push(Loop { count: from_sizes[i], from: from as isize, to: written });
        }
        from *= from_sizes[i];
        written *= to_sizes[i];
    }
    loops.reverse();
    let x = quantc_runtime::Source::Arena(view.slot());
    let out: Slot = to.slot();
    let order = to.order.clone();
    lw.push_in(
        call,
        &order,
        CopyStep { x, start: 0, loops, block, out, out_start: start, fill: Some(Fill::Element(fill)) },
    );
    Ok(true)
}

/// `pad` of one axis by its own elements: mirrored (`reflect`), or the outermost again and again (`edge`).
fn pad_from_itself(lw: &mut Lowering<'_>, call: &Call<'_>, view: &View, pads: &[i64]) -> Result<bool, NodeError> {
    let rank = view.shape.len();
    let mut axes = (0..rank).filter(|&axis| pads[axis] != 0 || pads[rank + axis] != 0);
    let (Some(axis), None) = (axes.next(), axes.next()) else { return Ok(false) };
    let (begin, end, size) = (pads[axis] as usize, pads[rank + axis] as usize, view.shape[axis]);
    let mirrored = match call.attrs.str("mode")?.as_str() {
        "reflect" if begin < size && end < size => true,
        "edge" => false,
        _ => return Ok(false),
    };
    let to = lw.define(call.out(), view.order.clone());
    let at = view.order.iter().position(|&a| a == axis).unwrap_or_default();
    let physical = view.physical();
    let row = physical[at + 1..].iter().product::<usize>() * view.dtype.size();
    let (outer, total) = (physical[..at].iter().product(), begin + size + end);
    let step = if mirrored { -(row as isize) } else { 0 };
    // First element read, elements, bytes from one to the next, first element written.
    let parts = [
        (if mirrored { begin } else { 0 }, begin, step, 0),
        (0, size, row as isize, begin),
        (if mirrored { size.saturating_sub(2) } else { size - 1 }, end, step, begin + size),
    ];
    let order = to.order.clone();
    for (first, count, from, start) in parts.into_iter().filter(|part| part.1 > 0) {
        let each = Loop { count: outer, from: (size * row) as isize, to: total * row };
        let loops = vec![each, Loop { count, from, to: row }];
        let x = quantc_runtime::Source::Arena(view.slot());
        let (start, out_start) = (first * row, start * row);
        lw.push_in(call, &order, CopyStep { x, start, loops, block: row, out: to.slot(), out_start, fill: None });
    }
    Ok(true)
}
