//! The matrix multiplication, on the panels and inner kernels of the convolution.

use std::marker::PhantomData;
use std::ops::Range;

use quantc_kernels::{Epilogue, MatmulShape, Output, QMatmul, RightLayout, ZeroPoints};

use crate::gemm::{MAX_COLUMNS, Panel, PanelLayout, RawOutput, Tier};

/// Rows multiplied with a panel before the next: their sums are kept meanwhile.
const BLOCK_ROWS: usize = 96;
/// What packs as zeros.
static NO_ROW: [u8; MAX_COLUMNS] = [0x80; MAX_COLUMNS];

/// The matrix multiplication of one tier. The packed matrix is the i32 offset of each column, then the panels of `b - 128`.
pub struct Matmul<T>(PhantomData<T>);

impl<T> Matmul<T> {
    /// # Safety
    /// The kernel runs only on machines that have the tier.
    pub const unsafe fn new() -> Self {
        Matmul(PhantomData)
    }
}

/// [`pack_rows`] or [`pack_columns`].
type Pack = fn(&[u8], usize, usize, usize, &mut [u8], &mut [i32]);

/// Bytes of the offsets, whole cache lines.
fn offsets_len(n: usize) -> usize {
    let len = n.checked_mul(size_of::<i32>()).and_then(|len| len.checked_next_multiple_of(64));
    len.expect("packed length overflows usize")
}

impl<T: Tier> QMatmul for Matmul<T> {
    fn name(&self) -> &'static str {
        T::MATMUL
    }

    fn packed_len(&self, k: usize, n: usize) -> usize {
        let panels = PanelLayout::new::<T>(k, n).bytes();
        offsets_len(n).checked_add(panels).expect("packed length overflows usize")
    }

    fn pack(&self, shape: &MatmulShape, b: &[u8], zero_points: ZeroPoints, packed: &mut [u8]) {
        let MatmulShape { k, n, .. } = *shape;
        shape.check_pack(b, packed.len(), self.packed_len(k, n));
        let layout = PanelLayout::new::<T>(k, n);
        let (offsets, panels) = packed.split_at_mut(offsets_len(n));
        let zero = (k as i32).wrapping_mul(zero_points.b.into());
        let all_128 = (k as i32).wrapping_mul(128);
        let scale = -i32::from(zero_points.a);
        let (rows, columns): (Pack, Pack) = match T::DEPTH {
            4 => (pack_rows::<4>, pack_columns::<4>),
            8 => (pack_rows::<8>, pack_columns::<8>),
            _ => (pack_rows::<16>, pack_columns::<16>),
        };
        for panel in 0..layout.panels() {
            let (first, count) = (layout.first(panel), layout.count(panel));
            let step = layout.padded(panel) * T::DEPTH;
            let panel = &mut panels[layout.offset(panel)..][..layout.steps * step];
            let mut sums = [0i32; MAX_COLUMNS];
            let sums = &mut sums[..count];
            panel.fill(0);
            match shape.b {
                // Without rows there are no columns to begin with.
                RightLayout::RowMajor { stride } => rows(b.get(first..).unwrap_or(&[]), stride, k, step, panel, sums),
                RightLayout::Transposed { stride } => columns(&b[first * stride..], stride, k, step, panel, sums),
            }
            for (offset, sum) in offsets[4 * first..].as_chunks_mut().0.iter_mut().zip(sums) {
                let mut value = sum.wrapping_sub(zero).wrapping_mul(scale);
                if T::SIGNED {
                    value = value.wrapping_add(sum.wrapping_sub(all_128).wrapping_mul(128));
                }
                *offset = value.to_ne_bytes();
            }
        }
    }

    fn run(
        &self,
        shape: &MatmulShape,
        a: &[u8],
        packed: &[u8],
        zero_points: ZeroPoints,
        rows: Range<usize>,
        epilogue: &Epilogue<'_>,
        mut out: Output<'_>,
    ) {
        let MatmulShape { k, n, a_stride, .. } = *shape;
        shape.check_run(a, &rows, packed.len(), self.packed_len(k, n));
        out.check(rows.len(), n, epilogue);
        let layout = PanelLayout::new::<T>(k, n);
        let (offsets, panels) = packed.split_at(offsets_len(n));
        let out = RawOutput::new(&mut out);
        let mut start = rows.start;
        while start < rows.end {
            let block = start..rows.end.min(start + BLOCK_ROWS);
            let mut row_terms = [0i32; BLOCK_ROWS];
            for (term, row) in row_terms.iter_mut().zip(block.clone()) {
                let sum = a[row * a_stride..][..k].iter().fold(0u32, |sum, &q| sum.wrapping_add(q.into()));
                *term = (sum as i32).wrapping_mul(128 - i32::from(zero_points.b));
            }
            for panel in 0..layout.panels() {
                let first = layout.first(panel);
                let panel = Panel {
                    a: a[block.start * a_stride..].as_ptr(),
                    a_stride,
                    rows: block.len(),
                    steps: layout.steps,
                    b: panels[layout.offset(panel)..].as_ptr(),
                    columns: layout.count(panel),
                    wide: true,
                    offsets: offsets[4 * first..].as_ptr().cast(),
                    row_terms: row_terms.as_ptr(),
                    channel: first,
                    row: block.start - rows.start,
                    // SAFETY: `Output::check` found the output to hold all rows and columns of this call.
                    out: unsafe { out.at(block.start - rows.start, first) },
                    out_stride: out.stride(),
                };
                // SAFETY: this type is only registered on machines that have the tier. A left row is `k` bytes and
                // less than 64 of the slack (`Tier::LOT`); the packed length, output and the epilogue's slices were checked above.
                unsafe { T::multiply(&panel, epilogue) };
            }
            start = block.end;
        }
    }
}

