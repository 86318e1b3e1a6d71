//! Pooling over channels-last images of u8 and f32, of one to three spatial dimensions.

use std::ops::Range;

use quantc_tensor::round::round_saturate;

use crate::rows::RowsMut;

/// The window of a pooling: depth, height, width. Operators of fewer dimensions have leading ones of size 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolWindow {
    /// Size.
    pub kernel: [usize; 3],
    /// Input pixels from one window to the next.
    pub stride: [usize; 3],
    /// Input pixels from one tap to the next.
    pub dilation: [usize; 3],
    /// Padding before.
    pub pad_begin: [usize; 3],
    /// Padding after.
    pub pad_end: [usize; 3],
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

/// The shape of a pooling: where every window's taps are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    input: [usize; 3],
    dilation: [usize; 3],
    /// For each axis the taps of each window.
    taps: [Vec<Taps>; 3],
}

impl PoolGeometry {
    /// The same window everywhere. The output size is given, because ONNX and PyTorch may round it up (`ceil_mode`); the last
    /// windows then reach beyond the padding.
    ///
    /// # Panics
    /// If a stride or dilation is 0, or a padded size is more than a `usize` counts: errors of the caller.
    pub fn new(n: usize, c: usize, input: [usize; 3], output: [usize; 3], window: &PoolWindow) -> Self {
        let axis = |d: usize| {
            let (kernel, dilation, pad) = (window.kernel[d], window.dilation[d], window.pad_begin[d]);
            assert!(window.stride[d] > 0 && dilation > 0, "zero in {window:?}");
            let padded_size = pad.checked_add(input[d]).and_then(|size| size.checked_add(window.pad_end[d]));
            let padded_size = padded_size.expect("padded size overflows usize");
            let taps = |o: usize| {
                let start = o.checked_mul(window.stride[d]).expect("window overflows usize");
                // Taps before a coordinate that lies `distance` after the window's start.
                let before = |distance: usize| distance.div_ceil(dilation).min(kernel);
                let skipped = before(pad.saturating_sub(start));
                let inside = before((pad + input[d]).saturating_sub(start));
                let padded = before(padded_size.saturating_sub(start));
                let count = inside.saturating_sub(skipped);
                let first = if count == 0 { 0 } else { start + skipped * dilation - pad };
                Taps { first, count, padded }
            };
            (0..output[d]).map(taps).collect()
        };
        PoolGeometry { n, c, input, dilation: window.dilation, taps: [axis(0), axis(1), axis(2)] }
    }

    /// Windows that share the input evenly: the `i`-th of `m` over a size `s` is `floor(i s / m)..ceil((i + 1) s / m)`.
    ///
    /// # Panics
    /// If the product of an input and an output size is more than a `usize` counts: an error of the caller.
    pub fn adaptive(n: usize, c: usize, input: [usize; 3], output: [usize; 3]) -> Self {
        let axis = |d: usize| {
            let (size, windows) = (input[d], output[d]);
            // No product below is larger.
            product([size, windows]);
            let taps = |i: usize| {
                let first = i * size / windows;
                let count = ((i + 1) * size).div_ceil(windows) - first;
                Taps { first, count, padded: count }
            };
            (0..windows).map(taps).collect()
        };
        PoolGeometry { n, c, input, dilation: [1; 3], taps: [axis(0), axis(1), axis(2)] }
    }

    /// One window over the whole image.
    pub fn global(n: usize, c: usize, input: [usize; 3]) -> Self {
        PoolGeometry::adaptive(n, c, input, [1; 3])
    }

    /// Output pixels.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn rows(&self) -> usize {
        let [depth, height, width] = self.taps.each_ref().map(Vec::len);
        product([self.n, depth, height, width])
    }

    /// Elements of the input.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn x_len(&self) -> usize {
        let [depth, height, width] = self.input;
        product([self.n, depth, height, width, self.c])
    }

    /// The taps of the windows along an axis (depth, height, width).
    pub fn along(&self, axis: usize) -> &[Taps] {
        &self.taps[axis]
    }

    /// Most taps that a window has inside the image and its padding.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn most_taps(&self) -> usize {
        product(self.taps.each_ref().map(|axis| axis.iter().map(|t| t.padded).max().unwrap_or(0)))
    }

    /// Calls `f(index, window)` for the output pixels `rows`: their index from the first of them, and their window.
    #[inline(always)]
    fn for_each_window(&self, rows: Range<usize>, mut f: impl FnMut(usize, &PoolTaps)) {
        let [_, oh, ow] = [0, 1, 2].map(|d| self.taps[d].len());
        let od = self.taps[0].len();
        let pixels: usize = self.input.iter().product();
        let mut row = rows.start;
        while row < rows.end {
            let (ox, line) = (row % ow, row / ow);
            let (oy, plane) = (line % oh, line / oh);
            let (oz, image) = (plane % od, plane / od);
            let count = (ow - ox).min(rows.end - row);
            for i in 0..count {
                let taps = [self.taps[0][oz], self.taps[1][oy], self.taps[2][ox + i]];
                f(row - rows.start + i, &PoolTaps { image: image * pixels, taps });
            }
            row += count;
        }
    }

    /// Checks what every pooling kernel relies on.
    ///
    /// # Panics
    /// If the rows or the input do not fit the geometry: errors of the caller.
    fn check(&self, x_len: usize, rows: &Range<usize>) {
        assert!(rows.start <= rows.end && rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        assert!(x_len >= self.x_len(), "x holds {x_len} of {} elements", self.x_len());
    }
}

