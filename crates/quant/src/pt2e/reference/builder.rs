//! The graph of explicit integer arithmetic while it is written, and the arithmetic itself.

use std::sync::Arc;

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{DType, QRange, Tensor};

use super::scaled::{Ints, ScaleOf, Scaled, Zero};
use crate::pt2e::convert::operator;
use crate::pt2e::error::Pt2eError;

/// Adds calls on behalf of one node of the q/dq graph.
pub(super) struct Builder {
    pub(super) graph: Graph,
    name: String,
    origins: Vec<Origin>,
}

/// A constant for each channel, shaped to be broadcast along `axis` of a tensor of that rank.
fn along(rank: usize, axis: usize, len: usize) -> Vec<usize> {
    let mut shape = vec![1; rank.saturating_sub(axis).max(1)];
    shape[0] = len;
    shape
}

impl Builder {
    pub(super) fn new(graph: Graph) -> Builder {
        Builder { graph, name: String::new(), origins: Vec::new() }
    }

    /// From now on calls are on behalf of this node. They carry its origins, but no numeric debug handles: they are not its value.
    pub(super) fn on_behalf_of(&mut self, source: &Graph, id: NodeId) {
        let node = source.node(id);
        node.name().clone_into(&mut self.name);
        self.origins = node.origins().iter().map(|o| Origin { handle: None, ..o.clone() }).collect();
    }

    /// A call whose value is that of the source node, with its handles.
    pub(super) fn same_call(
        &mut self,
        op: OpRef,
        inputs: &[Option<ValueRef>],
        attrs: Attrs,
        origins: &[Origin],
    ) -> Result<NodeId, Pt2eError> {
        Ok(self.graph.call(&self.name.clone(), op, inputs, attrs, origins)?)
    }

    pub(super) fn call(&mut self, op: &'static str, inputs: &[ValueRef], attrs: Attrs) -> Result<ValueRef, Pt2eError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let name = format!("{}.{}", self.name, op.replace('.', "_"));
        Ok(self.graph.call(&name, operator(op)?, &inputs, attrs, &self.origins)?.into())
    }

    /// A constant.
    pub(super) fn constant(&mut self, what: &str, value: Tensor) -> ValueRef {
        let name: Arc<str> = self.graph.fresh_param_name(&format!("{}.{what}", self.name));
        self.graph.param(&name, value).into()
    }

    pub(super) fn to(&mut self, v: ValueRef, dtype: DType) -> Result<ValueRef, Pt2eError> {
        if self.graph.ty(v).dtype == dtype {
            return Ok(v);
        }
        self.call("to", &[v], Attrs::new().with("dtype", dtype))
    }

    /// `v + z` of i32.
    fn add_zero(&mut self, v: ValueRef, zero: &Zero, op: &'static str) -> Result<ValueRef, Pt2eError> {
        let rank = self.graph.ty(v).shape.rank();
        let zero = match zero {
            Zero::One(0) => return Ok(v),
            Zero::One(z) => self.constant("zero_point", Tensor::scalar(*z)),
            Zero::Channels { axis, zeros } => {
                let shape = along(rank, *axis, zeros.len());
                let tensor = Tensor::from_vec(&shape, zeros.clone()).map_err(quantc_ops::OpError::from);
                self.constant("zero_points", tensor.map_err(|e| self.failed(e))?)
            }
            Zero::Runtime(z) => self.to(*z, DType::I32)?,
        };
        self.call(op, &[v, zero], Attrs::new())
    }

    fn failed(&self, source: quantc_ops::OpError) -> Pt2eError {
        quantc_ir::IrError::Op { node: self.name.clone(), op: "constant".to_owned(), source }.into()
    }

    /// The i32 integers of a scaled value: codes less their zero point, or sums.
    pub(super) fn ints(&mut self, s: &Scaled) -> Result<ValueRef, Pt2eError> {
        match &s.ints {
            Ints::Sums(v) => Ok(*v),
            Ints::Codes { q, zero } => {
                let wide = self.to(*q, DType::I32)?;
                self.add_zero(wide, zero, "sub")
            }
        }
    }

    /// A scale, divided by another if given, to be multiplied with a tensor of that rank.
    fn multiplier(&mut self, scale: &ScaleOf, rank: usize, by: Option<f32>) -> Result<ValueRef, Pt2eError> {
        let over = |s: f32| by.map_or(s, |y| s / y);
        match scale {
            ScaleOf::One(s) => Ok(self.constant("scale", Tensor::scalar(over(*s)))),
            ScaleOf::Channels { axis, scales } => {
                let scales: Vec<f32> = scales.iter().map(|s| over(*s)).collect();
                let tensor = Tensor::from_vec(&along(rank, *axis, scales.len()), scales);
                let tensor = tensor.map_err(quantc_ops::OpError::from).map_err(|e| self.failed(e))?;
                Ok(self.constant("scales", tensor))
            }
            ScaleOf::Runtime(s) => {
                let s = self.to(*s, DType::F32)?;
                let Some(y) = by else { return Ok(s) };
                let y = self.constant("scale", Tensor::scalar(y));
                self.call("div", &[s, y], Attrs::new())
            }
        }
    }

    /// The real value: `clamp(f32(int) * scale, lo, hi)`.
    pub(super) fn real(&mut self, s: &Scaled) -> Result<ValueRef, Pt2eError> {
        let ints = self.ints(s)?;
        let rank = self.graph.ty(ints).shape.rank();
        let float = self.to(ints, DType::F32)?;
        let scale = self.multiplier(&s.scale, rank, None)?;
        let real = self.call("mul", &[float, scale], Attrs::new())?;
        // 0 times an infinite scale is no number.
        let real = if s.scale.all_finite_over(1.0) { real } else { self.without_nan(real)? };
        self.clamp(real, s.clamp)
    }

