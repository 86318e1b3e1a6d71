//! Integer GEMM on `vpdpbusd`: exact, since the four products of a lane are summed without saturation.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::conv::Conv;
use quantc_kernels_simd::gemm::{Panel, Tier};
use quantc_kernels_simd::matmul::Matmul;
use quantc_kernels_simd::simd::{PackU8, Simd};

use super::simd::Avx512;

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qconv = const { &unsafe { Conv::<Avx512Vnni>::new() } };
    // SAFETY: as above.
    kernels.qmatmul = const { &unsafe { Matmul::<Avx512Vnni>::new() } };
}

/// Unrolls a loop over rows, at most 12, before the optimizer sees it: left to it, a long body stays a loop and puts
/// the accumulators into memory.
macro_rules! for_rows {
    ($i:ident < $n:expr, $body:expr) => {
        for_rows!($i < $n, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    ($i:ident < $n:expr, $body:expr, $($k:literal)*) => {
        $(if $k < $n {
            let $i: usize = $k;
            $body;
        })*
    };
}

/// AVX-512 VNNI.
pub(crate) struct Avx512Vnni;

impl Tier for Avx512Vnni {
    const CONV: &'static str = "qconv.avx512vnni";
    const MATMUL: &'static str = "qmatmul.avx512vnni";
    const DEPTH: usize = 4;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    const ROWS: usize = 12;
    const SIGNED: bool = false;

    fn is_wide(_weights: &[i8]) -> bool {
        false
    }

    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises are those of `multiply`, and each stage is built from the epilogue it is for.
        unsafe {
            match *epilogue {
                Epilogue::Requantize { multiplier, zero_point, clamp } => {
                    let pack = PackU8::new(zero_point, clamp);
                    multiply(panel, &Requantize { multiplier: multiplier.as_ptr(), pack });
                }
                Epilogue::AddRequantize {
                    scale,
                    residual,
                    residual_stride,
                    residual_scale,
                    residual_zero_point,
                    inverse_scale,
                    zero_point,
                    clamp,
                } => multiply(
                    panel,
                    &AddRequantize {
                        scale: scale.as_ptr(),
                        residual: residual.as_ptr(),
                        residual_stride,
                        residual_scale,
                        residual_zero_point,
                        inverse_scale,
                        pack: PackU8::new(zero_point, clamp),
                    },
                ),
                Epilogue::Dequantize { scale, clamp } => multiply(panel, &Dequantize { scale: scale.as_ptr(), clamp }),
            }
        }
    }
}

/// All rows of a panel.
///
/// # Safety
/// As [`Tier::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn multiply<S: Stage>(panel: &Panel, stage: &S) {
    // SAFETY: `columns` is 1 to 64, so one to four vectors.
    unsafe {
        match panel.columns.div_ceil(16) {
            1 => all_rows::<1, S>(panel, stage),
            2 => all_rows::<2, S>(panel, stage),
            3 => all_rows::<3, S>(panel, stage),
            _ => all_rows::<4, S>(panel, stage),
        }
    }
}

/// # Safety
/// As [`Tier::multiply`]; `NR` vectors hold the panel's columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all_rows<const NR: usize, S: Stage>(panel: &Panel, stage: &S) {
    let mut row = 0;
    while row < panel.rows {
        // SAFETY: each arm computes no more rows than are left.
        row += unsafe {
            match panel.rows - row {
                // Enough accumulators to hide the latency of their sums, few enough for the registers.
                12.. if NR <= 2 => tile::<12, NR, 1, S>(panel, stage, row),
                6.. => tile::<6, NR, 1, S>(panel, stage, row),
                4.. => tile::<4, NR, 1, S>(panel, stage, row),
                2.. => tile::<2, NR, 2, S>(panel, stage, row),
                _ => tile::<1, NR, 4, S>(panel, stage, row),
            }
        };
    }
}

