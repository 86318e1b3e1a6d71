//! Linear layers and matrix products.

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};
use rayon::prelude::*;

use crate::conv::{CONV_INPUTS, add_bias_i32, check_bias, exact_operands, infer_bias, product, product_scale};
use crate::dims::{broadcast, broadcast_shapes, broadcast_strides, numel};
use crate::integer::{Right, matmul_i32};
use crate::spec::required;
use crate::{EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature, float};

/// `linear`.
pub struct Linear;

/// Shape of `x * w^T`.
///
/// # Errors
/// If the known sizes do not fit.
pub fn infer_linear(x: &Shape, w: &Shape) -> Result<Shape, OpError> {
    let mismatch = || OpError::new(format!("linear: input {x} and weight {w} ([out, in]) do not fit"));
    let (Some(last), [out, depth]) = (x.dims().last(), w.dims()) else { return Err(mismatch()) };
    if !last.compatible(depth) {
        return Err(mismatch());
    }
    Ok(x.dims()[..x.rank() - 1].iter().chain([out]).cloned().collect())
}

/// `x * w^T + bias` of values: exact on integers if both operands are scaled, else in f32.
///
/// # Errors
/// If sizes or types do not fit.
pub fn linear(x: &Value, w: &Value, bias: Option<&Tensor>) -> Result<Value, OpError> {
    let shape = infer_linear(&Shape::known(x.shape()), &Shape::known(w.shape()))?.to_known().unwrap_or_default();
    let (outputs, inputs) = (w.shape()[0], w.shape()[1]);
    let len = numel(&shape)?;
    check_bias(bias, outputs)?;
    if let Some((xi, sx, wi)) = exact_operands(x, w, Some(0)) {
        let mut acc = vec![0; len];
        let rows = len.checked_div(outputs).unwrap_or(0);
        matmul_i32(xi.ints.slice()?, wi.ints.slice()?, Right::Transposed, rows, inputs, outputs, &mut acc);
        add_bias_i32(&mut acc, bias, sx, &wi.scale, 1)?;
        return product(&shape, acc, product_scale(sx, &wi.scale, shape.len() - 1), xi);
    }
    let (x, w) = (x.to_tensor(), w.to_tensor());
    let mut out = vec![0.0; len];
    let bias = bias.map(|b| b.slice::<f32>()).transpose()?;
    float::linear::linear(x.slice()?, w.slice()?, bias, inputs, outputs, &mut out);
    Ok(Tensor::from_vec(&shape, out)?.into())
}

impl Operator for Linear {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "linear",
                doc: "x * weight^T + bias, weight [out, in] (torch.nn.functional.linear, ONNX Gemm with transB).",
                inputs: CONV_INPUTS,
                attrs: &[],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[DType::F32])?;
        let shape = infer_linear(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        infer_bias(cx, 2, shape.dims().last().unwrap_or(&Dim::Unknown))?;
        Ok(vec![TensorType { dtype: DType::F32, shape }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![linear(cx.value(0)?, cx.value(1)?, cx.opt_tensor(2).as_ref())?])
    }
}

/// `matmul`.
pub struct MatMul;

/// Shape of a NumPy matrix product: vectors become a row or a column whose dimension is dropped again.
///
/// # Errors
/// If the known sizes do not fit.
pub fn infer_matmul(a: &Shape, b: &Shape) -> Result<Shape, OpError> {
    let mismatch = || OpError::new(format!("matmul: shapes {a} and {b} do not fit"));
    if a.rank() == 0 || b.rank() == 0 {
        return Err(mismatch());
    }
    let split = |s: &Shape, n: usize| -> (Shape, Vec<Dim>) {
        let at = s.rank().saturating_sub(n);
        (s.dims()[..at].iter().cloned().collect(), s.dims()[at..].to_vec())
    };
    let ((a_batch, a_end), (b_batch, b_end)) = (split(a, 2), split(b, 2));
    let depth = (a_end.last(), b_end.first());
    if !depth.0.zip(depth.1).is_some_and(|(x, y)| x.compatible(y)) {
        return Err(mismatch());
    }
    let batch = broadcast_shapes(&a_batch, &b_batch).map_err(|_| mismatch())?;
    let rows = (a_end.len() == 2).then(|| a_end[0].clone());
    let cols = (b_end.len() == 2).then(|| b_end[1].clone());
    Ok(batch.dims().iter().cloned().chain(rows).chain(cols).collect())
}