    pub(super) fn clamp(&mut self, v: ValueRef, (lo, hi): (f32, f32)) -> Result<ValueRef, Pt2eError> {
        if (lo, hi) == (f32::NEG_INFINITY, f32::INFINITY) {
            return Ok(v);
        }
        self.call("clamp", &[v], Attrs::new().with("min", lo).with("max", hi))
    }

    /// NaN becomes -infinity, which every clamp takes to its lower bound.
    pub(super) fn without_nan(&mut self, v: ValueRef) -> Result<ValueRef, Pt2eError> {
        let number = self.call("equal", &[v, v], Attrs::new())?;
        let lowest = self.constant("lowest", Tensor::scalar(f32::NEG_INFINITY));
        self.call("where", &[number, v, lowest], Attrs::new())
    }

    /// i32 from f32 that are whole numbers, saturating; NaN is 0.
    pub(super) fn saturate(&mut self, v: ValueRef, lo: i32, hi: i32) -> Result<ValueRef, Pt2eError> {
        let wide = self.to(v, DType::I64)?;
        let (lo, hi) = (Tensor::scalar(i64::from(lo)), Tensor::scalar(i64::from(hi)));
        let (lo, hi) = (self.constant("lowest", lo), self.constant("highest", hi));
        let wide = self.call("maximum", &[wide, lo], Attrs::new())?;
        let wide = self.call("minimum", &[wide, hi], Attrs::new())?;
        self.to(wide, DType::I32)
    }

    /// `clamp(rne(v) + zero, qmin, qmax)` in the type of the range.
    fn round(&mut self, v: ValueRef, zero: i32, range: QRange) -> Result<ValueRef, Pt2eError> {
        let QRange { dtype, qmin, qmax } = range;
        if dtype == DType::I32 {
            // f32 does not hold the bounds; the zero point is 0.
            let whole = self.call("round", &[v], Attrs::new())?;
            return self.saturate(whole, qmin, qmax);
        }
        let clamped = self.clamp(v, ((qmin - zero) as f32, (qmax - zero) as f32))?;
        let whole = self.call("round", &[clamped], Attrs::new())?;
        let ints = self.to(whole, DType::I32)?;
        let shifted = self.add_zero(ints, &Zero::One(zero), "add")?;
        self.to(shifted, dtype)
    }

    /// Quantizes a scaled value: one multiplication of its integers. `bounds` are those of the pending clamp, quantized.
    pub(super) fn requantize(
        &mut self,
        s: &Scaled,
        y_scale: f32,
        zero: i32,
        bounds: QRange,
    ) -> Result<ValueRef, Pt2eError> {
        let ints = self.ints(s)?;
        let rank = self.graph.ty(ints).shape.rank();
        let float = self.to(ints, DType::F32)?;
        let multiplier = self.multiplier(&s.scale, rank, Some(y_scale))?;
        let v = self.call("mul", &[float, multiplier], Attrs::new())?;
        // 0 times an infinite multiplier is no number.
        let v = if s.scale.all_finite_over(y_scale) { v } else { self.without_nan(v)? };
        self.round(v, zero, bounds)
    }

    /// Quantizes a real tensor with one scale and zero point for all, or for each index of an axis.
    pub(super) fn quantize(
        &mut self,
        x: ValueRef,
        scale: &ScaleOf,
        zero: &Zero,
        range: QRange,
    ) -> Result<ValueRef, Pt2eError> {
        let rank = self.graph.ty(x).shape.rank();
        let inverse = match scale {
            ScaleOf::One(s) => ScaleOf::One(1.0 / s),
            ScaleOf::Channels { axis, scales } => {
                ScaleOf::Channels { axis: *axis, scales: scales.iter().map(|s| 1.0 / s).collect() }
            }
            ScaleOf::Runtime(s) => {
                let s = self.to(*s, DType::F32)?;
                ScaleOf::Runtime(self.call("reciprocal", &[s], Attrs::new())?)
            }
        };
        let inverse = self.multiplier(&inverse, rank, None)?;
        let v = self.call("mul", &[x, inverse], Attrs::new())?;
        let v = self.without_nan(v)?;
        if let Zero::One(zero) = zero {
            return self.round(v, *zero, range);
        }
        // The bounds differ, so the clamp comes after the zero point: the rounded value is made small enough for i32 before.
        let wide = f32::from(u16::MAX) * 4.0;
        let near = self.clamp(v, (-wide, wide))?;
        let whole = self.call("round", &[near], Attrs::new())?;
        let ints = self.to(whole, DType::I32)?;
        let shifted = self.add_zero(ints, zero, "add")?;
        let (lo, hi) = (Tensor::scalar(range.qmin), Tensor::scalar(range.qmax));
        let (lo, hi) = (self.constant("lowest", lo), self.constant("highest", hi));
        let shifted = self.call("maximum", &[shifted, lo], Attrs::new())?;
        let shifted = self.call("minimum", &[shifted, hi], Attrs::new())?;
        self.to(shifted, range.dtype)
    }

    /// The bias of a product as i32 to be added to its accumulators: `rne(bias / scale)`, saturating.
    pub(super) fn bias(&mut self, bias: ValueRef, scale: ValueRef) -> Result<ValueRef, Pt2eError> {
        let quotient = self.call("div", &[bias, scale], Attrs::new())?;
        let whole = self.call("round", &[quotient], Attrs::new())?;
        self.saturate(whole, i32::MIN, i32::MAX)
    }
}