/// Computes the rows `row..row + MR` and returns their number. `UNROLL` sets of accumulators share the work along K: with
/// few rows one set would wait for the latency of its own sums.
///
/// # Safety
/// As [`all_rows`], and the panel has the rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn tile<const MR: usize, const NR: usize, const UNROLL: usize, S: Stage>(
    panel: &Panel,
    stage: &S,
    row: usize,
) -> usize {
    let columns = Columns::<NR>::new(panel.columns);
    // SAFETY: every address lies within what the fields of `panel` promise: left rows of `DEPTH * steps` bytes,
    // `steps` steps of `NR` vectors on the right, masked or whole vectors of `columns` elements elsewhere.
    unsafe {
        let mut acc = [[[_mm512_setzero_si512(); NR]; MR]; UNROLL];
        let mut offsets = [_mm512_setzero_si512(); NR];
        for (j, offsets) in offsets.iter_mut().enumerate() {
            *offsets = _mm512_maskz_loadu_epi32(columns.mask[j], panel.offsets.wrapping_add(16 * j));
        }
        for_rows!(i < MR, acc[0][i] = offsets);
        let stride = panel.a_stride;
        let mut a = panel.a.add(row * stride);
        let mut b = panel.b.cast::<i32>();
        for _ in 0..panel.steps / UNROLL {
            for_rows!(u < UNROLL, step(&mut acc[u], a.add(4 * u), stride, b.add(16 * NR * u)));
            a = a.add(4 * UNROLL);
            b = b.add(16 * NR * UNROLL);
        }
        for _ in 0..panel.steps % UNROLL {
            step(&mut acc[0], a, stride, b);
            a = a.add(4);
            b = b.add(16 * NR);
        }
        for_rows!(u < UNROLL - 1, for_rows!(i < MR, acc[0][i] = add(acc[0][i], acc[u + 1][i])));
        let mut acc = acc[0];
        if !panel.row_terms.is_null() {
            let terms = panel.row_terms.add(row);
            for_rows!(i < MR, acc[i] = add(acc[i], [_mm512_set1_epi32(terms.add(i).read()); NR]));
        }
        let scale = columns.load(stage.scale().add(panel.channel));
        for_rows!(i < MR, stage.store(panel, &columns, row + i, multiply_real(acc[i], scale)));
    }
    MR
}

/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn add<const NR: usize>(a: [__m512i; NR], b: [__m512i; NR]) -> [__m512i; NR] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|j| unsafe { _mm512_add_epi32(a[j], b[j]) })
}

/// `f32(acc) * scale`.
///
/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn multiply_real<const NR: usize>(acc: [__m512i; NR], scale: [__m512; NR]) -> [__m512; NR] {
    // SAFETY: as the caller promises.
    std::array::from_fn(|j| unsafe { _mm512_mul_ps(_mm512_cvtepi32_ps(acc[j]), scale[j]) })
}

/// `acc += a * b` for four successive k.
///
/// # Safety
/// Four bytes are readable in each of `MR` rows of `a`, `NR` vectors at `b`.
#[inline(always)]
unsafe fn step<const MR: usize, const NR: usize>(
    acc: &mut [[__m512i; NR]; MR],
    a: *const u8,
    a_stride: usize,
    b: *const i32,
) {
    // SAFETY: as the caller promises; inlined into functions that have the features.
    unsafe {
        let mut weights = [_mm512_setzero_si512(); NR];
        for (j, weights) in weights.iter_mut().enumerate() {
            *weights = _mm512_loadu_si512(b.add(16 * j).cast());
        }
        for_rows!(i < MR, {
            let quad = _mm512_set1_epi32(a.add(i * a_stride).cast::<i32>().read_unaligned());
            for j in 0..NR {
                acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], quad, weights[j]);
            }
        });
    }
}

/// Which lanes of a panel's vectors are columns.
struct Columns<const NR: usize> {
    mask: [__mmask16; NR],
    count: usize,
}

impl<const NR: usize> Columns<NR> {
    #[inline(always)]
    fn new(count: usize) -> Self {
        let mut mask = [0; NR];
        for (j, mask) in mask.iter_mut().enumerate() {
            *mask = (0xffffu32 >> (16 - count.saturating_sub(16 * j).min(16))) as u16;
        }
        Columns { mask, count }
    }

