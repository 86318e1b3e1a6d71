//! Pooling of images, channels last.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use quantc_kernels::{AvgPoolParams, FloatPool, PoolGeometry, QPool, RowsMut};

use crate::{Access, RunError, Slot, Source, Step, StepCx, Work, Workers};

/// What a pooling step computes.
#[derive(Clone)]
pub enum PoolOp {
    /// The largest code of each window.
    Max {
        /// Kernel.
        kernel: &'static dyn QPool,
    },
    /// The average of the codes of each window, requantized (see [`AvgPoolParams`]).
    Average {
        /// Kernel.
        kernel: &'static dyn QPool,
        /// Zero point of the input.
        x_zero_point: i32,
        /// Whether padding counts.
        count_include_pad: bool,
        /// For each number of elements counted.
        multiplier: Arc<[f32]>,
        /// Applied after it.
        rescale: f32,
        /// Zero point of the result.
        zero_point: i32,
        /// Inclusive bounds.
        clamp: (i32, i32),
    },
    /// The largest f32 of each window.
    FloatMax {
        /// Kernel.
        kernel: &'static dyn FloatPool,
    },
    /// The mean of the f32 of each window.
    FloatAverage {
        /// Kernel.
        kernel: &'static dyn FloatPool,
        /// Whether padding counts.
        count_include_pad: bool,
    },
}

/// Pooling of images of u8 or f32, channels last.
pub struct PoolStep {
    /// Shape.
    pub geometry: PoolGeometry,
    /// What to compute.
    pub op: PoolOp,
    /// Input.
    pub x: Source,
    /// Result.
    pub out: Slot,
    /// Elements from one pixel of the result to the next.
    pub out_stride: usize,
}

impl PoolStep {
    fn each<T: Pod + Send>(
        &self,
        workers: &mut Workers<'_>,
        out: &mut [u8],
        f: impl Fn(Range<usize>, RowsMut<'_, T>) + Sync,
    ) {
        let (g, stride) = (&self.geometry, self.out_stride);
        let cost = g.c * g.most_taps() * size_of::<T>() / 4;
        let out: &mut [T] = bytemuck::cast_slice_mut(out);
        workers.rows(g.rows(), 1, cost, out, stride, |rows, out, _| f(rows, RowsMut::new(out, stride)));
    }
}

impl Step for PoolStep {
    fn kernel(&self) -> &'static str {
        match &self.op {
            PoolOp::Max { kernel } | PoolOp::Average { kernel, .. } => kernel.name(),
            PoolOp::FloatMax { kernel } | PoolOp::FloatAverage { kernel, .. } => kernel.name(),
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        let element = match self.op {
            PoolOp::Max { .. } | PoolOp::Average { .. } => 1,
            PoolOp::FloatMax { .. } | PoolOp::FloatAverage { .. } => size_of::<f32>(),
        };
        Work::reading([&self.x]).into_rows(self.geometry.rows(), self.geometry.c, self.out_stride, element)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (g, workers) = (&self.geometry, &mut workers);
        match &self.op {
            PoolOp::Max { kernel } => {
                let x = reads.elements(&self.x);
                self.each(workers, out, |rows, out| kernel.max_pool(g, x, rows, out));
            }
            PoolOp::Average { kernel, x_zero_point, count_include_pad, multiplier, rescale, zero_point, clamp } => {
                let params = AvgPoolParams {
                    x_zero_point: *x_zero_point,
                    count_include_pad: *count_include_pad,
                    multiplier,
                    rescale: *rescale,
                    zero_point: *zero_point,
                    clamp: *clamp,
                };
                let x = reads.elements(&self.x);
                self.each(workers, out, |rows, out| kernel.avg_pool(g, &params, x, rows, out));
            }
            PoolOp::FloatMax { kernel } => {
                let x = reads.elements(&self.x);
                self.each(workers, out, |rows, out| kernel.max_pool_f32(g, x, rows, out));
            }
            PoolOp::FloatAverage { kernel, count_include_pad } => {
                let x = reads.elements(&self.x);
                self.each(workers, out, |rows, out| kernel.avg_pool_f32(g, *count_include_pad, x, rows, out));
            }
        }
        Ok(())
    }
}
