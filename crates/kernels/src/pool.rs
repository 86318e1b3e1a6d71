//! Pooling over NHWC images of u8.

use std::ops::Range;

use quantc_tensor::round::round_saturate;

use crate::rows::RowsMut;

/// The shape of a pooling. The output size is given, because ONNX and PyTorch may round it up (`ceil_mode`); the last
/// windows then reach beyond the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolGeometry {
    /// Images.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Output height.
    pub oh: usize,
    /// Output width.
    pub ow: usize,
    /// Window `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Input pixels from one window to the next, `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Input pixels from one tap to the next, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// Padding `[top, left, bottom, right]`.
    pub pad: [usize; 4],
}

/// The taps of one window along one axis, as input coordinates: `first`, then every `dilation`, `count` in all; and how
/// many lie in the image or its padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// First input coordinate inside the image (0 if there is none).
    pub first: usize,
    /// Taps inside the image.
    pub count: usize,
    /// Taps inside the image or its padding.
    pub padded: usize,
}

impl PoolGeometry {
    /// One window over the whole image.
    pub fn global(n: usize, h: usize, w: usize, c: usize) -> Self {
        let one = [1, 1];
        PoolGeometry { n, h, w, c, oh: 1, ow: 1, kernel: [h, w], stride: one, dilation: one, pad: [0; 4] }
    }

    /// Output pixels.
    pub fn rows(&self) -> usize {
        self.n * self.oh * self.ow
    }

    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    #[inline(always)]
    fn taps(&self, axis: usize, size: usize, o: usize) -> Taps {
        let (kernel, dilation) = (self.kernel[axis], self.dilation[axis]);
        let (start, pad) = (o * self.stride[axis], self.pad[axis]);
        // Taps before a coordinate that lies `distance` after the window's start.
        let before = |distance: usize| distance.div_ceil(dilation).min(kernel);
        let skipped = before(pad.saturating_sub(start));
        let inside = before((pad + size).saturating_sub(start));
        let padded = before((pad + size + self.pad[axis + 2]).saturating_sub(start));
        let count = inside.saturating_sub(skipped);
        let first = if count == 0 { 0 } else { start + skipped * dilation - pad };
        Taps { first, count, padded }
    }

    /// Vertical taps of output row `oy`.
    #[inline(always)]
    pub fn vertical(&self, oy: usize) -> Taps {
        self.taps(0, self.h, oy)
    }

    /// Horizontal taps of output column `ox`.
    #[inline(always)]
    pub fn horizontal(&self, ox: usize) -> Taps {
        self.taps(1, self.w, ox)
    }

    /// Calls `f(index, image, vertical, horizontal)` for the output pixels `rows`: their index from the first of them, the
    /// first input pixel of their image, and their taps.
    #[inline(always)]
    pub fn for_each_window(&self, rows: Range<usize>, mut f: impl FnMut(usize, usize, Taps, Taps)) {
        let mut row = rows.start;
        while row < rows.end {
            let (ox, line) = (row % self.ow, row / self.ow);
            let (oy, image) = (line % self.oh, line / self.oh);
            let vertical = self.vertical(oy);
            let count = (self.ow - ox).min(rows.end - row);
            for i in 0..count {
                f(row - rows.start + i, image * self.h * self.w, vertical, self.horizontal(ox + i));
            }
            row += count;
        }
    }

    /// Checks what every pooling kernel relies on.
    ///
    /// # Panics
    /// If the rows or the input do not fit the geometry, or a kernel, stride or dilation is 0: errors of the caller.
    pub fn check(&self, x: &[u8], rows: &Range<usize>) {
        assert!(rows.start <= rows.end && rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        assert!(x.len() >= self.x_len(), "x holds {} of {} bytes", x.len(), self.x_len());
        let sizes = [self.kernel, self.stride, self.dilation];
        assert!(!sizes.as_flattened().contains(&0), "zero in {self:?}");
    }
}

/// What an average is divided by, and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPoolParams<'a> {
    /// Zero point of the input.
    pub x_zero_point: i32,
    /// Whether taps in the padding count (`count_include_pad`); those beyond it never do.
    pub count_include_pad: bool,
    /// `multiplier[count]` for a window that counts `count` taps, `0..=kh * kw`: `s_x / (s_y * count)`.
    pub multiplier: &'a [f32],
    /// Zero point of the result.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

impl AvgPoolParams<'_> {
    /// The result for one window: `clamp(rne(f32(sum - count * x_zero_point) * multiplier[counted]) + zero_point)`, where
    /// `sum` is that of the `count` taps inside the image and padding contributes nothing.
    #[inline(always)]
    pub fn finish(&self, sum: u32, vertical: Taps, horizontal: Taps) -> u8 {
        let (offset, multiplier) = self.window(vertical, horizontal);
        let real = (sum as i32).wrapping_sub(offset) as f32 * multiplier;
        round_saturate(real, self.zero_point, self.clamp.0, self.clamp.1) as u8
    }

    /// What is subtracted from a window's sum, and what the difference is multiplied by.
    #[inline(always)]
    pub fn window(&self, vertical: Taps, horizontal: Taps) -> (i32, f32) {
        let count = vertical.count * horizontal.count;
        let counted = if self.count_include_pad { vertical.padded * horizontal.padded } else { count };
        ((count as i32).wrapping_mul(self.x_zero_point), self.multiplier[counted])
    }