/// A product of sizes, refused where it would wrap around.
fn product<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().try_fold(1usize, usize::checked_mul).expect("pooling size overflows usize")
}

/// The taps of one window.
struct PoolTaps {
    /// The first pixel of its image.
    image: usize,
    /// Along depth, height, width.
    taps: [Taps; 3],
}

impl PoolTaps {
    /// Taps inside the image.
    fn inside(&self) -> usize {
        self.taps.iter().map(|t| t.count).product()
    }

    /// Taps that an average counts.
    fn counted(&self, include_pad: bool) -> usize {
        if include_pad { self.taps.iter().map(|t| t.padded).product() } else { self.inside() }
    }
}

/// What an average is divided by, and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AvgPoolParams<'a> {
    /// Zero point of the input.
    pub x_zero_point: i32,
    /// Whether taps in the padding count (`count_include_pad`); those beyond it never do.
    pub count_include_pad: bool,
    /// `multiplier[count]` for a window that counts `count` taps, up to [`PoolGeometry::most_taps`]: `s_x / (s_y * count)`.
    pub multiplier: &'a [f32],
    /// A second factor, applied after the first: 1, or `1 / s_y` where `multiplier` holds `s_x / count`.
    pub rescale: f32,
    /// Zero point of the result.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

impl AvgPoolParams<'_> {
    /// What is subtracted from a window's sum, and what the difference is multiplied by.
    #[inline(always)]
    fn window(&self, window: &PoolTaps) -> (i32, f32) {
        let counted = window.counted(self.count_include_pad);
        ((window.inside() as i32).wrapping_mul(self.x_zero_point), self.multiplier[counted])
    }

    /// The result for a window of that sum (see [`QPool::avg_pool`]).
    #[inline(always)]
    fn finish(&self, sum: u32, (offset, multiplier): (i32, f32)) -> u8 {
        let real = (sum as i32).wrapping_sub(offset) as f32 * multiplier * self.rescale;
        round_saturate(real, self.zero_point, self.clamp.0, self.clamp.1) as u8
    }

    /// Checks what every kernel relies on.
    ///
    /// # Panics
    /// If `multiplier` has no entry for some count: an error of the caller.
    fn check(&self, geometry: &PoolGeometry) {
        let most = geometry.most_taps();
        assert!(self.multiplier.len() > most, "multipliers for {} of {most} counts", self.multiplier.len());
    }
}

/// Pooling kernels. They compute the output pixels `rows` (of all images) into `out`, which starts at the first of them.
pub trait QPool: Send + Sync {
    /// What reports call these kernels, for example `qpool.avx2`.
    fn name(&self) -> &'static str;

    /// The largest tap of each window inside the image; 0 if there is none.
    ///
    /// # Panics
    /// If a slice does not fit the geometry.
    fn max_pool(&self, geometry: &PoolGeometry, x: &[u8], rows: Range<usize>, out: RowsMut<'_, u8>);

    /// The average of each window: `clamp(rne(f32(sum - inside * x_zero_point) * multiplier[counted] * rescale) + zero_point)`, where
    /// `sum` is that of the `inside` taps inside the image; padding contributes nothing.
    ///
    /// # Panics
    /// If a slice does not fit the geometry, or there is no multiplier for some count.
    fn avg_pool(
        &self,
        geometry: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        rows: Range<usize>,
        out: RowsMut<'_, u8>,
    );
}

/// Pooling of f32, as [`QPool`].
pub trait FloatPool: Send + Sync {
    /// What reports call these kernels, for example `pool.avx2`.
    fn name(&self) -> &'static str;

