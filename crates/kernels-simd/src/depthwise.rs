//! Depthwise convolution: what surrounds the inner kernels of the tiers.
//!
//! Channels lie side by side in a vector, so a tap is one load. Inner kernels that multiply and add several taps with
//! one instruction want the bytes of those taps interleaved; weights are packed so, in groups of four taps for each
//! block of channels: `[block][group][T::place]`. The last block ends with the last channel and overlaps the one before.
//!
//! For 3x3 filters a group is one column of the filter. An interleaved column of the image then serves up to three
//! neighbouring outputs. Other filters take their taps four by four, through a table of addresses.
//!
//! Where a block has room for several pixels' channels, their weights are packed as often, and a block can be that many
//! neighbouring pixels.

use std::marker::PhantomData;
use std::ops::Range;

use quantc_kernels::conv::AlignedBytes;
use quantc_kernels::depthwise::check_depthwise;
use quantc_kernels::{ConvArgs, ConvPlan, ConvWeightShape, Epilogue, Output, PackedWeights, QConv, SLACK};

use crate::gemm::RawOutput;

/// Taps of a group.
pub const GROUP: usize = 4;
/// Pixels whose tap addresses are tabulated together.
const TABLE_PIXELS: usize = 16;
/// Strips computed together, to pay for setting up a block of channels.
const STRIPS: usize = 16;
/// Output pixels that are enough to pay for it.
const BAND_PIXELS: usize = 64;

/// An inner kernel.
pub trait Tier: Send + Sync + 'static {
    /// Name of the kernel.
    const NAME: &'static str;
    /// Channels of a block; at most `SLACK`.
    const CHANNELS: usize;
    /// Bytes of one packed weight, in native order.
    const WEIGHT_BYTES: usize;
    /// Whether a block may be several pixels of few channels (see [`Block::pixels`]).
    const HAS_PIXELS: bool;

    /// The first byte of a weight within its packed group.
    fn place(channel: usize, tap: usize) -> usize;

    /// Computes one block of channels.
    ///
    /// # Safety
    /// The machine has the tier, and the fields of `block` and `work` keep what they say.
    unsafe fn run(block: &Block, work: &Work<'_>, epilogue: &Epilogue<'_>);
}

/// A block of channels.
pub struct Block {
    /// The first channel: what indexes the epilogue's slices, which hold all `count`.
    pub channel: usize,
    /// Channels, 1 to `CHANNELS`.
    pub count: usize,
    /// Neighbouring pixels that the block holds side by side, for [`Work::Columns`] of stride 1: more than one only
    /// where they lie side by side in the output and the residual too.
    pub pixels: usize,
    /// Packed groups of the block.
    pub weights: *const u8,
    /// Number of groups.
    pub groups: usize,
    /// What the accumulators of `count` channels start from.
    pub offsets: *const i32,
    /// The byte outside the image.
    pub zero_point: u8,
    /// The output, in rows as in the epilogue.
    pub out: RawOutput,
}

/// The pixels to compute.
pub enum Work<'a> {
    /// Strips of a 3x3 filter, columns next to each other; `stride` (1 or 2) columns from one pixel to the next.
    Columns {
        /// The strips.
        strips: &'a [Strip],
        /// Columns from one output pixel to the next.
        stride: usize,
        /// Columns of the image.
        width: usize,
    },
    /// Successive pixels with the addresses of `GROUP * groups` taps each.
    Taps {
        /// Addresses of the taps' first channels.
        taps: &'a [*const u8],
        /// The first pixel.
        row: usize,
    },
}

/// Neighbouring output pixels of one image row.
#[derive(Clone, Copy)]
pub struct Strip {
    /// The first channel of the first pixel of the three input rows, or zero points.
    pub rows: [*const u8; 3],
    /// Bytes from one pixel of each row to the next: the channels, or 0 for zero points.
    pub steps: [usize; 3],
    /// The column of the first output's first tap; those outside `0..width` are zero points.
    pub start: isize,
    /// Output pixels.
    pub pixels: usize,
    /// The first output pixel.
    pub row: usize,
}

impl Strip {
    const EMPTY: Strip = Strip { rows: [std::ptr::null(); 3], steps: [0; 3], start: 0, pixels: 0, row: 0 };
}

/// The depthwise convolution of one tier.
pub struct Depthwise<T>(PhantomData<T>);

impl<T> Depthwise<T> {
    /// # Safety
    /// The kernel runs only on machines that have the tier.
    pub const unsafe fn new() -> Self {
        Depthwise(PhantomData)
    }
}

/// Groups of a filter.
fn groups(shape: &ConvWeightShape) -> usize {
    if shape.kernel == [3, 3] { 3 } else { shape.taps().div_ceil(GROUP) }
}

/// Where a tap lies among all groups.
fn slot(shape: &ConvWeightShape, tap: usize) -> usize {
    if shape.kernel == [3, 3] { tap % 3 * GROUP + tap / 3 } else { tap }
}

/// First channels of the blocks.
fn blocks<T: Tier>(channels: usize) -> impl Iterator<Item = usize> {
    let last = channels.saturating_sub(T::CHANNELS);
    (0..channels).step_by(T::CHANNELS).map(move |first| first.min(last))
}

/// Pixels for whose channels a block has room, 1 at least.
fn pixels<T: Tier>(channels: usize) -> usize {
    if T::HAS_PIXELS { T::CHANNELS.checked_div(channels).unwrap_or(1).max(1) } else { 1 }
}

fn group_bytes<T: Tier>() -> usize {
    GROUP * T::CHANNELS * T::WEIGHT_BYTES
}

