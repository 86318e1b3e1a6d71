//! Integer convolution and linear layers whose real result goes through a function of one element before it is quantized.

use std::sync::Arc;

use quantc_kernels::{
    ConvArgs, ConvPlan, Epilogue, Float, Operand, Output, Quantize, QuantizeParams, RowsMut, UnaryOp,
};

use super::qconv::GRANULE;
use super::qparts::QWeights;
use crate::{Access, RunError, Slot, Source, Step, StepCx, Work};

/// What is done to the real result of a layer.
#[derive(Clone, Copy)]
pub struct QFunction {
    /// The kernels of the function.
    pub float: &'static dyn Float,
    /// The function.
    pub op: UnaryOp,
    /// The kernels that quantize.
    pub quantize: &'static dyn Quantize,
    /// How its result is quantized.
    pub params: QuantizeParams,
}

/// A convolution (dense, grouped or depthwise) or linear layer, u8 in and out, channels last: `quantize(function(layer))`. The real
/// result of some rows at a time is held in scratch memory, so that it stays in the cache.
pub struct QConvFunctionStep {
    /// Weights, in one part.
    pub weights: QWeights,
    /// What the accumulators start from.
    pub offsets: Arc<[i32]>,
    /// Activations.
    pub x: Source,
    /// Their zero point.
    pub x_zero_point: u8,
    /// `s_x * s_w` of each output channel.
    pub scale: Arc<[f32]>,
    /// Bounds of the real result, before the function.
    pub clamp: (f32, f32),
    /// The function.
    pub function: QFunction,
    /// The result, from its first pixel's first channel to its last pixel's last.
    pub out: Slot,
    /// Elements from one pixel of the result to the next.
    pub out_stride: usize,
}

/// Real results that are held at a time, about.
const BLOCK: usize = 8192;
/// Rows are held in multiples of this, which suits the kernels' tiles.
const TILE: usize = 12;

impl QConvFunctionStep {
    /// Output channels.
    fn channels(&self) -> usize {
        self.scale.len()
    }

    /// Rows that are computed at a time.
    fn block(&self) -> usize {
        (BLOCK / self.channels().max(1)).max(1).next_multiple_of(TILE)
    }

    /// Bytes of the kernel's own scratch memory, ending where reals can begin.
    fn kernel_scratch(&self) -> usize {
        self.weights.scratch_len().next_multiple_of(64)
    }
}

impl Step for QConvFunctionStep {
    fn kernel(&self) -> &'static str {
        self.weights.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        self.kernel_scratch() + 2 * self.block() * self.channels() * size_of::<f32>()
    }

    fn blocked(&self) -> Option<&ConvPlan> {
        self.weights.blocked()
    }

    fn work(&self) -> Work {
        let work = self.weights.work(Work::reading([&self.x]));
        work.into_rows(self.weights.rows(), self.channels(), self.out_stride, 1)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (Some(part), Some(geometry)) = (self.weights.parts.first(), self.weights.geometry()) else { return Ok(()) };
        let (x, channels, stride, block) = (reads.bytes(&self.x), self.channels(), self.out_stride, self.block());
        let QFunction { float, op, quantize, params } = self.function;
        let epilogue = Epilogue::Dequantize { scale: &self.scale, clamp: self.clamp };
        let args = ConvArgs {
            plan: &part.plan,
            weights: &part.weights,
            x,
            x_zero_point: self.x_zero_point,
            offsets: &self.offsets,
            epilogue: &epilogue,
        };
        let cost = geometry.weight_shape().len() / 16 + 2 * channels;
        workers.rows(geometry.rows(), GRANULE, cost, out, stride, |rows, out, scratch| {
            let (own, reals) = scratch.split_at_mut(self.kernel_scratch());
            let reals: &mut [f32] = bytemuck::cast_slice_mut(&mut reals[..2 * block * channels * size_of::<f32>()]);
            let (sums, results) = reals.split_at_mut(block * channels);
            let first = rows.start;
            for start in rows.clone().step_by(block) {
                let rows = start..(start + block).min(rows.end);
                let count = rows.len();
                self.weights.kernel.run(&args, rows, Output::f32(sums, channels), own);
                float.unary(op, 0..count, channels, Operand::rows(sums, channels), RowsMut::new(results, channels));
                let out = RowsMut::new(&mut out[(start - first) * stride..], stride);
                quantize.quantize(&params, 0..count, channels, Operand::rows(results, channels), out);
            }
        });
        Ok(())
    }
}
