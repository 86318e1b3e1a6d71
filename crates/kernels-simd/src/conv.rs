//! The convolution: patches of the input, gathered a block at a time, times packed panels.
//!
//! A 1x1 convolution of stride 1 reads its rows in place. Otherwise a block of rows is gathered: next to the
//! multiplications a copy of the patches costs little (about `2 / oc` of them), and it turns every shape into the same
//! GEMM, with K as long as the patch also where the channels are few.

use std::marker::PhantomData;
use std::ops::Range;

use quantc_kernels::conv::{AlignedBytes, Blocking, ConvPlan};
use quantc_kernels::{ConvArgs, ConvWeightShape, Output, PackedWeights, Panels, QConv};

use crate::gemm::{MAX_COLUMNS, Panel, PanelLayout, RawOutput, Tier, panels};

/// Bytes of a cache line.
const LINE: usize = 64;

/// The convolution of one tier.
pub struct Conv<T>(PhantomData<T>);

impl<T> Conv<T> {
    /// # Safety
    /// The kernel runs only on machines that have the tier.
    pub const unsafe fn new() -> Self {
        Conv(PhantomData)
    }
}

/// A convolution's groups as the kernel sees them.
struct Layout {
    groups: usize,
    /// Input channels of a merged group.
    c: usize,
    /// Output channels of a merged group.
    oc: usize,
    panels: PanelLayout,
}

impl Layout {
    fn new<T: Tier>(shape: &ConvWeightShape) -> Self {
        let fits = |m: &usize| shape.groups.is_multiple_of(*m) && m * shape.group_oc() <= T::LANES;
        let merged = (1..=T::LANES.min(shape.groups)).rev().find(fits).unwrap_or(1);
        let (c, oc) = (shape.group_c() * merged, shape.group_oc() * merged);
        let k = shape.taps() * c;
        Layout { groups: shape.groups / merged, c, oc, panels: PanelLayout::new::<T>(k, oc) }
    }

    /// One byte per panel, after all panels: whether it is wide.
    fn flags_at(&self) -> usize {
        self.groups * self.panels.bytes()
    }

    fn bytes(&self) -> usize {
        self.flags_at() + self.groups * self.panels.panels()
    }
}

/// How rows are gathered.
struct Patches {
    /// Bytes between rows.
    stride: usize,
    /// Rows of a block.
    rows: usize,
}

impl Patches {
    fn new<T: Tier>(plan: &ConvPlan, layout: &Layout) -> Self {
        let stride = plan.min_patch_stride(layout.c).max(layout.panels.steps * T::DEPTH).next_multiple_of(T::DEPTH);
        // Not a multiple of 1024, which would put all rows of a tile into the same few sets of the first-level cache.
        let stride = if stride.is_multiple_of(1024) { stride + LINE } else { stride };
        let Blocking { rows, bytes } = plan.blocking();
        // No more than there are, lest rounding up overflow.
        let rows = (bytes / stride).min(rows).min(plan.geometry().rows()).max(1).next_multiple_of(T::ROWS);
        Patches { stride, rows }
    }
}