impl<T: Tier> QConv for Depthwise<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights {
        check_depthwise(shape);
        assert_eq!(weights.len(), shape.len(), "weights do not fit {shape:?}");
        let taps = shape.taps();
        let block_bytes = groups(shape) * group_bytes::<T>();
        let mut data = AlignedBytes::zeroed(shape.c.div_ceil(T::CHANNELS) * block_bytes);
        for (first, packed) in blocks::<T>(shape.c).zip(data.as_mut_slice().chunks_exact_mut(block_bytes.max(1))) {
            let count = T::CHANNELS.min(shape.c - first);
            for channel in 0..count * pixels::<T>(shape.c) {
                for (tap, weight) in weights[(first + channel % count) * taps..][..taps].iter().enumerate() {
                    let slot = slot(shape, tap);
                    let at = slot / GROUP * group_bytes::<T>() + T::place(channel, slot % GROUP);
                    let bytes = i16::from(*weight).to_le_bytes();
                    packed[at..at + T::WEIGHT_BYTES].copy_from_slice(&bytes[..T::WEIGHT_BYTES]);
                }
            }
        }
        PackedWeights::new(self.name(), shape, weights, data)
    }

    fn scratch_len(&self, plan: &ConvPlan) -> usize {
        let shape = plan.geometry().weight_shape();
        let pointer = size_of::<*const u8>();
        zero_points_len(shape.c) + (TABLE_PIXELS * groups(&shape) * GROUP + 1) * pointer
    }

    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, mut out: Output<'_>, scratch: &mut [u8]) {
        args.check(self.name(), &rows, &out, scratch.len(), self.scratch_len(args.plan));
        let shape = args.weights.shape();
        let (groups, packed) = (groups(shape), args.weights.data());
        let block_bytes = groups * group_bytes::<T>();
        assert_eq!(packed.len(), shape.c.div_ceil(T::CHANNELS) * block_bytes, "packed weights of another layout");
        let (zero_points, table) = scratch.split_at_mut(zero_points_len(shape.c));
        zero_points.fill(args.x_zero_point);
        let out = RawOutput::new(&mut out);
        let g = args.plan.geometry();
        let columns = g.kernel == [3, 3] && g.dilation[1] == 1 && g.stride[1] <= 2;
        let residual_stride = match args.epilogue {
            Epilogue::AddRequantize { residual_stride, .. } => *residual_stride,
            _ => shape.c,
        };
        let side_by_side = columns && g.stride[1] == 1 && out.stride() == shape.c && residual_stride == shape.c;
        let pixels = if side_by_side { pixels::<T>(shape.c) } else { 1 };
        let every_block = |work: &Work<'_>| {
            for (first, weights) in blocks::<T>(shape.c).zip(packed.chunks_exact(block_bytes)) {
                let block = Block {
                    channel: first,
                    count: T::CHANNELS.min(shape.c - first),
                    pixels,
                    weights: weights.as_ptr(),
                    groups,
                    offsets: args.offsets[first..].as_ptr(),
                    zero_point: args.x_zero_point,
                    out,
                };
                // SAFETY: this type is only registered on machines that have the tier. `check` found the input with its
                // slack, the output and the epilogue's slices to hold all rows and channels; zero points are as many as
                // channels and slack.
                unsafe { T::run(&block, work, args.epilogue) };
            }
        };
        if columns {
            let mut row = rows.start;
            while row < rows.end {
                let mut strips = [Strip::EMPTY; STRIPS];
                let (mut count, first) = (0, row);
                while row < rows.end && count < STRIPS && row - first < BAND_PIXELS {
                    strips[count] = strip(args, zero_points, row, rows.end - row);
                    strips[count].row = row - rows.start;
                    row += strips[count].pixels;
                    count += 1;
                }
                every_block(&Work::Columns { strips: &strips[..count], stride: g.stride[1], width: g.w });
            }
        } else {
            // SAFETY: any bytes are addresses as far as Rust is concerned: they are overwritten before they are read.
            let (_, table, _) = unsafe { table.align_to_mut::<*const u8>() };
            let width = groups * GROUP;
            table.fill(zero_points.as_ptr());
            let mut start = rows.start;
            while start < rows.end {
                let end = rows.end.min(start + TABLE_PIXELS);
                for (row, taps) in (start..end).zip(table.chunks_exact_mut(width)) {
                    args.plan.for_each_tap(row, |tap, source| {
                        taps[slot(shape, tap)] = match source {
                            Some(at) => args.x[at..].as_ptr(),
                            None => zero_points.as_ptr(),
                        };
                    });
                }
                let taps = &table[..(end - start) * width];
                every_block(&Work::Taps { taps, row: start - rows.start });
                start = end;
            }
        }
    }
}

/// Zero points for a pixel of all channels, and what is read past it.
fn zero_points_len(channels: usize) -> usize {
    channels + SLACK
}

/// The pixels of output pixel `row`'s image row from it on, at most `most`.
fn strip(args: &ConvArgs<'_>, zero_points: &[u8], row: usize, most: usize) -> Strip {
    let g = args.plan.geometry();
    let (ox, line) = (row % g.ow, row / g.ow);
    let (oy, image) = (line % g.oh, line / g.oh);
    let mut strip =
        Strip { start: (ox * g.stride[1]) as isize - g.pad[1] as isize, pixels: (g.ow - ox).min(most), ..Strip::EMPTY };
    for ky in 0..3 {
        let inside = (oy * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pad[0]).filter(|&iy| iy < g.h);
        (strip.rows[ky], strip.steps[ky]) = match inside {
            Some(iy) => (args.x[(image * g.h + iy) * g.w * g.c..].as_ptr(), g.c),
            None => (zero_points.as_ptr(), 0),
        };
    }
    strip
}
