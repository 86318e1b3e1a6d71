//! Integer matrix products of activations.

use quantc_kernels::{MatmulShape, Output, QMatmul, ZeroPoints};

use super::qconv::{GRANULE, QEpilogue};
use crate::{Access, RunError, Slot, Source, Step, StepCx};

/// `out = epilogue(sum((a - za) * (b - zb)))`, one product for each batch index.
pub struct QMatmulStep {
    /// Kernel.
    pub kernel: &'static dyn QMatmul,
    /// Shape of one product.
    pub shape: MatmulShape,
    /// Zero points.
    pub zero_points: ZeroPoints,
    /// Left, u8.
    pub a: Source,
    /// Right, u8.
    pub b: Source,
    /// For each product: first elements of `a`, `b` and the result.
    pub batches: Vec<[usize; 3]>,
    /// The stage after the accumulation; no residual.
    pub epilogue: QEpilogue,
    /// Memory for the packed right matrix.
    pub packed: Slot,
    /// Result.
    pub out: Slot,
    /// Elements from one row of the result to the next.
    pub out_stride: usize,
}

impl Step for QMatmulStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in [self.a.slot(), self.b.slot()].into_iter().flatten() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.packed);
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [packed, out], mut workers) = cx.split([&self.packed, &self.out]);
        let (a, b) = (reads.bytes(&self.a), reads.bytes(&self.b));
        let (shape, stride) = (&self.shape, self.out_stride);
        let epilogue = self.epilogue.at(&reads, 0);
        let cost = shape.n * shape.k / 16;
        let mut last = None;
        for &[a_at, b_at, out_at] in &self.batches {
            if last != Some(b_at) {
                self.kernel.pack(shape, &b[b_at..], self.zero_points, packed);
                last = Some(b_at);
            }
            let (a, packed) = (&a[a_at..], &packed[..]);
            let run = |rows: std::ops::Range<usize>, out: Output<'_>| {
                self.kernel.run(shape, a, packed, self.zero_points, rows, &epilogue, out);
            };
            if self.epilogue.is_float() {
                let out: &mut [f32] = &mut bytemuck::cast_slice_mut(out)[out_at..];
                workers.rows(shape.m, GRANULE, cost, out, stride, |rows, out, _| run(rows, Output::f32(out, stride)));
            } else {
                let out = &mut out[out_at..];
                workers.rows(shape.m, GRANULE, cost, out, stride, |rows, out, _| run(rows, Output::u8(out, stride)));
            }
        }
        Ok(())
    }
}