    /// Checks what every kernel relies on.
    ///
    /// # Panics
    /// If `multiplier` has no entry for some count: an error of the caller.
    pub fn check(&self, geometry: &PoolGeometry) {
        let area = geometry.kernel[0] * geometry.kernel[1];
        assert!(self.multiplier.len() > area, "multipliers for {} of {area} counts", self.multiplier.len());
    }
}

/// Pooling kernels. They compute the output pixels `rows` (of `n * oh * ow`) into `out`, which starts at the first of them.
pub trait QPool: Send + Sync {
    /// What reports call these kernels, for example `qpool.avx2`.
    fn name(&self) -> &'static str;

    /// The largest tap of each window inside the image; 0 if there is none.
    ///
    /// # Panics
    /// If a slice does not fit (see [`PoolGeometry::check`]).
    fn max_pool(&self, geometry: &PoolGeometry, x: &[u8], rows: Range<usize>, out: RowsMut<'_, u8>);

    /// The average of each window (see [`AvgPoolParams::finish`]).
    ///
    /// # Panics
    /// If a slice does not fit (see [`PoolGeometry::check`] and [`AvgPoolParams::check`]).
    fn avg_pool(
        &self,
        geometry: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        rows: Range<usize>,
        out: RowsMut<'_, u8>,
    );
}

/// Pooling in plain Rust.
pub(crate) struct PortablePool;

impl QPool for PortablePool {
    fn name(&self) -> &'static str {
        "qpool.portable"
    }

    fn max_pool(&self, geometry: &PoolGeometry, x: &[u8], rows: Range<usize>, out: RowsMut<'_, u8>) {
        body::max_pool(geometry, x, rows, out);
    }

    fn avg_pool(
        &self,
        geometry: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        rows: Range<usize>,
        out: RowsMut<'_, u8>,
    ) {
        body::avg_pool(geometry, params, x, rows, out);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;

    /// A window: the first input pixel of its image, and its taps.
    type Window = (usize, Taps, Taps);

    /// Calls `f` with the `N` channels from `first` on of every tap inside the image.
    #[inline(always)]
    fn for_each_tap<const N: usize>(
        g: &PoolGeometry,
        x: &[u8],
        (image, vertical, horizontal): Window,
        first: usize,
        mut f: impl FnMut(&[u8; N]),
    ) {
        for ky in 0..vertical.count {
            let line = image + (vertical.first + ky * g.dilation[0]) * g.w;
            for kx in 0..horizontal.count {
                let at = (line + horizontal.first + kx * g.dilation[1]) * g.c + first;
                if let Some(taps) = x[at..].first_chunk() {
                    f(taps);
                }
            }
        }
    }

    /// Calls `f(out, first)` for blocks of 64, 16 or single channels from `first` on; the last block of 64 or 16 ends
    /// with the last channel and overlaps the one before. Blocks of fixed size stay in registers.
    macro_rules! for_each_block {
        ($out:expr, $f:ident($($arg:expr),*)) => {
            let out: &mut [u8] = $out;
            let channels = out.len();
            let mut first = 0;
            while first < channels {
                if channels >= 64 {
                    let at = first.min(channels - 64);
                    $f::<64>($($arg,)* at, &mut out[at..at + 64]);
                    first += 64;
                } else if channels >= 16 {
                    let at = first.min(channels - 16);
                    $f::<16>($($arg,)* at, &mut out[at..at + 16]);
                    first += 16;
                } else {
                    $f::<1>($($arg,)* first, &mut out[first..first + 1]);
                    first += 1;
                }
            }
        };
    }

    #[inline(always)]
    fn max_block<const N: usize>(g: &PoolGeometry, x: &[u8], window: Window, first: usize, out: &mut [u8]) {
        let mut largest = [0; N];
        for_each_tap::<N>(g, x, window, first, |taps| {
            for (largest, &tap) in largest.iter_mut().zip(taps) {
                *largest = if tap > *largest { tap } else { *largest };
            }
        });
        out.copy_from_slice(&largest);
    }

    #[inline(always)]
    fn avg_block<const N: usize>(
        g: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        window: Window,
        first: usize,
        out: &mut [u8],
    ) {
        let mut sums = [0u32; N];
        for_each_tap::<N>(g, x, window, first, |taps| {
            for (sum, &tap) in sums.iter_mut().zip(taps) {
                *sum = sum.wrapping_add(u32::from(tap));
            }
        });
        for (o, sum) in out.iter_mut().zip(sums) {
            *o = params.finish(sum, window.1, window.2);
        }
    }

    /// [`QPool::max_pool`].
    #[inline(always)]
    pub fn max_pool(geometry: &PoolGeometry, x: &[u8], rows: Range<usize>, mut out: RowsMut<'_, u8>) {
        geometry.check(x, &rows);
        geometry.for_each_window(rows, |index, image, vertical, horizontal| {
            for_each_block!(out.row(index, geometry.c), max_block(geometry, x, (image, vertical, horizontal)));
        });
    }

    /// [`QPool::avg_pool`].
    #[inline(always)]
    pub fn avg_pool(
        geometry: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        rows: Range<usize>,
        mut out: RowsMut<'_, u8>,
    ) {
        geometry.check(x, &rows);
        params.check(geometry);
        geometry.for_each_window(rows, |index, image, vertical, horizontal| {
            for_each_block!(out.row(index, geometry.c), avg_block(geometry, params, x, (image, vertical, horizontal)));
        });
    }
}
