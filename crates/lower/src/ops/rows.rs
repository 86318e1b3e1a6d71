//! Elementwise operators with broadcasting, seen as rows.

use quantc_ir::ValueRef;
use quantc_kernels::{AddParams, BinaryOp, DequantizeParams, MulParams, QuantizeParams, UnaryOp};
use quantc_runtime::steps::{
    CopyStep, DequantizeToNchwStep, Loop, Pattern, QuantizeToNhwcStep, RowOp, RowOperand, RowsStep,
};
use quantc_runtime::{Slot, Source};
use quantc_tensor::scaled::requantize_multiplier;
use quantc_tensor::{DType, Value};

use crate::attrs::AttrView;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering, Operand};
use crate::ops::quantized::{Quantized, activation, all_codes, is_code, stored_zero_point};
use crate::view::{View, channels_last, row_major, same_order};

/// The real line: no activation.
pub(crate) const UNCLAMPED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// The result of an elementwise step as rows and columns, and how each operand is read.
struct Rows {
    rows: usize,
    columns: usize,
    patterns: Vec<Pattern>,
}

/// Longest row of a tensor that can be cut anywhere.
const ROW: usize = 1024;

/// The largest number that divides both.
pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The rows of a result of some physical sizes; each operand has each size, or 1 where it is broadcast. `apart`: the rows of the innermost
/// axis have room between them. `None` if an operand is broadcast in a way that rows cannot express.
fn rows(out: &[usize], operands: &[Vec<usize>], apart: bool) -> Option<Rows> {
    let innermost = |axis: usize| apart && axis + 1 == out.len();
    // Groups of neighbouring axes that every operand treats alike: size, and for each operand whether it has it.
    let mut groups: Vec<(usize, Vec<bool>)> = Vec::new();
    for (axis, &size) in out.iter().enumerate().filter(|&(axis, &size)| size != 1 || innermost(axis)) {
        let full: Vec<bool> = operands.iter().map(|o| o[axis] == size).collect();
        match groups.last_mut() {
            Some((n, same)) if *same == full && !innermost(axis) => *n *= size,
            _ => groups.push((size, full)),
        }
    }
    let Some((columns, full)) = groups.pop() else {
        let pattern = Pattern { stride: 1, repeat: 1, splat: false };
        return Some(Rows { rows: 1, columns: 1, patterns: vec![pattern; operands.len()] });
    };
    if groups.is_empty() && !apart {
        // One group: any cut will do.
        let row = gcd(columns, ROW).max(1);
        let pattern = |full: &bool| Pattern { stride: if *full { row } else { 0 }, repeat: 1, splat: !full };
        let patterns = full.iter().map(pattern).collect();
        return Some(Rows { rows: columns.checked_div(row).unwrap_or(0), columns: row, patterns });
    }
    let mut patterns = Vec::new();
    for (i, full) in full.into_iter().enumerate() {
        let leading: Vec<(usize, bool)> = groups.iter().map(|(n, full)| (*n, full[i])).collect();
        let broadcast = leading.iter().position(|(_, full)| !full).unwrap_or(leading.len());
        if leading[broadcast..].iter().any(|(_, full)| *full) {
            return None;
        }
        let unit = if full { columns } else { 1 };
        patterns.push(Pattern {
            stride: if broadcast == 0 { 0 } else { unit },
            repeat: if broadcast == 0 { 1 } else { leading[broadcast..].iter().map(|g| g.0).product() },
            splat: !full,
        });
    }
    Some(Rows { rows: groups.iter().map(|g| g.0).product(), columns, patterns })
}

/// Sizes of an operand along the physical axes of a result, 1 where it is broadcast.
fn aligned(shape: &[usize], rank: usize, order: &[usize]) -> Vec<usize> {
    let missing = rank - shape.len();
    order.iter().map(|&axis| if axis < missing { 1 } else { shape[axis - missing] }).collect()
}

