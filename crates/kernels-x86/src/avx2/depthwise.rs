//! Depthwise convolution on `vpmaddwd`: exact, since u8 and s8 are widened to 16 bits and two products fit 32.
//!
//! A block is 16 channels. Interleaving works within 128-bit lanes: of the two accumulators, number `k` holds in its lane
//! `l` the channels `8 l + 4 k ..`, which is the order that the packing instructions at the end undo.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::depthwise::{Block, Depthwise, GROUP, Strip, Tier, Work};
use quantc_kernels_simd::simd::PackU8;

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qdepthwise = const { &unsafe { Depthwise::<Avx2>::new() } };
}

/// AVX2.
pub(crate) struct Avx2;

/// Bytes of a packed group.
const GROUP_BYTES: usize = 128;

/// One value for each of 16 channels, in the order above.
type Pair = [__m256i; 2];
type Reals = [__m256; 2];
/// A group's taps as 16 bits: the first two side by side for each channel, then the last two.
type Taps = [Pair; 2];

impl Tier for Avx2 {
    const NAME: &'static str = "qdepthwise.avx2";
    const CHANNELS: usize = 16;
    const WEIGHT_BYTES: usize = 2;
    const HAS_PIXELS: bool = false;

    fn place(channel: usize, tap: usize) -> usize {
        let (lane, k, j) = (channel / 8, channel % 8 / 4, channel % 4);
        tap / 2 * 64 + k * 32 + lane * 16 + j * 4 + tap % 2 * 2
    }

    unsafe fn run(block: &Block, work: &Work<'_>, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises are those of `run`, and each stage is built from the epilogue it is for.
        unsafe {
            match *epilogue {
                Epilogue::Requantize { multiplier, zero_point, clamp } => {
                    run(block, work, multiplier, &Requantize { pack: PackU8::new(zero_point, clamp) });
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
                } => {
                    let stage = AddRequantize {
                        residual: residual.as_ptr().wrapping_add(block.channel),
                        residual_stride,
                        residual_scale,
                        residual_zero_point,
                        inverse_scale,
                        pack: PackU8::new(zero_point, clamp),
                    };
                    run(block, work, scale, &stage);
                }
                Epilogue::Dequantize { scale, clamp } => run(block, work, scale, &Dequantize { clamp }),
            }
        }
    }
}

/// # Safety
/// As [`Tier::run`]; `scale` and the stage are the epilogue's.
#[target_feature(enable = "avx2")]
unsafe fn run<S: Stage>(block: &Block, work: &Work<'_>, scale: &[f32], stage: &S) {
    // SAFETY: the caller's promises.
    unsafe {
        let start = Start::new(block, scale);
        match work {
            Work::Columns { strips, stride, width } => {
                for strip in *strips {
                    if *stride == 1 {
                        columns::<1, S>(block, &start, strip, *width, stage);
                    } else {
                        columns::<2, S>(block, &start, strip, *width, stage);
                    }
                }
            }
            Work::Taps { taps, row } => all_taps(block, &start, taps, *row, stage),
        }
    }
}

/// A column of a 3x3 filter's input, or zero points outside the image.
///
/// # Safety
/// As [`Tier::run`].
#[inline(always)]
unsafe fn column(block: &Block, strip: &Strip, width: usize, ix: isize) -> Taps {
    // SAFETY: columns outside the image are not loaded, rows outside it are zero points; a load reads 16 channels from a
    // channel of a pixel on, which the slack of both allows.
    unsafe {
        if (ix as usize) < width {
            let ix = ix as usize;
            let first = load(strip.rows[0].add(ix * strip.steps[0] + block.channel));
            let second = load(strip.rows[1].add(ix * strip.steps[1] + block.channel));
            let third = load(strip.rows[2].add(ix * strip.steps[2] + block.channel));
            interleave([first, second, third, _mm256_setzero_si256()])
        } else {
            interleave([_mm256_set1_epi16(block.zero_point.into()); GROUP])
        }
    }
}