impl<T: Tier> QConv for Conv<T> {
    fn name(&self) -> &'static str {
        T::CONV
    }

    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights {
        assert_eq!(weights.len(), shape.len(), "weights do not fit {shape:?}");
        let layout = Layout::new::<T>(shape);
        let mut data = AlignedBytes::zeroed(layout.bytes());
        let (panels, flags) = data.as_mut_slice().split_at_mut(layout.flags_at());
        let group_c = shape.group_c();
        let patch = shape.k();
        // An output channel's weights as the merged group sees them.
        let mut row = vec![0i8; layout.panels.steps * T::DEPTH];
        for oc in 0..if patch == 0 { 0 } else { shape.oc } {
            let (group, column) = (oc / layout.oc, oc % layout.oc);
            let within = column / shape.group_oc();
            row.fill(0);
            for (tap, weights) in weights[oc * patch..(oc + 1) * patch].chunks_exact(group_c).enumerate() {
                row[tap * layout.c + within * group_c..][..group_c].copy_from_slice(weights);
            }
            let panel = (0..layout.panels.panels())
                .rfind(|&panel| layout.panels.first(panel) <= column)
                .expect("every column lies in a panel");
            let at = group * layout.panels.bytes() + layout.panels.offset(panel);
            let step = layout.panels.padded(panel) * T::DEPTH;
            let lane = (column - layout.panels.first(panel)) * T::DEPTH;
            for (weights, to) in row.chunks_exact(T::DEPTH).zip(panels[at..].chunks_mut(step)) {
                to[lane..lane + T::DEPTH].iter_mut().zip(weights).for_each(|(to, &w)| *to = w as u8);
                if T::is_wide(weights) {
                    flags[group * layout.panels.panels() + panel] = 1;
                }
            }
        }
        PackedWeights::new(self.name(), shape, weights, data)
    }

    fn panels(&self) -> Option<Panels> {
        Some(panels::<T>())
    }

    fn scratch_len(&self, plan: &ConvPlan) -> usize {
        if plan.is_pointwise() {
            return 0;
        }
        let layout = Layout::new::<T>(&plan.geometry().weight_shape());
        let patches = Patches::new::<T>(plan, &layout);
        // More than there is memory for, where the blocking asks for it: `check` then finds any scratch too short.
        patches.rows.min(plan.geometry().rows()).saturating_mul(patches.stride).saturating_add(LINE)
    }

    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, mut out: Output<'_>, scratch: &mut [u8]) {
        args.check(self.name(), &rows, &out, scratch.len(), self.scratch_len(args.plan));
        let layout = Layout::new::<T>(args.weights.shape());
        let packed = args.weights.data();
        assert_eq!(packed.len(), layout.bytes(), "packed weights of another layout");
        let (packed, flags) = packed.split_at(layout.flags_at());
        let mut with_sums = [0i32; MAX_COLUMNS];
        let pointwise = args.plan.is_pointwise();
        let out = RawOutput::new(&mut out);
        let scratch = if pointwise { scratch } else { align(scratch) };
        let patches = Patches::new::<T>(args.plan, &layout);
        // Blocks of one size: a short last one would pass over all panels for a few rows.
        let blocks = rows.len().div_ceil(patches.rows);
        let block_rows = rows.len().div_ceil(blocks.max(1)).next_multiple_of(T::ROWS);
        let mut start = rows.start;
        while start < rows.end {
            let block = start..rows.end.min(start + block_rows);
            for group in 0..layout.groups {
                let channels = group * layout.c..(group + 1) * layout.c;
                let (a, a_stride) = if pointwise {
                    let pixels = args.plan.geometry().c;
                    // SAFETY: a row of the block is a pixel of the input, which `check` found complete.
                    (unsafe { args.x.as_ptr().add(block.start * pixels + channels.start) }, pixels)
                } else {
                    args.plan.gather(block.clone(), channels, args.x, args.x_zero_point, scratch, patches.stride);
                    (scratch.as_ptr(), patches.stride)
                };
                for panel in 0..layout.panels.panels() {
                    let first = layout.panels.first(panel);
                    let channel = group * layout.oc + first;
                    let mut offsets = &args.offsets[channel..][..layout.panels.count(panel)];
                    if T::SIGNED {
                        let sums = &args.weights.sum_w()[channel..];
                        for (to, (offset, sum)) in with_sums.iter_mut().zip(offsets.iter().zip(sums)) {
                            *to = offset.wrapping_add(sum.wrapping_mul(128));
                        }
                        offsets = &with_sums;
                    }
                    let panel = Panel {
                        a,
                        a_stride,
                        rows: block.len(),
                        steps: layout.panels.steps,
                        b: packed[group * layout.panels.bytes() + layout.panels.offset(panel)..].as_ptr(),
                        columns: layout.panels.count(panel),
                        wide: flags[group * layout.panels.panels() + panel] != 0,
                        offsets: offsets.as_ptr(),
                        row_terms: std::ptr::null(),
                        channel,
                        row: block.start - rows.start,
                        // SAFETY: `check` found the output to hold all rows and channels of this call.
                        out: unsafe { out.at(block.start - rows.start, channel) },
                        out_stride: out.stride(),
                    };
                    // SAFETY: this type is only registered on machines that have the tier. A left row is a pixel's
                    // channels and less than 64 bytes, the slack of `x` (`Tier::LOT`), or a gathered patch whose
                    // stride is at least `DEPTH * steps` bytes. The packed panels, offsets, output and the epilogue's slices
                    // were checked above.
                    unsafe { T::multiply(&panel, args.epilogue) };
                }
            }
            start = block.end;
        }
    }
}

/// The part of a buffer from its first 64-byte boundary on.
fn align(scratch: &mut [u8]) -> &mut [u8] {
    let skip = scratch.as_ptr().align_offset(LINE).min(scratch.len());
    &mut scratch[skip..]
}
