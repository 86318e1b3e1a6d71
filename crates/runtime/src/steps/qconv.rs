//! Integer convolution and linear layers with constant weights.

use std::sync::Arc;

use quantc_kernels::{ConvPlan, Epilogue};

use super::qparts::{QInput, QWeights};
use crate::{Access, Reads, RunError, Slot, Source, Step, StepCx, Work};

/// An [`Epilogue`] whose operands have places.
#[derive(Clone, Debug)]
pub enum QEpilogue {
    /// [`Epilogue::Requantize`].
    Requantize {
        /// For each output channel.
        multiplier: Arc<[f32]>,
        /// Zero point of the output.
        zero_point: i32,
        /// Inclusive bounds.
        clamp: (i32, i32),
    },
    /// [`Epilogue::AddRequantize`].
    AddRequantize {
        /// For each output channel.
        scale: Arc<[f32]>,
        /// u8, of the output's pixels and channels.
        residual: Source,
        /// Elements from one pixel of the residual to the next.
        residual_stride: usize,
        /// Scale of the residual.
        residual_scale: f32,
        /// Zero point of the residual.
        residual_zero_point: i32,
        /// `1 / scale` of the output.
        inverse_scale: f32,
        /// Zero point of the output.
        zero_point: i32,
        /// Inclusive bounds.
        clamp: (i32, i32),
    },
    /// [`Epilogue::Dequantize`]: the output is f32.
    Dequantize {
        /// For each output channel.
        scale: Arc<[f32]>,
        /// Real bounds.
        clamp: (f32, f32),
    },
}

impl QEpilogue {
    /// Whether the output is f32.
    pub fn is_float(&self) -> bool {
        matches!(self, QEpilogue::Dequantize { .. })
    }

    /// The residual, if there is one.
    fn residual(&self) -> Option<&Source> {
        match self {
            QEpilogue::AddRequantize { residual, .. } => Some(residual),
            _ => None,
        }
    }

    /// The kernel's epilogue for the rows from `row` on.
    pub(crate) fn at<'a>(&'a self, reads: &Reads<'a>, row: usize) -> Epilogue<'a> {
        match self {
            QEpilogue::Requantize { multiplier, zero_point, clamp } => {
                Epilogue::Requantize { multiplier, zero_point: *zero_point, clamp: *clamp }
            }
            QEpilogue::AddRequantize {
                scale,
                residual,
                residual_stride,
                residual_scale,
                residual_zero_point,
                inverse_scale,
                zero_point,
                clamp,
            } => Epilogue::AddRequantize {
                scale,
                residual: &reads.bytes(residual)[row * residual_stride..],
                residual_stride: *residual_stride,
                residual_scale: *residual_scale,
                residual_zero_point: *residual_zero_point,
                inverse_scale: *inverse_scale,
                zero_point: *zero_point,
                clamp: *clamp,
            },
            QEpilogue::Dequantize { scale, clamp } => Epilogue::Dequantize { scale, clamp: *clamp },
        }
    }
}

/// A convolution (dense, grouped or depthwise) or linear layer: u8 activations, channels last.
pub struct QConvStep {
    /// Weights.
    pub weights: QWeights,
    /// What the accumulators start from.
    pub offsets: Arc<[i32]>,
    /// Activations.
    pub x: Source,
    /// Their zero point.
    pub x_zero_point: u8,
    /// The stage after the accumulation.
    pub epilogue: QEpilogue,
    /// The result, from its first pixel's first channel to its last pixel's last.
    pub out: Slot,
    /// Elements from one pixel of the result to the next.
    pub out_stride: usize,
}

/// Rows that threads take at a time. Small, since images of 14 x 14 and 7 x 7 pixels must divide evenly; a kernel's tile is a
/// multiple or a divisor of it, or pays little for the rows left over.
pub(crate) const GRANULE: usize = 4;

impl Step for QConvStep {
    fn kernel(&self) -> &'static str {
        self.weights.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        if let Some(slot) = self.epilogue.residual().and_then(Source::slot) {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        self.weights.scratch_len()
    }

    fn blocked(&self) -> Option<&ConvPlan> {
        self.weights.blocked()
    }

    fn work(&self) -> Work {
        let element = if self.epilogue.is_float() { size_of::<f32>() } else { 1 };
        let work = Work::reading([&self.x].into_iter().chain(self.epilogue.residual()));
        self.weights.work(work).into_rows(self.weights.rows(), self.offsets.len(), self.out_stride, element)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let input = QInput { x: reads.bytes(&self.x), x_zero_point: self.x_zero_point, offsets: &self.offsets };
        let (workers, stride, epilogue) = (&mut workers, self.out_stride, |row| self.epilogue.at(&reads, row));
        if self.epilogue.is_float() {
            let out: &mut [f32] = bytemuck::cast_slice_mut(out);
            self.weights.run(workers, input, epilogue, out, stride);
        } else {
            self.weights.run(workers, input, epilogue, out, stride);
        }
        Ok(())
    }
}