/// A strip of a 3x3 filter: each column of the image is interleaved once.
///
/// # Safety
/// As [`Tier::run`].
#[target_feature(enable = "avx2")]
unsafe fn columns<const STRIDE: isize, S: Stage>(block: &Block, start: &Start, strip: &Strip, width: usize, stage: &S) {
    // SAFETY: the caller's promises; the block has three groups.
    unsafe {
        let mut ix = strip.start;
        let mut first = column(block, strip, width, ix);
        let mut second = column(block, strip, width, ix + 1);
        for i in 0..strip.pixels {
            let third = column(block, strip, width, ix + 2);
            let mut acc = start.offsets;
            multiply_add(&mut acc, &first, block.weights);
            multiply_add(&mut acc, &second, block.weights.add(GROUP_BYTES));
            multiply_add(&mut acc, &third, block.weights.add(2 * GROUP_BYTES));
            stage.store(block, start, strip.row + i, acc);
            ix += STRIDE;
            if STRIDE == 1 {
                (first, second) = (second, third);
            } else if i + 1 < strip.pixels {
                (first, second) = (third, column(block, strip, width, ix + 1));
            }
        }
    }
}

/// Pixels with a table of taps.
///
/// # Safety
/// As [`Tier::run`].
#[target_feature(enable = "avx2")]
unsafe fn all_taps<S: Stage>(block: &Block, start: &Start, taps: &[*const u8], row: usize, stage: &S) {
    // SAFETY: a tap is readable for 16 bytes from any of its channels on, as in `column`.
    unsafe {
        for (i, taps) in taps.chunks_exact(block.groups * GROUP).enumerate() {
            let mut acc = start.offsets;
            let mut weights = block.weights;
            let first = block.channel;
            for &[t0, t1, t2, t3] in taps.as_chunks::<GROUP>().0 {
                let taps = [load(t0.add(first)), load(t1.add(first)), load(t2.add(first)), load(t3.add(first))];
                multiply_add(&mut acc, &interleave(taps), weights);
                weights = weights.add(GROUP_BYTES);
            }
            stage.store(block, start, row + i, acc);
        }
    }
}

/// Sixteen channels as 16 bits.
///
/// # Safety
/// 16 bytes are readable; the machine has the tier.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: as the caller promises.
    unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast())) }
}

/// Brings two taps together for each channel.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn interleave([t0, t1, t2, t3]: [__m256i; GROUP]) -> Taps {
    // SAFETY: as the caller promises.
    unsafe {
        [
            [_mm256_unpacklo_epi16(t0, t1), _mm256_unpackhi_epi16(t0, t1)],
            [_mm256_unpacklo_epi16(t2, t3), _mm256_unpackhi_epi16(t2, t3)],
        ]
    }
}

/// Adds a group's products.
///
/// # Safety
/// The group's weights are readable; the machine has the tier.
#[inline(always)]
unsafe fn multiply_add(acc: &mut Pair, taps: &Taps, weights: *const u8) {
    // SAFETY: as the caller promises.
    unsafe {
        for (pair, taps) in taps.iter().enumerate() {
            for (k, acc) in acc.iter_mut().enumerate() {
                let weights = _mm256_loadu_si256(weights.add(64 * pair + 32 * k).cast());
                *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(taps[k], weights));
            }
        }
    }
}

/// What is set up once for a block.
struct Start {
    offsets: Pair,
    scale: Reals,
}

impl Start {
    /// # Safety
    /// As [`Tier::run`]; `scale` is the epilogue's.
    #[inline(always)]
    unsafe fn new(block: &Block, scale: &[f32]) -> Self {
        let (mut offset, mut factor) = ([0i32; 16], [0f32; 16]);
        // SAFETY: `count` offsets are readable.
        offset[..block.count].copy_from_slice(unsafe { std::slice::from_raw_parts(block.offsets, block.count) });
        factor[..block.count].copy_from_slice(&scale[block.channel..block.channel + block.count]);
        // SAFETY: both arrays have 16 elements; the machine has the tier, as the caller promises.
        unsafe {
            let offset = |at: usize| _mm_loadu_si128(offset.as_ptr().add(at).cast());
            let factor = |at: usize| _mm_loadu_ps(factor.as_ptr().add(at));
            Start {
                offsets: [_mm256_set_m128i(offset(8), offset(0)), _mm256_set_m128i(offset(12), offset(4))],
                scale: [_mm256_set_m128(factor(8), factor(0)), _mm256_set_m128(factor(12), factor(4))],
            }
        }
    }
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
trait Stage {
    /// Finishes and stores one pixel.
    ///
    /// # Safety
    /// As [`Tier::run`], for the pixel `row` of the output.
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, acc: Pair);
}