/// The order an operand must have to go with a result of that order.
fn order_for(rank: usize, out_rank: usize, order: &[usize]) -> Vec<usize> {
    let missing = out_rank - rank;
    order.iter().filter(|&&axis| axis >= missing).map(|axis| axis - missing).collect()
}

/// The order of an elementwise result: that preferred, else that of its operands of the same shape.
fn result_order(lw: &Lowering<'_>, call: &Call<'_>, values: &[ValueRef]) -> Vec<usize> {
    let shape = lw.shape(call.out());
    if lw.preferences.channels_last(call.out()) {
        return channels_last(shape.len());
    }
    let orders: Vec<Vec<usize>> =
        values.iter().filter(|v| lw.shape(**v) == shape).filter_map(|v| lw.order(*v)).collect();
    match orders.split_first() {
        Some((first, rest)) if rest.iter().all(|o| same_order(&shape, o, first)) => first.clone(),
        _ => row_major(shape.len()),
    }
}

/// An operand spread out to the result's sizes.
fn expanded(lw: &mut Lowering<'_>, call: &Call<'_>, operand: &Operand, sizes: &[usize], out: &[usize]) -> Source {
    let element = operand.dtype.size();
    let slot = lw.temporary(out.iter().product::<usize>() * element);
    let step = broadcast_copy(operand.source.clone(), element, sizes, out, slot);
    lw.push(call, "expanded", step);
    Source::Arena(slot)
}

/// A value broadcast to a shape, in that order of its axes.
pub(crate) fn broadcast_operand(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    value: ValueRef,
    shape: &[usize],
    order: &[usize],
) -> Result<Source, NodeError> {
    let own = lw.shape(value);
    let operand = lw.operand(value, Some(&order_for(own.len(), shape.len(), order)))?;
    if own == shape {
        return Ok(operand.source);
    }
    let out: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    Ok(expanded(lw, call, &operand, &aligned(&own, shape.len(), order), &out))
}

/// Copies a tensor of `sizes`, repeated along the axes where `out` is larger.
pub(crate) fn broadcast_copy(x: Source, element: usize, sizes: &[usize], out: &[usize], slot: Slot) -> CopyStep {
    let (mut from, mut to) = (element, element);
    let mut loops = Vec::new();
    let mut block = element;
    for (&size, &n) in sizes.iter().zip(out).rev() {
        if n == size && loops.is_empty() {
            block *= n;
        } else if n != 1 {
            loops.push(Loop { count: n, from: if size == n { from as isize } else { 0 }, to });
        }
        from *= size;
        to *= n;
    }
    loops.reverse();
    CopyStep { x, start: 0, loops, block, out: slot, out_start: 0, fill: None }
}

/// Adds the step of an elementwise operator of one or two operands.
fn elementwise(lw: &mut Lowering<'_>, call: &Call<'_>, values: &[ValueRef], op: RowOp) -> Result<(), NodeError> {
    let order = result_order(lw, call, values);
    let shape = lw.shape(call.out());
    let out_sizes: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let (mut sources, mut sizes) = (Vec::new(), Vec::new());
    for &value in values {
        let own = lw.shape(value);
        let operand = lw.operand(value, Some(&order_for(own.len(), shape.len(), &order)))?;
        sizes.push(aligned(&own, shape.len(), &order));
        sources.push(operand);
    }
    let (out, stride) = lw.destination(call.out(), order.clone());
    let apart = out_sizes.last().is_some_and(|&columns| columns != stride);
    let planned = match rows(&out_sizes, &sizes, apart) {
        Some(planned) => planned,
        None => {
            for (operand, sizes) in sources.iter_mut().zip(&mut sizes) {
                if *sizes != out_sizes {
                    operand.source = expanded(lw, call, operand, sizes, &out_sizes);
                    sizes.clone_from(&out_sizes);
                }
            }
            let failed = || NodeError::Other("its operands cannot be read as rows".to_owned());
            rows(&out_sizes, &sizes, apart).ok_or_else(failed)?
        }
    };
    let mut operands =
        sources.into_iter().zip(planned.patterns).map(|(o, pattern)| RowOperand { source: o.source, pattern });
    let a = operands.next().ok_or_else(|| NodeError::Other("it has no operand".to_owned()))?;
    let b = operands.next();
    let out_stride = if apart { stride } else { planned.columns };
    lw.push_in(call, &order, RowsStep { op, rows: planned.rows, columns: planned.columns, a, b, out, out_stride });
    Ok(())
}

