//! Depthwise convolution on `vpdpbusd`: exact, since the four products of a lane are summed without saturation.
//!
//! A block is 64 channels. Interleaving works within 128-bit lanes: of the four accumulators, number `k` holds in its lane
//! `l` the channels `16 l + 4 k ..`, which is the order that the packing instructions at the end undo.

use std::arch::x86_64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::depthwise::{Block, Depthwise, GROUP, Strip, Tier, Work};
use quantc_kernels_simd::simd::{PackU8, Simd};

use super::simd::Avx512;

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qdepthwise = const { &unsafe { Depthwise::<Avx512Vnni>::new() } };
}

/// AVX-512 VNNI.
pub(crate) struct Avx512Vnni;

/// One value for each of 64 channels, in the order above.
type Quads = [__m512i; 4];
type Reals = [__m512; 4];

impl Tier for Avx512Vnni {
    const NAME: &'static str = "qdepthwise.avx512vnni";
    const CHANNELS: usize = 64;
    const WEIGHT_BYTES: usize = 1;
    const HAS_PIXELS: bool = true;

    fn place(channel: usize, tap: usize) -> usize {
        let (lane, k, j) = (channel / 16, channel % 16 / 4, channel % 4);
        k * 64 + lane * 16 + j * 4 + tap
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn run<S: Stage>(block: &Block, work: &Work<'_>, scale: &[f32], stage: &S) {
    // SAFETY: the caller's promises.
    unsafe {
        let start = Start::new(block, scale);
        match work {
            Work::Columns { strips, stride, width } => {
                for strip in *strips {
                    if block.pixels > 1 {
                        pixels(block, &start, strip, *width, stage);
                    } else if *stride == 1 {
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

/// A strip of a 3x3 filter: each column of the image is interleaved once.
///
/// # Safety
/// As [`Tier::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn columns<const STRIDE: isize, S: Stage>(block: &Block, start: &Start, strip: &Strip, width: usize, stage: &S) {
    // SAFETY: columns outside the image are not loaded, rows outside it are zero points; a load reads 64 channels from a
    // channel of a pixel on, which the slack of both allows.
    unsafe {
        let outside = interleave([_mm512_set1_epi8(block.zero_point as i8); GROUP]);
        let column = |ix: isize| {
            if (ix as usize) < width {
                let load = |ky: usize| load(strip.rows[ky].add(ix as usize * strip.steps[ky] + block.channel));
                interleave([load(0), load(1), load(2), _mm512_setzero_si512()])
            } else {
                outside
            }
        };
        let mut ix = strip.start;
        let mut first = column(ix);
        let mut second = column(ix + 1);
        for i in 0..strip.pixels {
            let third = column(ix + 2);
            let mut acc = start.offsets;
            multiply_add(&mut acc, &first, block.weights);
            multiply_add(&mut acc, &second, block.weights.add(256));
            multiply_add(&mut acc, &third, block.weights.add(512));
            stage.store(block, start, strip.row + i, start.mask, acc);
            ix += STRIDE;
            if STRIDE == 1 {
                (first, second) = (second, third);
            } else if i + 1 < strip.pixels {
                (first, second) = (third, column(ix + 1));
            }
        }
    }
}

/// A strip of a 3x3 filter of stride 1 over few channels, several pixels at a time.
///
/// # Safety
/// As [`Tier::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn pixels<S: Stage>(block: &Block, start: &Start, strip: &Strip, width: usize, stage: &S) {
    let step = block.pixels as isize;
    // SAFETY: the caller's promises.
    unsafe {
        let mut ix = strip.start;
        let mut first = column_of_pixels(block, strip, width, ix);
        for i in (0..strip.pixels).step_by(block.pixels) {
            let second = column_of_pixels(block, strip, width, ix + 1);
            let third = column_of_pixels(block, strip, width, ix + 2);
            let mut acc = start.offsets;
            multiply_add(&mut acc, &first, block.weights);
            multiply_add(&mut acc, &second, block.weights.add(256));
            multiply_add(&mut acc, &third, block.weights.add(512));
            let bytes = block.pixels.min(strip.pixels - i) * block.count;
            stage.store(block, start, strip.row + i, u64::MAX >> (64 - bytes), acc);
            ix += step;
            first = if step == 2 { third } else { column_of_pixels(block, strip, width, ix) };
        }
    }
}

/// The interleaved columns of the pixels from `ix` on; those outside the image are zero points.
///
/// # Safety
/// As [`Tier::run`].
#[inline(always)]
unsafe fn column_of_pixels(block: &Block, strip: &Strip, width: usize, ix: isize) -> Quads {
    let (pixels, width) = (block.pixels as isize, width as isize);
    let outside = |pixels: isize| pixels.clamp(0, block.pixels as isize) as u32 * block.count as u32;
    let (left, right) = (outside(-ix), outside(ix + pixels - width));
    let all = u64::MAX >> (64 - block.pixels * block.count);
    let mask = all & u64::MAX.checked_shl(left).unwrap_or(0) & all.checked_shr(right).unwrap_or(0);
    // SAFETY: whole vectors are loaded only from within the image, whose slack is a vector, or from zero points; masked
    // lanes are not read.
    unsafe {
        let from = |ky: usize| strip.rows[ky].wrapping_offset(ix * strip.steps[ky] as isize);
        if mask == all {
            return interleave([load(from(0)), load(from(1)), load(from(2)), _mm512_setzero_si512()]);
        }
        let zero_point = _mm512_set1_epi8(block.zero_point as i8);
        let first = _mm512_mask_loadu_epi8(zero_point, mask, from(0).cast());
        let second = _mm512_mask_loadu_epi8(zero_point, mask, from(1).cast());
        let third = _mm512_mask_loadu_epi8(zero_point, mask, from(2).cast());
        interleave([first, second, third, _mm512_setzero_si512()])
    }
}

/// Pixels with a table of taps.
///
/// # Safety
/// As [`Tier::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn all_taps<S: Stage>(block: &Block, start: &Start, taps: &[*const u8], row: usize, stage: &S) {
    // SAFETY: a tap is readable for 64 bytes from any of its channels on, as in `columns`.
    unsafe {
        for (i, taps) in taps.chunks_exact(block.groups * GROUP).enumerate() {
            let mut acc = start.offsets;
            let mut weights = block.weights;
            for &[t0, t1, t2, t3] in taps.as_chunks::<GROUP>().0 {
                let first = block.channel;
                let quads =
                    interleave([load(t0.add(first)), load(t1.add(first)), load(t2.add(first)), load(t3.add(first))]);
                multiply_add(&mut acc, &quads, weights);
                weights = weights.add(256);
            }
            stage.store(block, start, row + i, start.mask, acc);
        }
    }
}

/// # Safety
/// 64 bytes are readable; the machine has the tier.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m512i {
    // SAFETY: as the caller promises.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// Brings the bytes of four taps together for each channel.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn interleave([t0, t1, t2, t3]: [__m512i; GROUP]) -> Quads {
    // SAFETY: as the caller promises.
    unsafe {
        let (lo01, hi01) = (_mm512_unpacklo_epi8(t0, t1), _mm512_unpackhi_epi8(t0, t1));
        let (lo23, hi23) = (_mm512_unpacklo_epi8(t2, t3), _mm512_unpackhi_epi8(t2, t3));
        [
            _mm512_unpacklo_epi16(lo01, lo23),
            _mm512_unpackhi_epi16(lo01, lo23),
            _mm512_unpacklo_epi16(hi01, hi23),
            _mm512_unpackhi_epi16(hi01, hi23),
        ]
    }
}

/// Adds a group's products.
///
/// # Safety
/// The group's 256 bytes of weights are readable; the machine has the tier.
#[inline(always)]
unsafe fn multiply_add(acc: &mut Quads, quads: &Quads, weights: *const u8) {
    // SAFETY: as the caller promises.
    unsafe {
        for (k, acc) in acc.iter_mut().enumerate() {
            *acc = _mm512_dpbusd_epi32(*acc, quads[k], load(weights.add(64 * k)));
        }
    }
}

/// What is set up once for a block.
struct Start {
    offsets: Quads,
    scale: Reals,
    /// The elements of one pixel.
    mask: u64,
}

impl Start {
    /// # Safety
    /// As [`Tier::run`]; `scale` is the epilogue's.
    #[inline(always)]
    unsafe fn new(block: &Block, scale: &[f32]) -> Self {
        let (mut offset, mut factor) = ([0i32; 64], [0f32; 64]);
        // SAFETY: `count` offsets are readable.
        offset[..block.count].copy_from_slice(unsafe { std::slice::from_raw_parts(block.offsets, block.count) });
        factor[..block.count].copy_from_slice(&scale[block.channel..block.channel + block.count]);
        for i in block.count..block.count * block.pixels {
            offset[i] = offset[i - block.count];
            factor[i] = factor[i - block.count];
        }
        // SAFETY: both arrays have 64 elements; the machine has the tier, as the caller promises.
        unsafe {
            // Four channels from each 128-bit lane's sixteen.
            let pick = |from: *const __m128i| {
                let v = _mm512_castsi128_si512(_mm_loadu_si128(from));
                let v = _mm512_inserti32x4::<1>(v, _mm_loadu_si128(from.add(4)));
                let v = _mm512_inserti32x4::<2>(v, _mm_loadu_si128(from.add(8)));
                _mm512_inserti32x4::<3>(v, _mm_loadu_si128(from.add(12)))
            };
            let offset = |k: usize| pick(offset.as_ptr().cast::<__m128i>().add(k));
            let factor = |k: usize| _mm512_castsi512_ps(pick(factor.as_ptr().cast::<__m128i>().add(k)));
            let offsets = [offset(0), offset(1), offset(2), offset(3)];
            let scale = [factor(0), factor(1), factor(2), factor(3)];
            Start { offsets, scale, mask: u64::MAX >> (64 - block.count) }
        }
    }
}

/// The vector form of one kind of [`Epilogue`], which says what it computes.
trait Stage {
    /// Finishes and stores the bytes (for f32: the elements) in `mask` of one block.
    ///
    /// # Safety
    /// As [`Tier::run`], for the pixels from `row` on of the output.
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, mask: u64, acc: Quads);
}

/// `f32(acc) * scale`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn real(start: &Start, acc: Quads) -> Reals {
    // SAFETY: as the caller promises.
    unsafe {
        let real = |k: usize| _mm512_mul_ps(_mm512_cvtepi32_ps(acc[k]), start.scale[k]);
        [real(0), real(1), real(2), real(3)]
    }
}

/// Stores the bytes in `mask`.
///
/// # Safety
/// As [`Stage::store`].
#[inline(always)]
unsafe fn store_bytes(block: &Block, row: usize, mask: u64, bytes: __m512i) {
    // SAFETY: the output holds the pixels' channels that `mask` stands for, and no more than those are stored.
    unsafe {
        let to = block.out.at(row, block.channel);
        if mask == u64::MAX {
            _mm512_storeu_si512(to.cast(), bytes);
        } else {
            _mm512_mask_storeu_epi8(to.cast(), mask, bytes);
        }
    }
}

struct Requantize {
    pack: PackU8,
}

impl Stage for Requantize {
    #[inline(always)]
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, mask: u64, acc: Quads) {
        // SAFETY: the caller's promises.
        unsafe { store_bytes(block, row, mask, Avx512::pack(&self.pack, real(start, acc))) }
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
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, mask: u64, acc: Quads) {
        // SAFETY: the residual holds the block's channels in each row; masked lanes are not read.
        unsafe {
            let residual = self.residual.add(row * self.residual_stride);
            let q = _mm512_maskz_loadu_epi8(mask, residual.cast());
            let zero = _mm512_setzero_si512();
            let r = interleave([q, zero, zero, zero]);
            let real = real(start, acc);
            let sum = |k: usize| {
                let r = _mm512_sub_epi32(r[k], _mm512_set1_epi32(self.residual_zero_point));
                let addend = _mm512_mul_ps(_mm512_cvtepi32_ps(r), _mm512_set1_ps(self.residual_scale));
                _mm512_mul_ps(_mm512_add_ps(real[k], addend), _mm512_set1_ps(self.inverse_scale))
            };
            store_bytes(block, row, mask, Avx512::pack(&self.pack, [sum(0), sum(1), sum(2), sum(3)]));
        }
    }
}

struct Dequantize {
    clamp: (f32, f32),
}

impl Stage for Dequantize {
    #[inline(always)]
    unsafe fn store(&self, block: &Block, start: &Start, row: usize, mask: u64, acc: Quads) {
        // SAFETY: the output holds the pixel's `count` channels of the block; masked lanes are not written.
        unsafe {
            let to = block.out.at(row, block.channel).cast::<f32>();
            let real = real(start, acc);
            for (k, real) in real.into_iter().enumerate() {
                // `max` and `min` give their second operand where one is NaN, as `f32::max` and `f32::min` do here.
                let v = _mm512_max_ps(real, _mm512_set1_ps(self.clamp.0));
                let v = _mm512_min_ps(v, _mm512_set1_ps(self.clamp.1));
                let mut lanes = [_mm_setzero_ps(); 4];
                _mm512_storeu_ps(lanes.as_mut_ptr().cast(), v);
                for (lane, v) in lanes.into_iter().enumerate() {
                    let channel = 16 * lane + 4 * k;
                    let mask = (mask >> channel & 0xf) as u8;
                    _mm_mask_storeu_ps(to.wrapping_add(channel), mask, v);
                }
            }
        }
    }
}
