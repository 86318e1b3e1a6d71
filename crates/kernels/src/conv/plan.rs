//! The tables that turn an output pixel into input addresses.

use std::ops::Range;

use super::blocking::Blocking;
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
    blocking: Blocking,
    y: Vec<Window>,
    x: Vec<Window>,
    /// For each tap of a kernel row, the output columns that read it inside the image.
    inside: Vec<Range<usize>>,
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
    /// Tables for a geometry, with the blocking for this machine.
    ///
    /// # Errors
    /// If the geometry is not valid.
    pub fn new(geometry: ConvGeometry) -> Result<Self, GeometryError> {
        geometry.validate()?;
        let ConvGeometry { h, w, oh, ow, kernel, stride, dilation, pad, .. } = geometry;
        let y = windows(oh, h, kernel[0], stride[0], dilation[0], pad[0]);
        let x = windows(ow, w, kernel[1], stride[1], dilation[1], pad[1]);
        let inside = (0..kernel[1])
            .map(|kx| {
                let offset = kx * dilation[1];
                let end = (w + pad[1]).saturating_sub(offset).div_ceil(stride[1]).min(ow);
                pad[1].saturating_sub(offset).div_ceil(stride[1]).min(end)..end
            })
            .collect();
        Ok(ConvPlan { geometry, blocking: Blocking::default(), y, x, inside })
    }

    /// The same with another blocking. Scratch memory depends on it.
    pub fn with_blocking(self, blocking: Blocking) -> Self {
        ConvPlan { blocking, ..self }
    }

    /// The blocking.
    pub fn blocking(&self) -> Blocking {
        self.blocking
    }

    /// The geometry.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The output columns for which tap `kx` of a kernel row lies inside the image.
    pub(super) fn inside(&self, kx: usize) -> Range<usize> {
        self.inside[kx].clone()
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
        assert!(row < g.rows(), "row {row} of {}", g.rows());
        let (line, x) = (row / g.ow, self.x[row % g.ow]);
        let (image, y) = (line / g.oh, self.y[line % g.oh]);
        let [kh, kw] = g.kernel;
        for ky in 0..kh {
            let row_inside = (y.inside.0..y.inside.1).contains(&ky);
            let iy = y.start + (ky * g.dilation[0]) as isize;
            for kx in 0..kw {
                let inside = row_inside && (x.inside.0..x.inside.1).contains(&kx);
                let ix = x.start + (kx * g.dilation[1]) as isize;
                let pixel = || (image * g.h + iy as usize) * g.w + ix as usize;
                tap(ky * kw + kx, inside.then(|| pixel() * g.c));
            }
        }
    }

    /// `rows` cut into pieces of at most `size`.
    pub(crate) fn tiles(rows: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
        let end = rows.end;
        rows.step_by(size).map(move |start| start..end.min(start + size))
    }
}
