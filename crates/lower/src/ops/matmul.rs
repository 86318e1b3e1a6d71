//! Matrix products of two activations: operands are read where they lie, in whatever order, as far as the kernel can.

use std::sync::Arc;

use quantc_ir::ValueRef;
use quantc_kernels::conv::AlignedBytes;
use quantc_kernels::{MatmulShape, RightLayout, ZeroPoints};
use quantc_runtime::steps::{Batches, MatrixOperand, PackedRight, QEpilogue, QMatmulStep, SgemmStep, packed_stride};
use quantc_runtime::{Constant, Source};
use quantc_tensor::scaled::requantize_multiplier;
use quantc_tensor::{DType, ScaledInt};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering, Operand};
use crate::ops::quantized::{Quantized, activation, is_code, stored_zero_point};
use crate::view::row_major;

/// One operand: strides in elements of its matrix axes, and of the result's batch axes (0 where it is broadcast).
struct Side {
    source: Source,
    row: usize,
    column: usize,
    batch: Vec<usize>,
}

/// Strides of the logical axes, in elements.
fn strides(shape: &[usize], order: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for &axis in order.iter().rev() {
        strides[axis] = stride;
        stride *= shape[axis];
    }
    strides
}

fn side(operand: Operand, batch: usize) -> Side {
    let rank = operand.shape.len();
    let strides = strides(&operand.shape, &operand.order);
    let missing = batch + 2 - rank;
    let of = |i: usize| {
        if i < missing || operand.shape[i - missing] == 1 { 0 } else { strides[i - missing] }
    };
    Side {
        row: strides[rank - 2],
        column: strides[rank - 1],
        batch: (0..batch).map(of).collect(),
        source: operand.source,
    }
}

/// The sizes of a product of matrices, its operands and result.
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: Side,
    b: Side,
    out: quantc_runtime::Slot,
    out_stride: usize,
    order: Vec<usize>,
    batches: Vec<[usize; 3]>,
}

/// The order to store the result in: if its only user permutes it, the order that makes the permuted value row-major, as long as the
/// columns stay together.
fn result_order(lw: &Lowering<'_>, value: ValueRef, rank: usize) -> Vec<usize> {
    let users = lw.graph.users(value);
    if let [(user, _)] = users[..] {
        let node = lw.graph.node(user);
        if let Some((op, attrs)) = node.call()
            && op.name() == "permute"
            && let Ok(dims) = crate::attrs::AttrView::new(op.signature(), attrs).ints("dims")
        {
            let order: Vec<usize> = dims.iter().map(|&d| (if d < 0 { d + rank as i64 } else { d }) as usize).collect();
            if order.len() == rank && order.last() == Some(&(rank - 1)) {
                return order;
            }
        }
    }
    row_major(rank)
}

/// Reads the operands and places the result; `None` for vectors.
fn product(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    fits: impl Fn(&Side, usize) -> bool,
) -> Result<Option<Product>, NodeError> {
    let values = [call.input(0)?, call.input(1)?];
    let [a_shape, b_shape] = values.map(|v| lw.shape(v));
    if a_shape.len() < 2 || b_shape.len() < 2 {
        return Ok(None);
    }
    let shape = lw.shape(call.out());
    let (rank, batch) = (shape.len(), shape.len() - 2);
    let (m, k, n) = (a_shape[a_shape.len() - 2], a_shape[a_shape.len() - 1], b_shape[b_shape.len() - 1]);
    let mut sides = Vec::with_capacity(2);
    for (i, &value) in values.iter().enumerate() {
        let operand = lw.operand(value, None)?;
        let natural = side(operand, batch);
        sides.push(if fits(&natural, i) { natural } else { side(lw.row_major(value)?, batch) });
    }
    let (Some(b), Some(a)) = (sides.pop(), sides.pop()) else { return Ok(None) };
    let order = result_order(lw, call.out(), rank);
    let out = lw.define(call.out(), order.clone()).slot();
    let out_strides = strides(&shape, &order);
    let mut batches = Vec::new();
    let count: usize = shape[..batch].iter().product();
    for i in 0..count {
        let (mut rest, mut at) = (i, [0; 3]);
        for d in (0..batch).rev() {
            let index = rest % shape[d];
            rest /= shape[d];
            at[0] += index * a.batch[d];
            at[1] += index * b.batch[d];
            at[2] += index * out_strides[d];
        }
        batches.push(at);
    }
    let mut product = Product { m, n, k, a, b, out, out_stride: out_strides[rank - 2], order, batches };
    product.merge_rows();
    // A stride of an axis of size 1 is not looked at, but checked.
    product.out_stride = product.out_stride.max(n);
    Ok(Some(product))
}