/// `f32(acc) * scale`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn real(start: &Start, acc: Pair) -> Reals {
    // SAFETY: as the caller promises.
    unsafe {
        [
            _mm256_mul_ps(_mm256_cvtepi32_ps(acc[0]), start.scale[0]),
            _mm256_mul_ps(_mm256_cvtepi32_ps(acc[1]), start.scale[1]),
        ]
    }
}

/// Rounds, clamps and stores the block's bytes of one pixel.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_bytes(block: &Block, row: usize, to: &PackU8, [a, b]: Reals) {
    // SAFETY: the output holds the pixel's `count` channels of the block, and no more than those are stored.
    unsafe {
        let most = _mm256_set1_ps(to.most);
        // As `Simd::pack`, for half as many.
        let a = _mm256_cvtps_epi32(_mm256_min_ps(most, a));
        let b = _mm256_cvtps_epi32(_mm256_min_ps(most, b));
        let words = _mm256_adds_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(to.zero_point));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        let bytes = _mm_max_epu8(bytes, _mm_set1_epi8(to.lo as i8));
        let to = block.out.at(row, block.channel);
        if block.count == 16 {
            _mm_storeu_si128(to.cast(), bytes);
        } else {
            let mut buffer = [0u8; 16];
            _mm_storeu_si128(buffer.as_mut_ptr().cast(), bytes);
            to.copy_from_nonoverlapping(buffer.as_ptr(), block.count);
        }
    }
}

struct Requantize {
    pack: PackU8,
}

impl Stage for Requantize {
    #[inline(always)]
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, acc: Pair) {
        // SAFETY: the caller's promises.
        unsafe { store_bytes(block, row, &self.pack, real(start, acc)) }
    }
}

struct AddRequantize {
    /// The residual's first row at the block's first channel.
    residual: *const u8,
    residual_stride: usize,
    residual_scale: f32,
    residual_zero_point: i32,
    inverse_scale: f32,
    pack: PackU8,
}

impl Stage for AddRequantize {
    #[inline(always)]
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, acc: Pair) {
        // SAFETY: the residual holds the block's channels in each row, and no more than those are read.
        unsafe {
            let residual = self.residual.add(row * self.residual_stride);
            let mut buffer = [0u8; 16];
            let q = if block.count == 16 {
                load(residual)
            } else {
                buffer.as_mut_ptr().copy_from_nonoverlapping(residual, block.count);
                load(buffer.as_ptr())
            };
            let zero = _mm256_setzero_si256();
            let r = [_mm256_unpacklo_epi16(q, zero), _mm256_unpackhi_epi16(q, zero)];
            let mut sum = real(start, acc);
            for (sum, r) in sum.iter_mut().zip(r) {
                let r = _mm256_sub_epi32(r, _mm256_set1_epi32(self.residual_zero_point));
                let addend = _mm256_mul_ps(_mm256_cvtepi32_ps(r), _mm256_set1_ps(self.residual_scale));
                *sum = _mm256_mul_ps(_mm256_add_ps(*sum, addend), _mm256_set1_ps(self.inverse_scale));
            }
            store_bytes(block, row, &self.pack, sum);
        }
    }
}

struct Dequantize {
    clamp: (f32, f32),
}

impl Stage for Dequantize {
    #[inline(always)]
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, acc: Pair) {
        // SAFETY: the output holds the pixel's `count` channels of the block, and no more than those are stored.
        unsafe {
            let mut values = [0f32; 16];
            for (k, real) in real(start, acc).into_iter().enumerate() {
                // `max` and `min` give their second operand where one is NaN, as `f32::max` and `f32::min` do here.
                let v = _mm256_max_ps(real, _mm256_set1_ps(self.clamp.0));
                let v = _mm256_min_ps(v, _mm256_set1_ps(self.clamp.1));
                _mm_storeu_ps(values.as_mut_ptr().add(4 * k), _mm256_castps256_ps128(v));
                _mm_storeu_ps(values.as_mut_ptr().add(8 + 4 * k), _mm256_extractf128_ps::<1>(v));
            }
            let to = block.out.at(row, block.channel).cast::<f32>();
            to.copy_from_nonoverlapping(values.as_ptr(), block.count);
        }
    }
}