/// `quantize_per_tensor` of a plain f32 tensor.
pub(crate) fn quantize(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let Some(out) = Quantized::of(&call.attrs, UNCLAMPED)? else { return Ok(false) };
    let params = QuantizeParams { inverse_scale: 1.0 / out.scale, zero_point: out.stored_zero_point, clamp: out.clamp };
    let shape = lw.shape(x);
    let (plain, last) = (row_major(shape.len()), channels_last(shape.len()));
    let kernel = lw.kernels.quantize;
    if lw.preferences.channels_last(call.out())
        && lw.order(x).is_some_and(|order| same_order(&shape, &order, &plain) && !same_order(&shape, &plain, &last))
    {
        let source = lw.row_major(x)?.source;
        let out = lw.define(call.out(), last.clone()).slot();
        let (n, channels, plane) = (shape[0], shape[1], shape[2..].iter().product());
        lw.push_in(call, &last, QuantizeToNhwcStep { kernel, params, n, channels, plane, x: source, out });
        return Ok(true);
    }
    elementwise(lw, call, &[x], RowOp::Quantize { kernel, params })?;
    Ok(true)
}

/// `dequantize_per_tensor` whose users want reals.
pub(crate) fn dequantize(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let dtype = lw.dtype(x);
    let Some(zero_point) = stored_zero_point(&call.attrs, "zero_point", dtype)?.filter(|_| is_code(dtype)) else {
        return Ok(false);
    };
    let params = DequantizeParams { scale: call.attrs.float("scale")?, zero_point };
    let kernel = lw.kernels.quantize;
    let shape = lw.shape(x);
    let (plain, last) = (row_major(shape.len()), channels_last(shape.len()));
    if !lw.preferences.channels_last(call.out())
        && lw.order(x).is_some_and(|order| same_order(&shape, &order, &last) && !same_order(&shape, &plain, &last))
    {
        let source = lw.channels_last(x)?.source;
        let out = lw.define(call.out(), plain.clone()).slot();
        let (n, channels, plane) = (shape[0], shape[1], shape[2..].iter().product());
        lw.push_in(call, &plain, DequantizeToNchwStep { kernel, params, n, channels, plane, x: source, out });
        return Ok(true);
    }
    elementwise(lw, call, &[x], RowOp::Dequantize { kernel, params })?;
    Ok(true)
}

/// Every operator from codes to codes that looks at one element alone, tabulated by its reference evaluation.
pub(crate) fn lookup(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let dtype = lw.dtype(x);
    if !is_code(dtype) || !is_code(lw.dtype(call.out())) {
        return Ok(false);
    }
    let results = call.op.eval(&[Some(Value::Dense(all_codes(dtype)))], call.raw)?;
    let Some(result) = results.first().map(Value::to_tensor) else { return Ok(false) };
    let mut table = Box::new([0u8; 256]);
    quantc_runtime::store(&result, &mut table[..]).map_err(|e| NodeError::Other(e.to_string()))?;
    // The same parameters again: the same codes.
    if (0..=u8::MAX).zip(&table[..]).all(|(from, to)| from == *to)
        && let Some(view) = lw.view(x).cloned()
    {
        lw.alias(call.out(), View { dtype: lw.dtype(call.out()), ..view });
        return Ok(true);
    }
    elementwise(lw, call, &[x], RowOp::Lookup { kernel: lw.kernels.elementwise, table })?;
    Ok(true)
}

