//! Depthwise convolution on `smlal` of 16 bits: exact, since u8 and s8 are widened and products summed in 32.
//!
//! A block is 8 channels. For 3x3 filters all nine weights and the nine inputs of a pixel stay in registers; a step to the
//! next pixel loads one column.

use std::arch::aarch64::*;

use quantc_kernels::{Epilogue, Kernels};
use quantc_kernels_simd::depthwise::{Block, Depthwise, GROUP, Strip, Tier, Work};

use crate::stage::{self, Job, Place, Stage, load_f32, load_i32};
use crate::upper;

/// One row per kernel.
pub(super) fn register(kernels: &mut Kernels) {
    // SAFETY: only machines that have the tier register it.
    kernels.qdepthwise = const { &unsafe { Depthwise::<Neon>::new() } };
}

/// NEON.
struct Neon;

/// Channels of a block.
const CHANNELS: usize = 8;

/// The sums of a block's channels.
type Sums = [int32x4_t; 2];
/// The taps of one column of a 3x3 filter, or its weights.
type Column = [int16x8_t; 3];

impl Tier for Neon {
    const NAME: &'static str = "qdepthwise.neon";
    const CHANNELS: usize = CHANNELS;
    const WEIGHT_BYTES: usize = 2;
    const HAS_PIXELS: bool = false;

    fn place(channel: usize, tap: usize) -> usize {
        (tap * CHANNELS + channel) * Self::WEIGHT_BYTES
    }

    unsafe fn run(block: &Block, work: &Work<'_>, epilogue: &Epilogue<'_>) {
        // SAFETY: the caller's promises.
        unsafe { stage::run(&Pixels { block, work }, epilogue) }
    }
}

/// A block of channels of some pixels.
struct Pixels<'a> {
    block: &'a Block,
    work: &'a Work<'a>,
}

impl Job for Pixels<'_> {
    unsafe fn run<S: Stage>(&self, scale: &[f32], stage: &S) {
        let block = self.block;
        let scale = &scale[block.channel..][..block.count];
        // SAFETY: the caller's promises; `scale` has `count` elements.
        unsafe {
            let end = End {
                block,
                offsets: load_i32(block.offsets, block.count),
                scale: load_f32(scale.as_ptr(), block.count),
                stage,
            };
            match *self.work {
                Work::Columns { strips, stride: 1, width } => {
                    strips.iter().for_each(|strip| columns::<1, S>(&end, strip, width));
                }
                Work::Columns { strips, width, .. } => {
                    strips.iter().for_each(|strip| columns::<2, S>(&end, strip, width));
                }
                Work::Taps { taps, row } => all_taps(&end, taps, row),
            }
        }
    }
}

/// What sums start from and end with.
struct End<'a, S> {
    block: &'a Block,
    offsets: Sums,
    scale: [float32x4_t; 2],
    stage: &'a S,
}

impl<S: Stage> End<'_, S> {
    /// Finishes and stores one pixel.
    ///
    /// # Safety
    /// As [`Tier::run`], for the pixel `row` of the output.
    #[inline(always)]
    unsafe fn store(&self, row: usize, [a, b]: Sums) {
        // SAFETY: the output holds the pixel's `count` channels of the block.
        unsafe {
            let real = [vmulq_f32(vcvtq_f32_s32(a), self.scale[0]), vmulq_f32(vcvtq_f32_s32(b), self.scale[1])];
            let Block { channel, count, .. } = *self.block;
            self.stage.store(&Place { row, channel, count, out: self.block.out.at(row, channel) }, real);
        }
    }
}

/// The packed weights from an address on.
///
/// # Safety
/// A vector is readable.
#[inline(always)]
unsafe fn weights(from: *const u8) -> int16x8_t {
    // SAFETY: the caller's promise; the byte load needs no alignment.
    unsafe { vreinterpretq_s16_u8(vld1q_u8(from)) }
}

/// Eight channels as 16 bits.
///
/// # Safety
/// Eight bytes are readable.
#[inline(always)]
unsafe fn load(from: *const u8) -> int16x8_t {
    // SAFETY: the caller's promise.
    unsafe { vreinterpretq_s16_u16(vmovl_u8(vld1_u8(from))) }
}

/// Adds the products of a tap.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn multiply_add([a, b]: Sums, x: int16x8_t, weights: int16x8_t) -> Sums {
    // SAFETY: the caller's promise.
    unsafe { [vmlal_s16(a, vget_low_s16(x), vget_low_s16(weights)), upper::smlal_s16(b, x, weights)] }
}

/// A column of a 3x3 filter's input, or zero points outside the image.
///
/// # Safety
/// As [`Tier::run`].
#[inline(always)]
unsafe fn column(block: &Block, strip: &Strip, width: usize, ix: isize) -> Column {
    // SAFETY: columns outside the image are not loaded, rows outside it are zero points; a load reads 8 channels from a
    // channel of a pixel on, which the slack of both allows.
    unsafe {
        if (ix as usize) < width {
            let at = |i: usize| load(strip.rows[i].add(ix as usize * strip.steps[i] + block.channel));
            [at(0), at(1), at(2)]
        } else {
            [vdupq_n_s16(block.zero_point.into()); 3]
        }
    }
}

/// A strip of a 3x3 filter.
///
/// # Safety
/// As [`Tier::run`].
unsafe fn columns<const STRIDE: isize, S: Stage>(end: &End<'_, S>, strip: &Strip, width: usize) {
    // SAFETY: the caller's promises; the block has three groups of four taps, of which the last is nothing.
    unsafe {
        let block = end.block;
        let weights = |c: usize, r: usize| weights(block.weights.add(Neon::place(0, c * GROUP + r)));
        let filter = [0, 1, 2].map(|c| [weights(c, 0), weights(c, 1), weights(c, 2)]);
        let mut ix = strip.start;
        let mut first = column(block, strip, width, ix);
        let mut second = column(block, strip, width, ix + 1);
        for i in 0..strip.pixels {
            let third = column(block, strip, width, ix + 2);
            let mut sums = end.offsets;
            for (taps, weights) in [first, second, third].into_iter().zip(filter) {
                for (x, weights) in taps.into_iter().zip(weights) {
                    sums = multiply_add(sums, x, weights);
                }
            }
            end.store(strip.row + i, sums);
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
unsafe fn all_taps<S: Stage>(end: &End<'_, S>, taps: &[*const u8], row: usize) {
    let block = end.block;
    // SAFETY: a tap is readable for 8 bytes from any of its channels on, as in `column`; it has a vector of weights.
    unsafe {
        for (i, taps) in taps.chunks_exact(block.groups * GROUP).enumerate() {
            let mut sums = end.offsets;
            for (tap, x) in taps.iter().enumerate() {
                sums = multiply_add(sums, load(x.add(block.channel)), weights(block.weights.add(Neon::place(0, tap))));
            }
            end.store(row + i, sums);
        }
    }
}
