//! Integer convolution: u8 activations (NHWC) by s8 weights, exact i32 accumulation (wrapping), implicit GEMM.
//!
//! A linear layer is the 1x1 convolution of `n = M` one-pixel images, a 1-d convolution has `h = 1`.

mod blocking;
mod gather;
mod geometry;
mod packed;
mod panels;
mod plan;
pub(crate) mod portable;

use std::ops::Range;

pub use blocking::{Blocking, Caches};
pub use geometry::{ConvGeometry, ConvWeightShape, GeometryError};
pub(crate) use packed::as_i8;
pub use packed::{AlignedBytes, PackedWeights};
pub use panels::Panels;
pub use plan::ConvPlan;

use crate::epilogue::Epilogue;
use crate::rows::span;

/// Bytes that must be readable after the last element of an activation buffer: kernels load whole vectors, and what lies
/// past a row meets zero weights.
pub const SLACK: usize = 64;

/// Where a kernel stores: the rows of the call, `stride` elements apart, of which the first `oc` are written.
#[derive(Debug)]
pub struct Output<'a> {
    /// The elements, starting at the first row of the call; `(rows - 1) * stride + oc` are needed.
    pub data: OutputData<'a>,
    /// Elements from one row (pixel) to the next.
    pub stride: usize,
}

/// The element type of an output: u8 for the requantizing epilogues, f32 for `Dequantize`.
#[derive(Debug)]
pub enum OutputData<'a> {
    /// Quantized.
    U8(&'a mut [u8]),
    /// Real.
    F32(&'a mut [f32]),
}

impl<'a> Output<'a> {
    /// A u8 output.
    pub fn u8(data: &'a mut [u8], stride: usize) -> Self {
        Output { data: OutputData::U8(data), stride }
    }

    /// An f32 output.
    pub fn f32(data: &'a mut [f32], stride: usize) -> Self {
        Output { data: OutputData::F32(data), stride }
    }

    /// Checks everything an unchecked kernel relies on: the slices hold `rows` rows of `channels`, and the element type
    /// is the one the epilogue produces.
    ///
    /// # Panics
    /// If a slice is too short, the stride is below `channels`, or the types disagree: errors of the caller.
    pub fn check(&self, rows: usize, channels: usize, epilogue: &Epilogue<'_>) {
        if rows == 0 || channels == 0 {
            return;
        }
        let needed = span(rows, self.stride, channels);
        assert!(self.stride >= channels, "output stride {} below its {channels} channels", self.stride);
        let len = match &self.data {
            OutputData::U8(data) => data.len(),
            OutputData::F32(data) => data.len(),
        };
        assert!(len >= needed, "output holds {len} elements, {needed} needed");
        let real = matches!(self.data, OutputData::F32(_));
        match epilogue {
            Epilogue::Requantize { multiplier, clamp, zero_point } => {
                assert!(!real, "Requantize stores u8");
                check_u8(*clamp, *zero_point);
                assert!(multiplier.len() >= channels, "multiplier per channel");
            }
            Epilogue::AddRequantize { scale, residual, residual_stride, clamp, zero_point, .. } => {
                assert!(!real, "AddRequantize stores u8");
                check_u8(*clamp, *zero_point);
                assert!(scale.len() >= channels, "scale per channel");
                assert!(residual.len() >= span(rows, *residual_stride, channels), "residual too short");
            }
            Epilogue::Dequantize { scale, .. } => {
                assert!(real, "Dequantize stores f32");
                assert!(scale.len() >= channels, "scale per channel");
            }
        }
    }
}

fn check_u8((lo, hi): (i32, i32), zero_point: i32) {
    assert!(0 <= lo && lo <= hi && hi <= 255, "clamp {lo}..={hi} outside u8");
    assert!((0..=255).contains(&zero_point), "zero point {zero_point} outside u8");
}

/// What one call of a convolution reads.
#[derive(Clone, Copy, Debug)]
pub struct ConvArgs<'a> {
    /// The tables made for this shape.
    pub plan: &'a ConvPlan,
    /// The weights, packed by the kernel that is called.
    pub weights: &'a PackedWeights,
    /// NHWC activations; `geometry.x_len() + SLACK` elements at least.
    pub x: &'a [u8],
    /// Zero point of `x`: what a tap outside the image reads.
    pub x_zero_point: u8,
    /// What each output channel's accumulator starts from (see [`PackedWeights::offsets`]).
    pub offsets: &'a [i32],
    /// The stage after the accumulation.
    pub epilogue: &'a Epilogue<'a>,
}

impl ConvArgs<'_> {
    /// Checks everything an unchecked kernel relies on.
    ///
    /// # Panics
    /// If the slices do not fit the geometry, or the weights were packed by another kernel or for another shape.
    pub fn check(&self, kernel: &str, rows: &Range<usize>, out: &Output<'_>, scratch: usize, scratch_needed: usize) {
        let geometry = self.plan.geometry();
        assert_eq!(self.weights.kernel(), kernel, "weights packed by another kernel");
        assert_eq!(*self.weights.shape(), geometry.weight_shape(), "weights packed for another shape");
        assert!(rows.start <= rows.end && rows.end <= geometry.rows(), "rows {rows:?} of {}", geometry.rows());
        assert!(
            self.x.len() >= geometry.x_len() + SLACK,
            "x holds {} of {} + {SLACK} bytes",
            self.x.len(),
            geometry.x_len()
        );
        assert!(self.offsets.len() >= geometry.oc, "an offset per output channel");
        assert!(scratch >= scratch_needed, "scratch holds {scratch} of {scratch_needed} bytes");
        out.check(rows.len(), geometry.oc, self.epilogue);
    }
}

/// A convolution kernel. Weights are `[oc][kh][kw][c / groups]`; the result for output pixel `p`, channel `o` is
/// `epilogue(offsets[o] + sum(x * w))` with taps outside the image reading `x_zero_point`, so that
/// `offsets[o] = bias[o] - x_zero_point * sum_w[o]` gives `sum((x - x_zero_point) * w) + bias`.
pub trait QConv: Send + Sync {
    /// What reports and packed weights call this kernel, for example `qconv.avx512vnni`.
    fn name(&self) -> &'static str;

    /// Packs weights for this kernel. The result serves every batch and image size.
    ///
    /// # Panics
    /// If `weights` does not hold `shape.len()` elements.
    fn pack(&self, shape: &ConvWeightShape, weights: &[i8]) -> PackedWeights;

    /// The layout of its packed weights, where it is one that gives the weights back and that compiled models can store.
    fn panels(&self) -> Option<Panels> {
        None
    }

    /// Bytes of scratch that one concurrent call of `run` needs; any alignment.
    fn scratch_len(&self, plan: &ConvPlan) -> usize;

    /// Computes the output pixels `rows` (of `n * oh * ow`) into `out`, which starts at the first of them, as
    /// do the epilogue's rows.
    ///
    /// # Panics
    /// If a slice does not fit (see [`ConvArgs::check`]).
    fn run(&self, args: &ConvArgs<'_>, rows: Range<usize>, out: Output<'_>, scratch: &mut [u8]);
}
