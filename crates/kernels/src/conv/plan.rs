//! The tables that turn an output pixel into input addresses.

use std::ops::Range;

use super::geometry::{ConvGeometry, GeometryError};

/// One output coordinate along one axis: the first input coordinate (may lie in the padding) and the taps
/// that fall inside the image, always an interval.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: isize,
    inside: (usize, usize),
}

/// The place of an output pixel of a [`ConvPlan`].
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    image: usize,
    y: usize,
    x: usize,
}

impl Cursor {
    /// Moves to the next output pixel of the plan that made this cursor.
    #[inline(always)]
    pub fn advance(&mut self, plan: &ConvPlan) {
        self.x += 1;
        if self.x == plan.x.len() {
            self.x = 0;
            self.y += 1;
            if self.y == plan.y.len() {
                self.y = 0;
                self.image += 1;
            }
        }
    }
}

/// What a kernel needs to know about a geometry, computed once so that running allocates nothing.
#[derive(Clone, Debug)]
pub struct ConvPlan {
    geometry: ConvGeometry,
    y: Vec<Window>,
    x: Vec<Window>,
}

/// The windows along one axis.
fn windows(out: usize, size: usize, kernel: usize, stride: usize, dilation: usize, pad: usize) -> Vec<Window> {
    (0..out)
        .map(|o| {
            // Distances before and after the image's edges, in taps, rounded up.
            let start = o * stride;
            let first = pad.saturating_sub(start).div_ceil(dilation).min(kernel);
            let last = (size + pad).saturating_sub(start).div_ceil(dilation).min(kernel);
            Window { start: start as isize - pad as isize, inside: (first.min(last), last) }
        })
        .collect()
}

impl ConvPlan {
    /// Tables for a geometry.
    ///
    /// # Errors
    /// If the geometry is not valid.
    pub fn new(geometry: ConvGeometry) -> Result<Self, GeometryError> {
        geometry.validate()?;
        let ConvGeometry { h, w, oh, ow, kernel, stride, dilation, pad, .. } = geometry;
        let y = windows(oh, h, kernel[0], stride[0], dilation[0], pad[0]);
        let x = windows(ow, w, kernel[1], stride[1], dilation[1], pad[1]);
        Ok(ConvPlan { geometry, y, x })
    }

    /// The geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Whether output pixel `p` reads the input pixel `p` and nothing else: the input is the GEMM's left matrix.
    pub fn is_pointwise(&self) -> bool {
        let g = &self.geometry;
        g.kernel == [1, 1] && g.stride == [1, 1] && g.pad == [0; 4]
    }

    /// The place of output pixel `row`.
    ///
    /// # Panics
    /// If `row` is not below `geometry.rows()`.
    #[inline]
    pub fn cursor(&self, row: usize) -> Cursor {
        let g = &self.geometry;
        assert!(row < g.rows(), "row {row} of {}", g.rows());
        let (line, x) = (row / g.ow, row % g.ow);
        Cursor { image: line / g.oh, y: line % g.oh, x }
    }

    /// Calls `tap(index, offset)` for the taps of output pixel `row` in order; `offset` is that of the input pixel's first
    /// channel in elements, none outside the image.
    ///
    /// # Panics
    /// If `row` is not below `geometry.rows()`.
    #[inline(always)]
    pub fn for_each_tap(&self, row: usize, mut tap: impl FnMut(usize, Option<usize>)) {
        let g = &self.geometry;
        let cursor = self.cursor(row);
        let (y, x) = (self.y[cursor.y], self.x[cursor.x]);
        let [kh, kw] = g.kernel;
        for ky in 0..kh {
            let row_inside = (y.inside.0..y.inside.1).contains(&ky);
            let iy = y.start + (ky * g.dilation[0]) as isize;
            for kx in 0..kw {
                let inside = row_inside && (x.inside.0..x.inside.1).contains(&kx);
                let ix = x.start + (kx * g.dilation[1]) as isize;
                let pixel = || (cursor.image * g.h + iy as usize) * g.w + ix as usize;
                tap(ky * kw + kx, inside.then(|| pixel() * g.c));
            }
        }
    }

    /// Calls `run(k, source, len)` for the runs of contiguous input bytes that the output pixel reads of `channels`: `len`
    /// bytes of the patch `[kh][kw][channels]` from element `k` on come from `x[source..]`, or from the zero point where
    /// there is no source. The runs cover the patch in order; every source lies within the input.
    #[inline(always)]
    pub fn for_each_run(
        &self,
        cursor: &Cursor,
        channels: &Range<usize>,
        mut run: impl FnMut(usize, Option<usize>, usize),
    ) {
        let g = &self.geometry;
        assert!(channels.start <= channels.end && channels.end <= g.c, "channels {channels:?} of {}", g.c);
        let (y, x) = (self.y[cursor.y], self.x[cursor.x]);
        let count = channels.len();
        let [kh, kw] = g.kernel;
        let line = kw * count;
        let contiguous = count == g.c && g.dilation[1] == 1;
        let (left, right) = x.inside;
        for ky in 0..kh {
            let k = ky * line;
            if !(y.inside.0..y.inside.1).contains(&ky) || left == right {
                run(k, None, line);
                continue;
            }
            let iy = (y.start + (ky * g.dilation[0]) as isize) as usize;
            let source = |kx: usize| {
                let ix = (x.start + (kx * g.dilation[1]) as isize) as usize;
                ((cursor.image * g.h + iy) * g.w + ix) * g.c + channels.start
            };
            if left > 0 {
                run(k, None, left * count);
            }
            if contiguous {
                run(k + left * count, Some(source(left)), (right - left) * count);
            } else {
                for kx in left..right {
                    run(k + kx * count, Some(source(kx)), count);
                }
            }
            if right < kw {
                run(k + right * count, None, (kw - right) * count);
            }
        }
    }

    /// Copies the patch `[kh][kw][channels]` of the output pixel to the front of `patch`.
    pub(crate) fn gather(&self, at: &Cursor, channels: &Range<usize>, x: &[u8], x_zero_point: u8, patch: &mut [u8]) {
        self.for_each_run(at, channels, |k, source, len| match source {
            Some(source) => patch[k..k + len].copy_from_slice(&x[source..source + len]),
            None => patch[k..k + len].fill(x_zero_point),
        });
    }

    /// `rows` cut into pieces of at most `size`.
    pub(crate) fn tiles(rows: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
        let end = rows.end;
        rows.step_by(size).map(move |start| start..end.min(start + size))
    }
}
