//! Convolutions and linear layers whose input is quantized over its own range while the plan runs.

use std::sync::Arc;

use quantc_kernels::{ConvPlan, Epilogue, Operand, Quantize, QuantizeParams, RowsMut, SLACK};
use quantc_tensor::scaled::quantize_bias;
use quantc_tensor::{DType, QRange, dynamic_qparams};

use super::qparts::{QInput, QWeights};
use crate::{Access, RunError, Slot, Source, Step, StepCx, Work, Workers};

/// Bytes of the parameters that [`DynamicQuantizeStep`] leaves: the scale as f32, the zero point as i32.
pub const DYNAMIC_PARAMS: usize = 8;

/// The scale and the zero point in such bytes.
pub(crate) fn dynamic_params(params: &[u8]) -> (f32, u8) {
    let (mut scale, mut zero_point) = ([0; 4], [0; 4]);
    scale.copy_from_slice(&params[..4]);
    zero_point.copy_from_slice(&params[4..8]);
    (f32::from_ne_bytes(scale), i32::from_ne_bytes(zero_point) as u8)
}

/// Quantizes a tensor to u8 over its own range (see [`dynamic_qparams`]).
pub struct DynamicQuantizeStep {
    /// Kernel.
    pub kernel: &'static dyn Quantize,
    /// Lowest and highest code.
    pub range: (i32, i32),
    /// f32, contiguous.
    pub x: Source,
    /// Elements of `x`.
    pub len: usize,
    /// The codes: `len` and [`SLACK`] bytes.
    pub out: Slot,
    /// [`DYNAMIC_PARAMS`] bytes.
    pub params: Slot,
}

/// Elements quantized by one thread at a time.
const CHUNK: usize = 1024;

impl Step for DynamicQuantizeStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
        visit(Access::Write, &self.params);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out, params], mut workers) = cx.split([&self.out, &self.params]);
        let x = &reads.elements::<f32>(&self.x)[..self.len];
        let (scale, zero_point) = quantize_over_range(self.kernel, self.range, x, out, &mut workers);
        params[..4].copy_from_slice(&scale.to_ne_bytes());
        params[4..].copy_from_slice(&i32::from(zero_point).to_ne_bytes());
        Ok(())
    }
}

/// Quantizes values over their own range into the first of `out`; scale and zero point.
pub(crate) fn quantize_over_range(
    kernel: &dyn Quantize,
    range: (i32, i32),
    x: &[f32],
    out: &mut [u8],
    workers: &mut Workers<'_>,
) -> (f32, u8) {
    let seen = kernel.min_max(x);
    let (qmin, qmax) = range;
    let (scale, zero_point) = dynamic_qparams(seen.min, seen.max, QRange { dtype: DType::U8, qmin, qmax });
    let params = QuantizeParams { inverse_scale: 1.0 / scale, zero_point, clamp: range };
    let chunks = x.len() / CHUNK;
    let (whole, rest) = out[..x.len()].split_at_mut(chunks * CHUNK);
    workers.rows(chunks, 1, CHUNK, whole, CHUNK, |rows, out, _| {
        kernel.quantize(&params, rows, CHUNK, Operand::rows(x, CHUNK), RowsMut::new(out, CHUNK));
    });
    let tail = &x[chunks * CHUNK..];
    kernel.quantize(&params, 0..1, tail.len(), Operand::vector(tail), RowsMut::new(rest, tail.len()));
    (scale, zero_point as u8)
}

/// Memory for the parameters of a product whose input is quantized while the plan runs: a scale and a start of each output's sum.
pub(crate) struct ProductParams<'a> {
    pub(crate) scale: &'a mut [f32],
    pub(crate) offsets: &'a mut [i32],
}

/// An integer product of codes with these parameters, real results.
pub(crate) struct DynamicProduct<'a> {
    pub(crate) weights: &'a QWeights,
    pub(crate) weight_scale: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) x: &'a [u8],
    pub(crate) x_params: (f32, u8),
    pub(crate) clamp: (f32, f32),
}

impl DynamicProduct<'_> {
    /// Computes all rows, `stride` elements apart.
    pub(crate) fn run(&self, workers: &mut Workers<'_>, params: ProductParams<'_>, out: &mut [f32], stride: usize) {
        let (x_scale, x_zero_point) = self.x_params;
        let ProductParams { scale, offsets } = params;
        for (scale, weight) in scale.iter_mut().zip(self.weight_scale) {
            *scale = x_scale * weight;
        }
        self.weights.offsets(x_zero_point, offsets);
        if let Some(bias) = self.bias {
            for ((offset, &bias), &weight) in offsets.iter_mut().zip(bias).zip(self.weight_scale) {
                *offset = offset.wrapping_add(quantize_bias(bias, x_scale, weight));
            }
        }
        let (scale, clamp) = (&*scale, self.clamp);
        let epilogue = |_| Epilogue::Dequantize { scale, clamp };
        let input = QInput { x: self.x, x_zero_point, offsets };
        self.weights.run(workers, input, epilogue, out, stride);
    }
}

/// A convolution (dense, grouped or depthwise) or linear layer over the codes of a [`DynamicQuantizeStep`], channels last; f32 out.
pub struct DynamicConvStep {
    /// Weights.
    pub weights: QWeights,
    /// For each output channel.
    pub weight_scale: Arc<[f32]>,
    /// For each output channel.
    pub bias: Option<Arc<[f32]>>,
    /// Codes.
    pub x: Source,
    /// Their parameters.
    pub params: Slot,
    /// Real bounds.
    pub clamp: (f32, f32),
    /// Memory for the scale of each output channel, f32.
    pub scale: Slot,
    /// Memory for what the accumulators start from, i32.
    pub offsets: Slot,
    /// The result, from its first pixel's first channel to its last pixel's last.
    pub out: Slot,
    /// Elements from one pixel of the result to the next.
    pub out_stride: usize,
}

impl Step for DynamicConvStep {
    fn kernel(&self) -> &'static str {
        self.weights.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Read, &self.params);
        visit(Access::Write, &self.scale);
        visit(Access::Write, &self.offsets);
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        self.weights.scratch_len()
    }

    fn blocked(&self) -> Option<&ConvPlan> {
        self.weights.blocked()
    }

    fn work(&self) -> Work {
        let bias = self.bias.as_ref().map_or(0, |bias| size_of_val(&**bias));
        let work = self.weights.work(Work { constants: bias as u64, ..Work::default() });
        work.into_rows(self.weights.rows(), self.weight_scale.len(), self.out_stride, size_of::<f32>())
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [scale, offsets, out], mut workers) = cx.split([&self.scale, &self.offsets, &self.out]);
        let product = DynamicProduct {
            weights: &self.weights,
            weight_scale: &self.weight_scale,
            bias: self.bias.as_deref(),
            x: reads.bytes(&self.x),
            x_params: dynamic_params(reads.slot(&self.params)),
            clamp: self.clamp,
        };
        let params =
            ProductParams { scale: bytemuck::cast_slice_mut(scale), offsets: bytemuck::cast_slice_mut(offsets) };
        product.run(&mut workers, params, bytemuck::cast_slice_mut(out), self.out_stride);
        Ok(())
    }
}

/// Bytes of the codes of `len` elements.
pub fn dynamic_codes_len(len: usize) -> usize {
    len + SLACK
}