impl Product {
    /// Many products with one right matrix and evenly spaced rows are one.
    fn merge_rows(&mut self) {
        let (a_step, out_step) = (self.m * self.a.row, self.m * self.out_stride);
        let even = self.batches.iter().enumerate().all(|(i, at)| *at == [i * a_step, 0, i * out_step]);
        if even && self.batches.len() > 1 {
            self.m *= self.batches.len();
            self.batches.truncate(1);
        }
    }
}

/// `matmul` of f32.
pub(crate) fn matmul(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    if call.inputs().any(|v| lw.dtype(v) != DType::F32) {
        return Ok(false);
    }
    let Some(p) = product(lw, call, |_, _| true)? else { return Ok(false) };
    let matrix = |s: Side| MatrixOperand { source: s.source, row_stride: s.row, col_stride: s.column };
    let step = SgemmStep {
        m: p.m,
        n: p.n,
        k: p.k,
        a: matrix(p.a),
        b: matrix(p.b),
        batches: p.batches,
        bias: None,
        out: p.out,
        out_stride: p.out_stride,
    };
    lw.push_in(call, &p.order, step);
    Ok(true)
}

/// `quantized.matmul`.
pub(crate) fn quantized_matmul(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let dtypes = [lw.dtype(call.input(0)?), lw.dtype(call.input(1)?)];
    let zero_point = |name, dtype| stored_zero_point(&call.attrs, name, dtype);
    let zero_points = (zero_point("a_zero_point", dtypes[0])?, zero_point("b_zero_point", dtypes[1])?);
    let (true, (Some(za), Some(zb))) = (dtypes.into_iter().all(is_code), zero_points) else { return Ok(false) };
    let zero_points = ZeroPoints { a: za as u8, b: zb as u8 };
    let scale = call.attrs.float("a_scale")? * call.attrs.float("b_scale")?;
    let real = activation(&call.attrs)?;
    let n = lw.shape(call.out()).last().copied().unwrap_or(1);
    let epilogue = if call.attrs.dtype("dtype")? == DType::F32 {
        // Sums that are kept are scaled and clamped where they are used.
        let (scale, clamp) = if lw.keeps(call.out()) { (1.0, ScaledInt::UNCLAMPED) } else { (scale, real) };
        QEpilogue::Dequantize { scale: Arc::from(vec![scale; n]), clamp }
    } else {
        let Some(out) = Quantized::of(&call.attrs, real)? else { return Ok(false) };
        let multiplier = Arc::from(vec![requantize_multiplier(scale, out.scale); n]);
        QEpilogue::Requantize { multiplier, zero_point: out.stored_zero_point, clamp: out.clamp }
    };
    let fits = |side: &Side, i: usize| if i == 0 { side.column == 1 } else { side.column == 1 || side.row == 1 };
    let Some(p) = product(lw, call, fits)? else { return Ok(false) };
    let b = if p.b.column == 1 {
        RightLayout::RowMajor { stride: p.b.row.max(p.n) }
    } else {
        RightLayout::Transposed { stride: p.b.column.max(p.k) }
    };
    let shape = MatmulShape { m: p.m, k: p.k, n: p.n, a_stride: p.a.row.max(p.k), b };
    let kernel = lw.kernels.qmatmul;
    let only = p.batches.first().map(|batch| batch[1]).filter(|&at| p.batches.iter().all(|batch| batch[1] == at));
    let Some(batches) = Batches::new(p.batches, p.m, p.out_stride) else { return Ok(false) };
    // A constant right matrix that serves all products is packed once.
    let packed = match (&p.b.source, only) {
        (Source::Const(b), Some(at)) => {
            let make = || -> Result<Constant, NodeError> {
                let mut packed = AlignedBytes::zeroed(kernel.packed_len(p.k, p.n));
                kernel.pack(&shape, &b.as_slice()[at..], zero_points, packed.as_mut_slice());
                Ok(Constant::new(packed.as_slice()))
            };
            PackedRight::Constant(match lw.param(call.input(1)?) {
                Some(param) => {
                    let usage = format!("{} {at} {:?} {zero_points:?}", kernel.name(), shape.b);
                    lw.cache.constant(param, &usage, make)?
                }
                None => make()?,
            })
        }
        _ => PackedRight::Memory(lw.temporary(batches.rights() * packed_stride(kernel, &shape))),
    };
    let step = QMatmulStep {
        kernel,
        shape,
        zero_points,
        a: p.a.source,
        b: p.b.source,
        batches,
        epilogue,
        packed,
        out: p.out,
        out_stride: p.out_stride,
    };
    lw.push_in(call, &p.order, step);
    Ok(true)
}
