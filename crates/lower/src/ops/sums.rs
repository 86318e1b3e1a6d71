//! Integer sums that a quantize takes beside users that want reals: `quantize` rounds `f32(sum) * (s / s_y)`, which is not the quantized
//! `f32(sum) * s`. The product's step leaves `f32(sum)`, and each use multiplies it by what it needs.

use std::sync::Arc;

use quantc_ir::ValueRef;
use quantc_kernels::{BinaryOp, QuantizeParams, UnaryOp};
use quantc_ops::IntegerUse;
use quantc_runtime::steps::{Pattern, RowOp, RowOperand, RowsStep};
use quantc_runtime::{Constant, Slot, Source};
use quantc_tensor::scaled::requantize_multiplier;
use quantc_tensor::{DType, Scale, ScaledInt, Tensor, Value};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::conv::weight_scales;
use crate::ops::quantized::{Quantized, activation, is_code};
use crate::ops::{conv, matmul};
use crate::table::Handler;
use crate::view::View;

/// Sums in the arena, as f32.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// Where they are, their channels last in memory.
    pub(crate) view: View,
    /// The scale of each channel.
    scale: Arc<[f32]>,
    /// The pending clamp of the real values.
    clamp: (f32, f32),
}

/// Lowers a call whose sums are looked at; `false` leaves it to reference evaluation.
pub(crate) fn keep(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    if !becomes_codes(lw, call.out()) {
        return Ok(false);
    }
    if call.op.integer_use() == IntegerUse::HandedOn {
        let Some(sums) = lw.sums(call.input(0)?).cloned() else { return Ok(false) };
        let clamp = handed_on(call, sums.clamp)?;
        lw.set_sums(call.out(), Sums { clamp, ..sums });
        return Ok(true);
    }
    let shape = lw.shape(call.out());
    let last = shape.last().copied().unwrap_or(1);
    let (handler, scale): (Handler, _) = match call.op.name() {
        "quantized.conv1d" | "quantized.conv2d" => (conv::quantized_conv, layer_scale(lw, call, shape[1])?),
        "quantized.linear" => (conv::quantized_linear, layer_scale(lw, call, last)?),
        "quantized.matmul" => {
            let scale = call.attrs.float("a_scale")? * call.attrs.float("b_scale")?;
            (matmul::quantized_matmul, Some(vec![scale; last]))
        }
        _ => return Ok(false),
    };
    let Some(scale) = scale else { return Ok(false) };
    if !handler(lw, call)? {
        return Ok(false);
    }
    let view = lw.view(call.out()).cloned().ok_or_else(|| NodeError::Other("it has no result".to_owned()))?;
    let (lo, hi) = activation(&call.attrs)?;
    let clamp = (f32::NEG_INFINITY.max(lo).min(hi), f32::INFINITY.max(lo).min(hi));
    lw.set_sums(call.out(), Sums { view, scale: Arc::from(scale), clamp });
    Ok(true)
}

/// `s_x * s_w` of each output channel.
fn layer_scale(lw: &Lowering<'_>, call: &Call<'_>, channels: usize) -> Result<Option<Vec<f32>>, NodeError> {
    let x = call.attrs.float("x_scale")?;
    let scales = lw.constant(call.input(2)?).and_then(|scales| weight_scales(&scales, channels));
    Ok(scales.map(|scales| scales.into_iter().map(|w| x * w).collect()))
}

/// Whether every call that looks at the sums is a clamp or a quantize to 8 bits.
fn becomes_codes(lw: &Lowering<'_>, value: ValueRef) -> bool {
    lw.graph.users(value).iter().filter(|(user, _)| lw.kept.calls.contains(user)).all(|(user, _)| {
        let Some((op, _)) = lw.graph.node(*user).call() else { return true };
        match op.integer_use() {
            IntegerUse::HandedOn => becomes_codes(lw, (*user).into()),
            IntegerUse::Quantized => is_code(lw.dtype((*user).into())),
            _ => false,
        }
    })
}

/// The pending clamp after a call that hands integers on.
fn handed_on(call: &Call<'_>, clamp: (f32, f32)) -> Result<(f32, f32), NodeError> {
    let none = ScaledInt::sums(Tensor::vector(Vec::<i32>::new()), Scale::PerTensor(1.0));
    match call.op.eval(&[Some(Value::Scaled(ScaledInt { clamp, ..none }))], call.raw)?.first() {
        Some(Value::Scaled(result)) => Ok(result.clamp),
        _ => Err(NodeError::Other("it does not keep integers".to_owned())),
    }
}

/// A step over all rows of the sums.
fn step(sums: &Sums, op: RowOp, x: Slot, factors: Option<Vec<f32>>, out: Slot) -> RowsStep {
    let columns = sums.scale.len();
    let rows = sums.view.numel().checked_div(columns).unwrap_or(0);
    let operand = |source, stride| RowOperand { source, pattern: Pattern { stride, repeat: 1, splat: false } };
    let factors = factors.map(|f| operand(Source::Const(Constant::new(bytemuck::cast_slice(&f))), 0));
    RowsStep { op, rows, columns, a: operand(Source::Arena(x), columns), b: factors, out, out_stride: columns }
}

/// `quantize_per_tensor` of sums.
pub(crate) fn quantize(lw: &mut Lowering<'_>, call: &Call<'_>, sums: &Sums) -> Result<(), NodeError> {
    let Some(out) = Quantized::of(&call.attrs, sums.clamp)? else {
        return Err(NodeError::Other("its result is no 8-bit tensor".to_owned()));
    };
    let factors = sums.scale.iter().map(|&s| requantize_multiplier(s, out.scale)).collect();
    let scaled = lw.temporary(sums.view.bytes());
    let multiply = RowOp::Binary { kernel: lw.kernels.float, op: BinaryOp::Mul };
    lw.push_in(call, &sums.view.order, step(sums, multiply, sums.view.slot(), Some(factors), scaled));
    let params = QuantizeParams { inverse_scale: 1.0, zero_point: out.stored_zero_point, clamp: out.clamp };
    let round = RowOp::Quantize { kernel: lw.kernels.quantize, params };
    let codes = lw.define(call.out(), sums.view.order.clone()).slot();
    lw.push_in(call, &sums.view.order, step(sums, round, scaled, None, codes));
    Ok(())
}

/// The real values of sums, in the order of the sums.
pub(crate) fn realize(lw: &mut Lowering<'_>, value: ValueRef, sums: &Sums) -> View {
    let mut buffer =
        || View { buffer: lw.buffer(sums.view.bytes()), dtype: DType::F32, offset: 0, ..sums.view.clone() };
    let (scaled, clamped) = (buffer(), (sums.clamp != ScaledInt::UNCLAMPED).then(buffer));
    let multiply = RowOp::Binary { kernel: lw.kernels.float, op: BinaryOp::Mul };
    let factors = Some(sums.scale.to_vec());
    lw.push_for(
        value,
        "dequantize",
        scaled.layout_name(),
        step(sums, multiply, sums.view.slot(), factors, scaled.slot()),
    );
    let Some(clamped) = clamped else { return scaled };
    let op = RowOp::Unary { kernel: lw.kernels.float, op: UnaryOp::Clamp { lo: sums.clamp.0, hi: sums.clamp.1 } };
    lw.push_for(value, "dequantize", clamped.layout_name(), step(sums, op, scaled.slot(), None, clamped.slot()));
    clamped
}
