//! Integer GEMM on tiles: two by two tiles of sums, whose finishing stage runs between the multiplications of the next ones, so that
//! the tile unit and the vector units work at the same time.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;

use super::tiles::{self, Operands};
use crate::avx512vnni::stage::{Columns, Multiply, Stage, dispatch, multiply_real};

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<Amx>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Amx>::new() } };
}

/// AMX-INT8.
struct Amx;

impl Tier for Amx {
    const CONV: &'static str = "qconv.amx";
    const MATMUL: &'static str = "qmatmul.amx";
    const DEPTH: usize = 4;
    const LANES: usize = tiles::COLUMNS;
    const VECTORS: usize = 2;
    const ROWS: usize = 2 * tiles::ROWS;
    const SIGNED: bool = false;
    /// Multiplications of equal depth: the tiles are configured once.
    const LOT: usize = tiles::ROWS;

    fn is_wide(_weights: &[i8]) -> bool {
        false
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { dispatch::<Self>(panel, epilogue) }
    }
}

impl Multiply for Amx {
    unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
        if panel.rows == 0 {
            return;
        }
        // SAFETY: the caller's promises; `columns` is 1 to 32, so one or two tiles.
        unsafe {
            if panel.columns > tiles::COLUMNS { all_rows::<2, S>(panel, stage) } else { all_rows::<1, S>(panel, stage) }
        }
    }
}

/// Sums of two tiles of rows.
const SUMS: usize = 2 * tiles::ROWS * 2 * tiles::COLUMNS;

/// Two times the sums of two tiles of rows: those that wait to be finished, and those that come next.
#[repr(C, align(64))]
struct Sums([i32; 2 * SUMS]);

/// Rows of the panel whose sums wait to be finished: their sums are successive rows.
#[derive(Clone, Copy, Default)]
struct Waiting {
    /// The first rows of both tiles.
    first: [usize; 2],
    /// Rows of a tile.
    tile: usize,
    /// Rows in all, of which `done` are finished.
    count: usize,
    done: usize,
    /// Where the sums begin in [`Sums`].
    sums: usize,
}

/// All rows of a panel of `NR` tiles of columns.
///
/// # Safety
/// As [`Multiply::multiply`], and there are rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, stage: &S) {
    // Tiles of equal height, the last one moved up to end with the last row: a row may be computed twice, with the same result.
    let tiles_of_rows = panel.rows.div_ceil(tiles::ROWS);
    let height = panel.rows.div_ceil(tiles_of_rows);
    let first = |tile: usize| (tile * height).min(panel.rows - height);
    let multiplications = panel.steps.div_ceil(tiles::ROWS);
    let quads = panel.steps.checked_div(multiplications).unwrap_or(1);
    let mut sums = Sums([0; 2 * SUMS]);
    let sums = sums.0.as_mut_ptr();
    let mut waiting = Waiting::default();
    // SAFETY: the caller vouches for the machine. Left rows are `4 * steps` bytes, which is `multiplications` times `quads` groups of
    // four; the right panel has as many groups of `NR * 16` columns; every tile lies within the panel's rows.
    unsafe {
        let finish = Finish::<NR, S>::new(panel, stage);
        tiles::configure(height, quads);
        for tile in (0..tiles_of_rows).step_by(2) {
            let pair = tile + 1 < tiles_of_rows;
            let rows = [first(tile), first(if pair { tile + 1 } else { tile })];
            let mut at = Operands {
                a: rows.map(|row| panel.a.add(row * panel.a_stride)),
                a_stride: panel.a_stride,
                b: panel.b,
                b_stride: NR * tiles::COLUMNS * 4,
            };
            let share = waiting.count.div_ceil(multiplications.max(1));
            tiles::zero();
            for _ in 0..multiplications {
                if pair {
                    tiles::multiply::<2, NR>(at)
                } else {
                    tiles::multiply::<1, NR>(at)
                }
                at.a = at.a.map(|a| a.wrapping_add(4 * quads));
                at.b = at.b.wrapping_add(quads * at.b_stride);
                finish.rows(&mut waiting, sums, share);
            }
            finish.rows(&mut waiting, sums, usize::MAX);
            let count = if pair { 2 * height } else { height };
            waiting = Waiting { first: rows, tile: height, count, done: 0, sums: SUMS - waiting.sums };
            let to = sums.add(waiting.sums);
            if pair { tiles::store::<2, NR>(to, height) } else { tiles::store::<1, NR>(to, height) }
        }
        tiles::release();
        finish.rows(&mut waiting, sums, usize::MAX);
    }
}

/// The stage after the sums, with what all rows share.
struct Finish<'p, const NR: usize, S> {
    panel: &'p Panel,
    stage: &'p S,
    columns: Columns<NR>,
    offsets: [__m512i; NR],
    scale: [__m512; NR],
}

impl<'p, const NR: usize, S: Stage> Finish<'p, NR, S> {
    /// # Safety
    /// As [`Multiply::multiply`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn new(panel: &'p Panel, stage: &'p S) -> Self {
        let columns = Columns::<NR>::new(panel.columns);
        let mut offsets = [_mm512_setzero_si512(); NR];
        // SAFETY: the panel's columns are readable in the offsets and the scale; masked lanes are not read.
        unsafe {
            for (j, offsets) in offsets.iter_mut().enumerate() {
                *offsets = _mm512_maskz_loadu_epi32(columns.mask[j], panel.offsets.wrapping_add(16 * j));
            }
            let scale = columns.load(stage.scale().add(panel.channel));
            Finish { panel, stage, columns, offsets, scale }
        }
    }

    /// Finishes up to `count` of the waiting rows.
    ///
    /// # Safety
    /// As [`Multiply::multiply`]; the waiting rows' sums lie where [`Waiting`] says.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn rows(&self, waiting: &mut Waiting, sums: *const i32, count: usize) {
        for _ in 0..count.min(waiting.count - waiting.done) {
            let index = waiting.done;
            let row = waiting.first[index / waiting.tile] + index % waiting.tile;
            // SAFETY: the row is one of the panel's, and its sums lie in row `index`.
            unsafe {
                let sums = sums.add(waiting.sums + index * 2 * tiles::COLUMNS);
                let term = if self.panel.row_terms.is_null() { 0 } else { self.panel.row_terms.add(row).read() };
                let mut acc = self.offsets;
                for (j, acc) in acc.iter_mut().enumerate() {
                    let sums = _mm512_load_si512(sums.add(tiles::COLUMNS * j).cast());
                    *acc = _mm512_add_epi32(_mm512_add_epi32(*acc, sums), _mm512_set1_epi32(term));
                }
                self.stage.store(self.panel, &self.columns, row, multiply_real(acc, self.scale));
            }
            waiting.done += 1;
        }
    }
}