    /// # Safety
    /// `count` elements are readable, and the machine has AVX-512 F.
    #[inline(always)]
    unsafe fn load(&self, from: *const f32) -> [__m512; NR] {
        // SAFETY: as the caller promises; masked lanes are not read.
        unsafe {
            let mut values = [_mm512_setzero_ps(); NR];
            for (j, value) in values.iter_mut().enumerate() {
                *value = _mm512_maskz_loadu_ps(self.mask[j], from.wrapping_add(16 * j));
            }
            values
        }
    }
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
trait Stage {
    /// The factor of each channel's accumulator.
    fn scale(&self) -> *const f32;

    /// Finishes and stores one row, given `f32(acc) * scale`.
    ///
    /// # Safety
    /// As [`tile`], for the row `row` of the panel.
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]);
}

/// Rounds, clamps and stores one row.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_u8<const NR: usize>(
    pack: &PackU8,
    panel: &Panel,
    columns: &Columns<NR>,
    row: usize,
    real: [__m512; NR],
) {
    // What lies past the last vector is not stored; two vectors are repeated, which costs nothing.
    let vector = |k: usize| real[if NR == 2 { k % 2 } else { k.min(NR - 1) }];
    // SAFETY: the row's columns are stored, whole vectors where it has that many and masked otherwise.
    unsafe {
        let bytes = Avx512::in_order(Avx512::pack(pack, [vector(0), vector(1), vector(2), vector(3)]));
        let to = panel.out.add(row * panel.out_stride);
        match columns.count {
            64 => _mm512_storeu_si512(to.cast(), bytes),
            32 => _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes)),
            16 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
            count => _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - count), bytes),
        }
    }
}

struct Requantize {
    multiplier: *const f32,
    pack: PackU8,
}

impl Stage for Requantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.multiplier
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]) {
        // SAFETY: the caller's promises.
        unsafe { store_u8(&self.pack, panel, columns, row, real) }
    }
}

struct AddRequantize {
    scale: *const f32,
    residual: *const u8,
    residual_stride: usize,
    residual_scale: f32,
    residual_zero_point: i32,
    inverse_scale: f32,
    pack: PackU8,
}

impl Stage for AddRequantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.scale
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, mut real: [__m512; NR]) {
        // SAFETY: the residual holds the panel's columns in each row; masked lanes are not read.
        unsafe {
            let residual = self.residual.add((panel.row + row) * self.residual_stride + panel.channel);
            for (j, real) in real.iter_mut().enumerate() {
                let from = residual.wrapping_add(16 * j);
                let q = if columns.mask[j] == 0xffff {
                    _mm_loadu_si128(from.cast())
                } else {
                    _mm_maskz_loadu_epi8(columns.mask[j], from.cast())
                };
                let r = _mm512_sub_epi32(_mm512_cvtepu8_epi32(q), _mm512_set1_epi32(self.residual_zero_point));
                let addend = _mm512_mul_ps(_mm512_cvtepi32_ps(r), _mm512_set1_ps(self.residual_scale));
                *real = _mm512_mul_ps(_mm512_add_ps(*real, addend), _mm512_set1_ps(self.inverse_scale));
            }
            store_u8(&self.pack, panel, columns, row, real);
        }
    }
}

struct Dequantize {
    scale: *const f32,
    clamp: (f32, f32),
}

impl Stage for Dequantize {
    #[inline(always)]
    fn scale(&self) -> *const f32 {
        self.scale
    }

    #[inline(always)]
    unsafe fn store<const NR: usize>(&self, panel: &Panel, columns: &Columns<NR>, row: usize, real: [__m512; NR]) {
        // SAFETY: the output holds the panel's columns in each row; masked lanes are not written.
        unsafe {
            let to = panel.out.cast::<f32>().add(row * panel.out_stride);
            for (j, real) in real.iter().enumerate() {
                // `max` and `min` give their second operand where one is NaN, as `f32::max` and `f32::min` do here.
                let v = _mm512_max_ps(*real, _mm512_set1_ps(self.clamp.0));
                let v = _mm512_min_ps(v, _mm512_set1_ps(self.clamp.1));
                _mm512_mask_storeu_ps(to.wrapping_add(16 * j), columns.mask[j], v);
            }
        }
    }
}
