//! Pooling of quantized images.

use std::sync::Arc;

use quantc_kernels::{AvgPoolParams, PoolGeometry, QPool, RowsMut};

use crate::{Access, RunError, Slot, Source, Step, StepCx};

/// What a pooling step computes.
#[derive(Clone, Debug)]
pub enum PoolOp {
    /// The largest element of each window.
    Max,
    /// The average of each window, requantized (see [`AvgPoolParams`]).
    Average {
        /// Zero point of the input.
        x_zero_point: i32,
        /// Whether padding counts.
        count_include_pad: bool,
        /// For each number of elements counted.
        multiplier: Arc<[f32]>,
        /// Zero point of the result.
        zero_point: i32,
        /// Inclusive bounds.
        clamp: (i32, i32),
    },
}

/// Pooling of u8 images, channels last.
pub struct QPoolStep {
    /// Kernel.
    pub kernel: &'static dyn QPool,
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

impl Step for QPoolStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (x, g, stride): (&[u8], _, _) = (reads.elements(&self.x), &self.geometry, self.out_stride);
        let cost = g.c * g.kernel[0] * g.kernel[1] / 4;
        workers.rows(g.rows(), 1, cost, out, stride, |rows, out, _| {
            let out = RowsMut::new(out, stride);
            match &self.op {
                PoolOp::Max => self.kernel.max_pool(g, x, rows, out),
                PoolOp::Average { x_zero_point, count_include_pad, multiplier, zero_point, clamp } => {
                    let params = AvgPoolParams {
                        x_zero_point: *x_zero_point,
                        count_include_pad: *count_include_pad,
                        multiplier,
                        zero_point: *zero_point,
                        clamp: *clamp,
                    };
                    self.kernel.avg_pool(g, &params, x, rows, out);
                }
            }
        });
        Ok(())
    }
}
