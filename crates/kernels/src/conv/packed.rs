//! Packed weights and their memory.

use super::geometry::ConvWeightShape;
use crate::mapped::SharedBytes;

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A byte buffer whose first byte is 64-byte aligned.
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        AlignedBytes { lines: vec![Line([0; 64]); len.div_ceil(64)], len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `lines` holds at least `len` initialised bytes without padding (`Line` is 64 bytes, aligned to 64).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// The bytes, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Weights in the layout of one kernel, opaque to everyone else.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    kernel: &'static str,
    shape: ConvWeightShape,
    data: PackedBytes,
    sum_w: Vec<i32>,
}

/// Where packed weights are.
#[derive(Clone, Debug)]
enum PackedBytes {
    Own(AlignedBytes),
    Shared(SharedBytes),
}

impl PackedWeights {
    /// For kernels: wraps what their `pack` laid out, and sums the weights of each output channel.
    ///
    /// # Panics
    /// If `weights` does not hold `shape.len()` elements.
    pub fn new(kernel: &'static str, shape: &ConvWeightShape, weights: &[i8], data: AlignedBytes) -> Self {
        assert_eq!(weights.len(), shape.len(), "weights do not fit {shape:?}");
        let sum = |row: &[i8]| row.iter().fold(0i32, |sum, &w| sum.wrapping_add(w.into()));
        let k = shape.k();
        let sum_w = if k == 0 { vec![0; shape.oc] } else { weights.chunks_exact(k).map(sum).collect() };
        PackedWeights { kernel, shape: *shape, data: PackedBytes::Own(data), sum_w }
    }

    /// Weights that the kernel of this name packed before, and the sum of each output channel's. Bytes that do not start at a multiple
    /// of 64 are copied.
    ///
    /// # Panics
    /// If there is not a sum for each output channel.
    pub fn stored(kernel: &'static str, shape: &ConvWeightShape, data: SharedBytes, sum_w: Vec<i32>) -> Self {
        assert_eq!(sum_w.len(), shape.oc, "a sum for each output channel");
        let bytes = data.as_slice();
        let data = if bytes.as_ptr().align_offset(align_of::<Line>()) == 0 {
            PackedBytes::Shared(data)
        } else {
            let mut copy = AlignedBytes::zeroed(bytes.len());
            copy.as_mut_slice().copy_from_slice(bytes);
            PackedBytes::Own(copy)
        };
        PackedWeights { kernel, shape: *shape, data, sum_w }
    }

    /// The name of the kernel that packed them, the only one that can run them.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// The shape they were packed for.
    pub fn shape(&self) -> &ConvWeightShape {
        &self.shape
    }

    /// The packed bytes.
    pub fn data(&self) -> &[u8] {
        match &self.data {
            PackedBytes::Own(data) => data.as_slice(),
            PackedBytes::Shared(data) => data.as_slice(),
        }
    }

    /// The sum of each output channel's weights.
    pub fn sum_w(&self) -> &[i32] {
        &self.sum_w
    }

    /// Writes what the accumulators start from, `bias[o] - x_zero_point * sum_w[o]` (wrapping), to the first `oc`
    /// elements of `offsets`; no bias is a bias of zero. Allocates nothing: for a zero point known only at run time.
    ///
    /// # Panics
    /// If `offsets` or a given `bias` has less than `oc` elements.
    pub fn offsets(&self, bias: Option<&[i32]>, x_zero_point: u8, offsets: &mut [i32]) {
        let z = i32::from(x_zero_point);
        let offsets = &mut offsets[..self.sum_w.len()];
        for (offset, sum) in offsets.iter_mut().zip(&self.sum_w) {
            *offset = sum.wrapping_mul(z).wrapping_neg();
        }
        if let Some(bias) = bias {
            for (offset, bias) in offsets.iter_mut().zip(&bias[..self.sum_w.len()]) {
                *offset = offset.wrapping_add(*bias);
            }
        }
    }
}

/// The bytes as signed.
pub(crate) fn as_i8(bytes: &[u8]) -> &[i8] {
    // SAFETY: u8 and i8 have the same size, alignment and validity.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}