/// The two operands of a quantized elementwise operator: values and stored zero points; `None` if they are no codes.
#[expect(clippy::type_complexity, reason = "a pair of pairs")]
fn operands(lw: &Lowering<'_>, call: &Call<'_>) -> Result<Option<([ValueRef; 2], [i32; 2])>, NodeError> {
    let values = [call.input(0)?, call.input(1)?];
    let mut zero_points = [0; 2];
    for ((zero_point, value), name) in zero_points.iter_mut().zip(values).zip(["a_zero_point", "b_zero_point"]) {
        let dtype = lw.dtype(value);
        match stored_zero_point(&call.attrs, name, dtype)? {
            Some(stored) if is_code(dtype) => *zero_point = stored,
            _ => return Ok(None),
        }
    }
    Ok(Some((values, zero_points)))
}

fn quantized_sum(lw: &mut Lowering<'_>, call: &Call<'_>, sign: f32) -> Result<bool, NodeError> {
    let Some((values, zero_points)) = operands(lw, call)? else { return Ok(false) };
    let Some(out) = Quantized::of(&call.attrs, activation(&call.attrs)?)? else { return Ok(false) };
    let params = AddParams {
        a_zero_point: zero_points[0],
        a_scale: call.attrs.float("a_scale")?,
        b_zero_point: zero_points[1],
        b_scale: sign * call.attrs.float("b_scale")?,
        inverse_scale: 1.0 / out.scale,
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    };
    elementwise(lw, call, &values, RowOp::Add { kernel: lw.kernels.elementwise, params })?;
    Ok(true)
}

/// `quantized.add`.
pub(crate) fn quantized_add(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    quantized_sum(lw, call, 1.0)
}

/// `quantized.sub`: the addition of the second operand at a negative scale.
pub(crate) fn quantized_sub(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    quantized_sum(lw, call, -1.0)
}

/// `quantized.mul`.
pub(crate) fn quantized_mul(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let Some((values, zero_points)) = operands(lw, call)? else { return Ok(false) };
    let Some(out) = Quantized::of(&call.attrs, activation(&call.attrs)?)? else { return Ok(false) };
    let scale = call.attrs.float("a_scale")? * call.attrs.float("b_scale")?;
    let params = MulParams {
        a_zero_point: zero_points[0],
        b_zero_point: zero_points[1],
        multiplier: requantize_multiplier(scale, out.scale),
        zero_point: out.stored_zero_point,
        clamp: out.clamp,
    };
    elementwise(lw, call, &values, RowOp::Mul { kernel: lw.kernels.elementwise, params })?;
    Ok(true)
}

/// The kernel's function for the operator of that name with these attributes.
pub(crate) fn unary_op(name: &str, attrs: &AttrView<'_>) -> Result<Option<UnaryOp>, NodeError> {
    Ok(Some(match name {
        "relu" => UnaryOp::Relu,
        "relu6" => UnaryOp::Clamp { lo: 0.0, hi: 6.0 },
        "clamp" => UnaryOp::Clamp { lo: attrs.float("min")?, hi: attrs.float("max")? },
        "neg" => UnaryOp::Neg,
        "abs" => UnaryOp::Abs,
        "sqrt" => UnaryOp::Sqrt,
        "rsqrt" => UnaryOp::Rsqrt,
        "exp" => UnaryOp::Exp,
        "tanh" => UnaryOp::Tanh,
        "sigmoid" => UnaryOp::Sigmoid,
        "erf" => UnaryOp::Erf,
        "silu" => UnaryOp::Silu,
        "hardswish" => UnaryOp::Hardswish,
        "gelu" => match attrs.str("approximate")?.as_str() {
            "none" => UnaryOp::Gelu,
            "tanh" => UnaryOp::GeluTanh,
            _ => return Ok(None),
        },
        "hardsigmoid" => UnaryOp::Hardsigmoid { alpha: attrs.float("alpha")?, beta: attrs.float("beta")? },
        "leaky_relu" => UnaryOp::LeakyRelu { slope: attrs.float("negative_slope")? },
        "elu" => UnaryOp::Elu { alpha: attrs.float("alpha")? },
        "round_to_half" => UnaryOp::RoundToHalf { saturate: attrs.bool("saturate")? },
        "celu" => UnaryOp::Celu { alpha: attrs.float("alpha")? },
        "threshold" => UnaryOp::Threshold { threshold: attrs.float("threshold")?, value: attrs.float("value")? },
        "reciprocal" => UnaryOp::Reciprocal,
        "floor" => UnaryOp::Floor,
        "ceil" => UnaryOp::Ceil,
        "round" => UnaryOp::Round,
        "sign" => UnaryOp::Sign,
        "log" => UnaryOp::Log,
        "softplus" => UnaryOp::Softplus,
        "mish" => UnaryOp::Mish,
        "sin" => UnaryOp::Sin,
        "cos" => UnaryOp::Cos,
        _ => return Ok(None),
    }))
}