    /// The largest tap of each window inside the image, NaN if one is; minus infinity if there is none.
    ///
    /// # Panics
    /// If a slice does not fit the geometry.
    fn max_pool_f32(&self, geometry: &PoolGeometry, x: &[f32], rows: Range<usize>, out: RowsMut<'_, f32>);

    /// The sum of each window's taps inside the image, one after another in row-major order from 0, divided by their number
    /// (`count_include_pad`: and of those in the padding).
    ///
    /// # Panics
    /// If a slice does not fit the geometry.
    fn avg_pool_f32(
        &self,
        geometry: &PoolGeometry,
        count_include_pad: bool,
        x: &[f32],
        rows: Range<usize>,
        out: RowsMut<'_, f32>,
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

impl FloatPool for PortablePool {
    fn name(&self) -> &'static str {
        "pool.portable"
    }

    fn max_pool_f32(&self, geometry: &PoolGeometry, x: &[f32], rows: Range<usize>, out: RowsMut<'_, f32>) {
        body::max_pool_f32(geometry, x, rows, out);
    }

    fn avg_pool_f32(
        &self,
        geometry: &PoolGeometry,
        count_include_pad: bool,
        x: &[f32],
        rows: Range<usize>,
        out: RowsMut<'_, f32>,
    ) {
        body::avg_pool_f32(geometry, count_include_pad, x, rows, out);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;

    /// Folds the `N` channels from `first` on over every tap inside the image, in row-major order.
    #[inline(always)]
    fn fold<T: Copy, A: Copy, const N: usize>(
        g: &PoolGeometry,
        x: &[T],
        window: &PoolTaps,
        first: usize,
        start: A,
        step: impl Fn(A, T) -> A,
    ) -> [A; N] {
        let mut all = [start; N];
        let [depth, vertical, horizontal] = &window.taps;
        let [_, h, w] = g.input;
        for kz in 0..depth.count {
            let plane = (depth.first + kz * g.dilation[0]) * h;
            for ky in 0..vertical.count {
                let line = window.image + (plane + vertical.first + ky * g.dilation[1]) * w;
                for kx in 0..horizontal.count {
                    let at = (line + horizontal.first + kx * g.dilation[2]) * g.c + first;
                    if let Some(taps) = x[at..].first_chunk::<N>() {
                        for (value, &tap) in all.iter_mut().zip(taps) {
                            *value = step(*value, tap);
                        }
                    }
                }
            }
        }
        all
    }

    /// Calls `f(first, out)` for blocks of 64, 16 or single channels from `first` on; the last block of 64 or 16 ends
    /// with the last channel and overlaps the one before. Blocks of fixed size stay in registers.
    macro_rules! for_each_block {
        ($out:expr, $f:ident($($arg:expr),*)) => {
            let out: &mut [_] = $out;
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
    fn max_block<const N: usize>(g: &PoolGeometry, x: &[u8], window: &PoolTaps, first: usize, out: &mut [u8]) {
        out.copy_from_slice(&fold::<u8, u8, N>(g, x, window, first, 0, |a, b| if b > a { b } else { a }));
    }

    #[inline(always)]
    fn max_block_f32<const N: usize>(g: &PoolGeometry, x: &[f32], window: &PoolTaps, first: usize, out: &mut [f32]) {
        let larger = |a: f32, b: f32| if b > a || b.is_nan() { b } else { a };
        out.copy_from_slice(&fold::<f32, f32, N>(g, x, window, first, f32::NEG_INFINITY, larger));
    }

    #[inline(always)]
    fn avg_block<const N: usize>(
        g: &PoolGeometry,
        params: &AvgPoolParams<'_>,
        x: &[u8],
        window: &PoolTaps,
        first: usize,
        out: &mut [u8],
    ) {
        let sums = fold::<u8, u32, N>(g, x, window, first, 0, |sum, tap| sum.wrapping_add(u32::from(tap)));
        let factors = params.window(window);
        for (o, sum) in out.iter_mut().zip(sums) {
            *o = params.finish(sum, factors);
        }
    }

    #[inline(always)]
    fn avg_block_f32<const N: usize>(
        g: &PoolGeometry,
        count: f32,
        x: &[f32],
        window: &PoolTaps,
        first: usize,
        out: &mut [f32],
    ) {
        let sums = fold::<f32, f32, N>(g, x, window, first, 0.0, |sum, tap| sum + tap);
        for (o, sum) in out.iter_mut().zip(sums) {
            *o = sum / count;
        }
    }

    /// [`QPool::max_pool`].
    #[inline(always)]
    pub fn max_pool(geometry: &PoolGeometry, x: &[u8], rows: Range<usize>, mut out: RowsMut<'_, u8>) {
        geometry.check(x.len(), &rows);
        geometry.for_each_window(rows, |index, window| {
            for_each_block!(out.row(index, geometry.c), max_block(geometry, x, window));
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
        geometry.check(x.len(), &rows);
        params.check(geometry);
        geometry.for_each_window(rows, |index, window| {
            for_each_block!(out.row(index, geometry.c), avg_block(geometry, params, x, window));
        });
    }

    /// [`FloatPool::max_pool_f32`].
    #[inline(always)]
    pub fn max_pool_f32(geometry: &PoolGeometry, x: &[f32], rows: Range<usize>, mut out: RowsMut<'_, f32>) {
        geometry.check(x.len(), &rows);
        geometry.for_each_window(rows, |index, window| {
            for_each_block!(out.row(index, geometry.c), max_block_f32(geometry, x, window));
        });
    }

    /// [`FloatPool::avg_pool_f32`].
    #[inline(always)]
    pub fn avg_pool_f32(
        geometry: &PoolGeometry,
        count_include_pad: bool,
        x: &[f32],
        rows: Range<usize>,
        mut out: RowsMut<'_, f32>,
    ) {
        geometry.check(x.len(), &rows);
        geometry.for_each_window(rows, |index, window| {
            let count = window.counted(count_include_pad) as f32;
            for_each_block!(out.row(index, geometry.c), avg_block_f32(geometry, count, x, window));
        });
    }
}
