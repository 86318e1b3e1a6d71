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

    /// Calls `tap(index, offset)` for the taps of output pixel `row` in order; `offset` is that of the input pixel's first
    /// channel in elements, none outside the image.
    ///
    /// # Panics
    /// If `row` is not below `geometry.rows()`.
    #[inline(always)]
    pub fn for_each_tap(&self, row: usize, mut tap: impl FnMut(usize, Option<usize>)) {
        let g = &self.geometry;
        let (image, y, x) = self.windows_of(row);
        let [kh, kw] = g.kernel;
        let columns = x.inside.0..x.inside.1;
        for ky in 0..kh {
            let row_inside = (y.inside.0..y.inside.1).contains(&ky);
            let iy = y.start + (ky * g.dilation[0]) as isize;
            for kx in 0..kw {
                let inside = row_inside && columns.contains(&kx);
                let ix = x.start + (kx * g.dilation[1]) as isize;
                tap(ky * kw + kx, inside.then(|| (image + iy as usize * g.w + ix as usize) * g.c));
            }
        }
    }

    /// Calls `run(k, source, len)` for the runs of contiguous input bytes that output pixel `row` reads for `group`: `len`
    /// bytes of the patch `[kh][kw][c / groups]` from element `k` on come from `x[source..]`, or from the zero
    /// point where there is no source. The runs cover the patch in order.
    ///
    /// # Panics
    /// If `row` is not below `geometry.rows()`.
    #[inline(always)]
    pub fn for_each_run(&self, row: usize, group: usize, mut run: impl FnMut(usize, Option<usize>, usize)) {
        let g = &self.geometry;
        let (image, y, x) = self.windows_of(row);
        let cg = g.c / g.groups;
        let [kh, kw] = g.kernel;
        let line = kw * cg;
        let contiguous = g.groups == 1 && g.dilation[1] == 1;
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
                (image + iy * g.w + ix) * g.c + group * cg
            };
            if left > 0 {
                run(k, None, left * cg);
            }
            if contiguous {
                run(k + left * cg, Some(source(left)), (right - left) * cg);
            } else {
                for kx in left..right {
                    run(k + kx * cg, Some(source(kx)), cg);
                }
            }
            if right < kw {
                run(k + right * cg, None, (kw - right) * cg);
            }
        }
    }

    /// The first pixel of the row's image, and its windows.
    #[inline(always)]
    fn windows_of(&self, row: usize) -> (usize, Window, Window) {
        let g = &self.geometry;
        let pixels = g.oh * g.ow;
        let (image, pixel) = (row / pixels, row % pixels);
        (image * g.h * g.w, self.y[pixel / g.ow], self.x[pixel % g.ow])
    }

    /// Copies the patch `[kh][kw][c / groups]` of output pixel `row` to the front of `patch`.
    pub(crate) fn gather(&self, row: usize, group: usize, x: &[u8], x_zero_point: u8, patch: &mut [u8]) {
        self.for_each_run(row, group, |k, source, len| match source {
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