/// Functions of one f32.
pub(crate) fn unary(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let x = call.input(0)?;
    let (DType::F32, Some(op)) = (lw.dtype(x), unary_op(call.op.name(), &call.attrs)?) else { return Ok(false) };
    elementwise(lw, call, &[x], RowOp::Unary { kernel: lw.kernels.float, op })?;
    Ok(true)
}

/// Functions of two f32.
pub(crate) fn binary(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let values = [call.input(0)?, call.input(1)?];
    if values.iter().any(|v| lw.dtype(*v) != DType::F32) {
        return Ok(false);
    }
    let op = match call.op.name() {
        "add" => BinaryOp::Add,
        "sub" => BinaryOp::Sub,
        "mul" => BinaryOp::Mul,
        "div" => BinaryOp::Div,
        "pow" => BinaryOp::Pow,
        "maximum" => BinaryOp::Maximum,
        "minimum" => BinaryOp::Minimum,
        "prelu" => BinaryOp::Prelu,
        _ => return Ok(false),
    };
    elementwise(lw, call, &values, RowOp::Binary { kernel: lw.kernels.float, op })?;
    Ok(true)
}

/// `pow`: with one small constant exponent a function of the base alone.
pub(crate) fn pow(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let (x, exponent) = (call.input(0)?, call.input(1)?);
    let one = lw.constant(exponent).filter(|e| e.dtype() == DType::F32 && e.numel() == 1);
    let op = match one.and_then(|e| e.to_f32_vec().first().copied()) {
        Some(1.0) => UnaryOp::Copy,
        Some(2.0) => UnaryOp::Square,
        Some(3.0) => UnaryOp::Cube,
        Some(0.5) => UnaryOp::Sqrt,
        _ => return binary(lw, call),
    };
    // An exponent of more axes than the base adds axes.
    if lw.dtype(x) != DType::F32 || lw.shape(x) != lw.shape(call.out()) {
        return binary(lw, call);
    }
    elementwise(lw, call, &[x], RowOp::Unary { kernel: lw.kernels.float, op })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasts_become_rows() {
        let of = |out: &[usize], operand: &[usize]| {
            rows(out, &[out.to_vec(), operand.to_vec()], false).map(|r| (r.rows, r.columns, r.patterns[1]))
        };
        let pattern = |stride, repeat, splat| Pattern { stride, repeat, splat };
        // NHWC by a vector of channels, by a channel gate, by one element, by a mask of pixels.
        assert_eq!(of(&[2, 4, 4, 8], &[1, 1, 1, 8]), Some((32, 8, pattern(0, 1, false))));
        assert_eq!(of(&[2, 4, 4, 8], &[2, 1, 1, 8]), Some((32, 8, pattern(8, 16, false))));
        assert_eq!(of(&[2, 4, 4, 8], &[1, 1, 1, 1]), Some((1, 256, pattern(0, 1, true))));
        assert_eq!(of(&[2, 4, 4, 8], &[2, 4, 4, 1]), Some((32, 8, pattern(1, 1, true))));
        assert_eq!(of(&[1, 8, 4, 4], &[1, 8, 1, 1]), Some((8, 16, pattern(1, 1, true))));
        assert_eq!(of(&[2, 8, 4, 4], &[1, 8, 1, 1]), None);
        assert_eq!(of(&[1, 1], &[1, 1]), Some((1, 1, pattern(1, 1, false))));
    }
}
