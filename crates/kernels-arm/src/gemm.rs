//! What the integer GEMM kernels of the tiers share: their ends. Sums start from zero; offsets are added at the end.

use std::arch::aarch64::*;

use quantc_kernels_simd::gemm::Panel;

use crate::stage::{Place, Stage, load_f32, load_i32};

/// A panel of `4 * NR` columns or a few less, and what their sums meet.
pub(crate) struct Columns<'a, const NR: usize, S> {
    pub panel: &'a Panel,
    stage: &'a S,
    offsets: [int32x4_t; NR],
    scale: [float32x4_t; NR],
}

impl<'a, const NR: usize, S: Stage> Columns<'a, NR, S> {
    /// # Safety
    /// The machine has the tier, the panel keeps what its fields say, and has at most `4 * NR` columns.
    #[inline(always)]
    pub unsafe fn new(panel: &'a Panel, scale: &[f32], stage: &'a S) -> Self {
        let scale = &scale[panel.channel..][..panel.columns];
        // SAFETY: `columns` offsets are readable; `scale` is as long.
        unsafe {
            Columns {
                panel,
                stage,
                offsets: load_i32(panel.offsets, panel.columns),
                scale: load_f32(scale.as_ptr(), panel.columns),
            }
        }
    }

    /// Finishes and stores a row, given the sums of its products.
    ///
    /// # Safety
    /// The panel has the row.
    #[inline(always)]
    pub unsafe fn finish(&self, row: usize, sums: [int32x4_t; NR]) {
        let panel = self.panel;
        // SAFETY: the row lies within what the panel's fields promise.
        unsafe {
            let term = if panel.row_terms.is_null() { 0 } else { panel.row_terms.add(row).read() };
            let mut real = [vdupq_n_f32(0.0); NR];
            for (j, real) in real.iter_mut().enumerate() {
                let acc = vaddq_s32(vaddq_s32(sums[j], self.offsets[j]), vdupq_n_s32(term));
                *real = vmulq_f32(vcvtq_f32_s32(acc), self.scale[j]);
            }
            let place = Place {
                row: panel.row + row,
                channel: panel.channel,
                count: panel.columns,
                out: panel.out.add(row * panel.out_stride * S::ELEMENT),
            };
            self.stage.store(&place, real);
        }
    }
}