/// Sizes of a concrete product, and for every matrix of the result the index of its operands.
struct Batches {
    shape: Vec<usize>,
    m: usize,
    k: usize,
    n: usize,
    pairs: Vec<(usize, usize)>,
}

impl Batches {
    fn new(a: &[usize], b: &[usize]) -> Result<Batches, OpError> {
        let shape = infer_matmul(&Shape::known(a), &Shape::known(b))?.to_known().unwrap_or_default();
        numel(&shape)?;
        let (a_batch, b_batch) = (&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)]);
        let m = if a.len() > 1 { a[a.len() - 2] } else { 1 };
        let n = if b.len() > 1 { b[b.len() - 1] } else { 1 };
        let k = a[a.len() - 1];
        // One matrix on the right: all rows of the left are one matrix.
        if b_batch.iter().all(|&d| d == 1) {
            let rows = a_batch.iter().product::<usize>() * m;
            return Ok(Batches { shape, m: rows, k, n, pairs: vec![(0, 0)] });
        }
        let batch = broadcast(a_batch, b_batch)?;
        let (sa, sb) = (broadcast_strides(a_batch, &batch), broadcast_strides(b_batch, &batch));
        let count = numel(&batch)?;
        let mut pairs = Vec::with_capacity(count);
        for i in 0..count {
            let (mut rest, mut pair) = (i, (0, 0));
            for d in (0..batch.len()).rev() {
                let at = rest % batch[d];
                rest /= batch[d];
                pair = (pair.0 + at * sa[d], pair.1 + at * sb[d]);
            }
            pairs.push(pair);
        }
        Ok(Batches { shape, m, k, n, pairs })
    }

    fn run<T: Copy + Default + Send + Sync>(
        &self,
        a: &[T],
        b: &[T],
        product: impl Fn(&[T], &[T], &mut [T]) + Sync,
    ) -> Vec<T> {
        let size = self.m * self.n;
        let mut out = vec![T::default(); self.shape.iter().product()];
        if size > 0 {
            out.par_chunks_exact_mut(size).zip(&self.pairs).for_each(|(out, &(i, j))| {
                let a = &a[i * self.m * self.k..][..self.m * self.k];
                let b = &b[j * self.k * self.n..][..self.k * self.n];
                product(a, b, out);
            });
        }
        out
    }
}

/// Matrix product of values: exact on integers if both operands are scaled, else in f32.
///
/// # Errors
/// If sizes or types do not fit.
pub fn matmul(a: &Value, b: &Value) -> Result<Value, OpError> {
    let sizes = Batches::new(a.shape(), b.shape())?;
    let (m, k, n) = (sizes.m, sizes.k, sizes.n);
    // A scale for each column of the right operand, if that is one matrix.
    let axis = (b.shape().len() == 2).then_some(1);
    if let Some((ai, sa, bi)) = exact_operands(a, b, axis) {
        let acc =
            sizes.run(ai.ints.slice()?, bi.ints.slice()?, |a, b, out| matmul_i32(a, b, Right::Rows, m, k, n, out));
        let scale = product_scale(sa, &bi.scale, sizes.shape.len().saturating_sub(1));
        return product(&sizes.shape, acc, scale, ai);
    }
    let (a, b) = (a.to_tensor(), b.to_tensor());
    let out = sizes.run(a.slice()?, b.slice()?, |a, b, out| float::linear::matmul(a, b, m, k, n, out));
    Ok(Tensor::from_vec(&sizes.shape, out)?.into())
}

impl Operator for MatMul {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "matmul",
                doc: "Matrix product with NumPy batching (torch.matmul, ONNX MatMul).",
                inputs: &[required("input"), required("other")],
                attrs: &[],
                class: OpClass::Heavy,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[DType::F32])?;
        Ok(vec![TensorType { dtype: DType::F32, shape: infer_matmul(&cx.ty(0)?.shape, &cx.ty(1)?.shape)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        IntegerUse::Computed
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![matmul(cx.value(0)?, cx.value(1)?)?])
    }
}
