//! Integer matrix products of activations.

use quantc_kernels::{MatmulShape, Output, QMatmul, ZeroPoints};

use super::qconv::{GRANULE, QEpilogue};
use crate::{Access, Arithmetic, Constant, Reads, RunError, Slot, Source, Step, StepCx, Work, Workers};

/// Where the packed right matrix is.
#[derive(Clone, Debug)]
pub enum PackedRight {
    /// Memory for it: `b` is packed when the step runs.
    Memory(Slot),
    /// Packed already, one for all products.
    Constant(Constant),
}

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
    /// The packed right matrix.
    pub packed: PackedRight,
    /// Result.
    pub out: Slot,
    /// Elements from one row of the result to the next.
    pub out_stride: usize,
}

impl QMatmulStep {
    /// One product, given the first elements of its operands and result.
    fn multiply<'a>(
        &'a self,
        reads: &Reads<'a>,
        [a_at, _, out_at]: [usize; 3],
        packed: &[u8],
        out: &mut [u8],
        workers: &mut Workers<'_>,
    ) {
        let (shape, stride) = (&self.shape, self.out_stride);
        let (epilogue, cost) = (self.epilogue.at(reads, 0), shape.n * shape.k / 16);
        let a = &reads.bytes(&self.a)[a_at..];
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
}

impl Step for QMatmulStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in [self.a.slot(), self.b.slot()].into_iter().flatten() {
            visit(Access::Read, slot);
        }
        if let PackedRight::Memory(packed) = &self.packed {
            visit(Access::Write, packed);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        let MatmulShape { m, n, k, .. } = self.shape;
        let packed = match &self.packed {
            PackedRight::Constant(packed) => Work { constants: packed.len() as u64, ..Work::reading([&self.a]) },
            PackedRight::Memory(_) => Work::reading([&self.a, &self.b]),
        };
        packed.multiplying(Arithmetic::Int8, self.batches.len() * m * n * k)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        match &self.packed {
            PackedRight::Memory(packed) => {
                let (reads, [packed, out], mut workers) = cx.split([packed, &self.out]);
                let b = reads.bytes(&self.b);
                let mut last = None;
                for at in &self.batches {
                    if last != Some(at[1]) {
                        self.kernel.pack(&self.shape, &b[at[1]..], self.zero_points, packed);
                        last = Some(at[1]);
                    }
                    self.multiply(&reads, *at, packed, out, &mut workers);
                }
            }
            PackedRight::Constant(packed) => {
                let (reads, [out], mut workers) = cx.split([&self.out]);
                for at in &self.batches {
                    self.multiply(&reads, *at, packed.as_slice(), out, &mut workers);
                }
            }
        }
        Ok(())
    }
}