/// Packs a column each for the sums, of a `[k][n]` matrix, into a panel of `step` bytes per `DEPTH` k, and sums them.
fn pack_rows<const DEPTH: usize>(b: &[u8], stride: usize, k: usize, step: usize, panel: &mut [u8], sums: &mut [i32]) {
    for (index, panel) in panel.chunks_exact_mut(step).enumerate() {
        let panel = panel.as_chunks_mut::<DEPTH>().0;
        for quad in (0..DEPTH).step_by(4) {
            let first = index * DEPTH + quad;
            // Past the last row the zero of the packed form, which is 128.
            let row = |i: usize| if first + i < k { &b[(first + i) * stride..][..sums.len()] } else { &NO_ROW };
            let (rows, beyond) = ([row(0), row(1), row(2), row(3)], (first + 4).saturating_sub(k).min(4));
            let columns = rows[0].iter().zip(rows[1]).zip(rows[2].iter().zip(rows[3]));
            for ((to, sum), ((&q0, &q1), (&q2, &q3))) in panel.iter_mut().zip(&mut *sums).zip(columns) {
                to[quad..quad + 4].copy_from_slice(&[q0 ^ 0x80, q1 ^ 0x80, q2 ^ 0x80, q3 ^ 0x80]);
                let four = i32::from(q0) + i32::from(q1) + i32::from(q2) + i32::from(q3);
                *sum = sum.wrapping_add(four - 128 * beyond as i32);
            }
        }
    }
}

/// As [`pack_rows`], of a matrix given as `[n][k]`.
fn pack_columns<const DEPTH: usize>(
    b: &[u8],
    stride: usize,
    k: usize,
    step: usize,
    panel: &mut [u8],
    sums: &mut [i32],
) {
    for (column, sum) in sums.iter_mut().enumerate() {
        let b = &b[column * stride..][..k];
        *sum = b.iter().fold(0u32, |sum, &q| sum.wrapping_add(q.into())) as i32;
        let (whole, rest) = b.as_chunks::<DEPTH>();
        let mut panel = panel.chunks_exact_mut(step);
        for (from, to) in whole.iter().zip(&mut panel) {
            to[DEPTH * column..][..DEPTH].copy_from_slice(&from.map(|q| q ^ 0x80));
        }
        if let Some(to) = panel.next() {
            rest.iter().zip(&mut to[DEPTH * column..]).for_each(|(&q, to)| *to = q ^ 0x80);
        }
    }
}
