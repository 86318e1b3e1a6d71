//! Integer matrix products of activations.

use quantc_kernels::{MatmulShape, Output, QMatmul, ZeroPoints};

use super::qconv::{GRANULE, QEpilogue};
use crate::{ALIGN, Access, Arithmetic, Constant, Reads, RunError, Slot, Source, Step, StepCx, Work, Workers};

/// Where the packed right matrices are.
#[derive(Clone, Debug)]
pub enum PackedRight {
    /// Memory for all of them, one after another: they are packed when the step runs.
    Memory(Slot),
    /// Packed already, one for all products.
    Constant(Constant),
}

/// Products of one step: where their operands and results begin, in elements.
#[derive(Clone, Debug)]
pub struct Batches {
    /// First elements of the right matrices, each once.
    rights: Vec<usize>,
    /// Ordered by where the results begin, so that a block's are next to each other.
    products: Vec<OneProduct>,
    /// Blocks of rows of the result: `m` rows that follow one another, with the results of equally many products side by side.
    blocks: usize,
}

/// One product of [`Batches`].
#[derive(Clone, Copy, Debug)]
struct OneProduct {
    /// First element of the left matrix.
    a: usize,
    /// Index of the right matrix.
    right: usize,
    /// First column of the result within the rows of its block.
    column: usize,
}

impl Batches {
    /// Products given by the first elements of `a`, `b` and the result, whose rows are `out_stride` elements apart. Results
    /// lie side by side in blocks of `m` rows, or below each other; the blocks lie one after another. `None` if they lie otherwise.
    pub fn new(mut starts: Vec<[usize; 3]>, m: usize, out_stride: usize) -> Option<Batches> {
        starts.sort_unstable_by_key(|at| at[2]);
        let mut rights: Vec<usize> = starts.iter().map(|at| at[1]).collect();
        rights.sort_unstable();
        rights.dedup();
        let block = m * out_stride;
        if block == 0 || starts.is_empty() {
            return Some(Batches { rights, products: Vec::new(), blocks: 0 });
        }
        let blocks = starts.last()?[2] / block + 1;
        let each = starts.len() / blocks;
        let in_place = |(i, at): (usize, &[usize; 3])| at[2] / block == i / each && at[2] % block < out_stride;
        if each * blocks != starts.len() || !starts.iter().enumerate().all(in_place) {
            return None;
        }
        let product = |&[a, b, out]: &[usize; 3]| {
            let right = rights.partition_point(|&at| at < b);
            OneProduct { a, right, column: out % block }
        };
        Some(Batches { products: starts.iter().map(product).collect(), blocks, rights })
    }

    /// Number of different right matrices.
    pub fn rights(&self) -> usize {
        self.rights.len()
    }
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
    /// The products.
    pub batches: Batches,
    /// The stage after the accumulation; no residual.
    pub epilogue: QEpilogue,
    /// The packed right matrices.
    pub packed: PackedRight,
    /// Result.
    pub out: Slot,
    /// Elements from one row of the result to the next.
    pub out_stride: usize,
}

impl QMatmulStep {
    /// All products, the rows of all blocks shared between the threads.
    fn multiply<T: Send>(
        &self,
        reads: &Reads<'_>,
        packed: &[u8],
        out: &mut [T],
        workers: &mut Workers<'_>,
        output: impl for<'o> Fn(&'o mut [T], usize) -> Output<'o> + Sync,
    ) {
        let Batches { products, blocks, .. } = &self.batches;
        let MatmulShape { m, n, k, .. } = self.shape;
        let each = products.len() / (*blocks).max(1);
        let (stride, packed_stride) = (self.out_stride, packed_stride(self.kernel, &self.shape));
        let (epilogue, a) = (self.epilogue.at(reads, 0), reads.bytes(&self.a));
        workers.rows(blocks * m, GRANULE, each * n * k / 16, out, stride, |rows, out, _| {
            let mut row = rows.start;
            while row < rows.end {
                let block = row / m;
                let end = rows.end.min((block + 1) * m);
                for product in &products[block * each..][..each] {
                    let within = row - block * m..end - block * m;
                    let packed = &packed[product.right * packed_stride..];
                    let out = output(&mut out[(row - rows.start) * stride + product.column..], stride);
                    self.kernel.run(&self.shape, &a[product.a..], packed, self.zero_points, within, &epilogue, out);
                }
                row = end;
            }
        });
    }

    fn multiply_all(&self, reads: &Reads<'_>, packed: &[u8], out: &mut [u8], workers: &mut Workers<'_>) {
        if self.epilogue.is_float() {
            self.multiply(reads, packed, bytemuck::cast_slice_mut::<u8, f32>(out), workers, |out, stride| {
                Output::f32(out, stride)
            });
        } else {
            self.multiply(reads, packed, out, workers, |out, stride| Output::u8(out, stride));
        }
    }
}

/// Bytes from one packed right matrix to the next: whole cache lines.
pub fn packed_stride(kernel: &dyn QMatmul, shape: &MatmulShape) -> usize {
    kernel.packed_len(shape.k, shape.n).next_multiple_of(ALIGN)
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
        packed.multiplying(Arithmetic::Int8, self.batches.products.len() * m * n * k)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        match &self.packed {
            PackedRight::Memory(packed) => {
                let (reads, [packed, out], mut workers) = cx.split([packed, &self.out]);
                let b = reads.bytes(&self.b);
                let (rights, len) = (&self.batches.rights, packed_stride(self.kernel, &self.shape));
                workers.rows(rights.len(), 1, self.shape.k * self.shape.n / 4, packed, len, |packing, packed, _| {
                    for (packed, &at) in packed.chunks_exact_mut(len.max(1)).zip(&rights[packing]) {
                        self.kernel.pack(&self.shape, &b[at..], self.zero_points, packed);
                    }
                });
                self.multiply_all(&reads, packed, out, &mut workers);
            }
            PackedRight::Constant(packed) => {
                let (reads, [out], mut workers) = cx.split([&self.out]);
                self.multiply_all(&reads, packed.as_slice(), out, &mut workers);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Block and column of each product's result, in order.
    fn places(starts: Vec<[usize; 3]>, m: usize, stride: usize) -> Option<Vec<(usize, usize)>> {
        let batches = Batches::new(starts, m, stride)?;
        let each = batches.products.len() / batches.blocks;
        Some(batches.products.iter().enumerate().map(|(i, p)| (i / each, p.column)).collect())
    }

    #[test]
    fn results_side_by_side_share_rows() {
        // Two batches of two heads; rows of 10 elements, 3 in a block.
        let at = |out| [0, 0, out];
        assert_eq!(places([35, 0, 30, 5].map(at).to_vec(), 3, 10), Some(vec![(0, 0), (0, 5), (1, 0), (1, 5)]));
        assert_eq!(places([0, 30, 60].map(at).to_vec(), 3, 10), Some(vec![(0, 0), (1, 0), (2, 0)]));
        assert_eq!(places([0, 10].map(at).to_vec(), 3, 10), None, "rows of one lie among the other's");
        assert_eq!(places([0, 5, 30].map(at).to_vec(), 3, 10), None, "a block is short of one");
    }

    #[test]
    fn right_matrices_are_packed_once() {
        let batches = Batches::new(vec![[0, 7, 0], [4, 3, 8], [8, 7, 16]], 2, 4).expect("below each other");
        assert_eq!(batches.rights, [3, 7]);
        assert_eq!(batches.products.iter().map(|p| p.right).collect::<Vec<_>>(), [1, 0, 1]);
    }
}
