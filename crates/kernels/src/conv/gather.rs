//! Copying the input patches of a block of output pixels into the rows of a matrix.

use std::ops::Range;

use super::plan::ConvPlan;
use crate::SLACK;

/// Taps of one kernel row whose input bytes lie next to each other: one tap, or with all channels and no dilation
/// the whole kernel row.
#[derive(Clone, Copy)]
struct Run {
    /// First tap, and the number of taps.
    kx: usize,
    taps: usize,
    /// Bytes of one tap.
    count: usize,
}

impl Run {
    fn len(&self) -> usize {
        self.taps * self.count
    }
}

/// Bytes that copying a run of `len` bytes reads and writes: short runs are copied as one piece of fixed size, less than
/// `SLACK` longer than the run.
fn copied_len(len: usize) -> usize {
    match len {
        0..=64 => len.next_multiple_of(16),
        65..=128 => len.next_multiple_of(32),
        _ => len,
    }
}

impl ConvPlan {
    fn runs(&self, channels: &Range<usize>) -> impl Iterator<Item = Run> + use<> {
        let g = self.geometry();
        let count = channels.len();
        let kw = g.kernel[1];
        let taps = if count == g.c && g.dilation[1] == 1 { kw } else { 1 };
        (0..kw).step_by(taps).map(move |kx| Run { kx, taps, count })
    }

    /// The least distance between rows that [`ConvPlan::gather`] can fill for `channels` channels: the patch, and what
    /// copying its last run writes beyond it.
    pub fn min_patch_stride(&self, channels: usize) -> usize {
        let k = self.geometry().kernel.iter().product::<usize>() * channels;
        self.runs(&(0..channels)).last().map_or(0, |last| k - last.len() + copied_len(last.len()))
    }

    /// Writes the patches `[kh][kw][channels]` of the output pixels `rows` to `patches`, `stride` bytes apart; taps outside
    /// the image read `x_zero_point`. What lies between a patch's end and the next is left undefined.
    ///
    /// # Panics
    /// If `rows`, `channels`, the length of `x` (which includes the slack) or that of `patches` do not fit the
    /// geometry, or `stride` is below [`ConvPlan::min_patch_stride`].
    pub fn gather(
        &self,
        rows: Range<usize>,
        channels: Range<usize>,
        x: &[u8],
        x_zero_point: u8,
        patches: &mut [u8],
        stride: usize,
    ) {
        let g = self.geometry();
        assert!(rows.end <= g.rows() && channels.end <= g.c, "rows {rows:?}, channels {channels:?} of {g:?}");
        assert!(x.len() >= g.x_len() + SLACK, "x holds {} of {} + {SLACK} bytes", x.len(), g.x_len());
        assert!(stride >= self.min_patch_stride(channels.len()), "patch stride {stride} too small");
        let line = g.kernel[1] * channels.len();
        let mut row = rows.start;
        while row < rows.end {
            // The part of an output line that lies in `rows`.
            let (oy, ox) = (row / g.ow, row % g.ow);
            let (image, oy) = (oy / g.oh, oy % g.oh);
            let xs = ox..g.ow.min(ox + (rows.end - row));
            let patches = &mut patches[(row - rows.start) * stride..];
            for ky in 0..g.kernel[0] {
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).checked_sub(g.pad[0]).filter(|&iy| iy < g.h);
                for run in self.runs(&channels) {
                    let to = ky * line + run.kx * run.count;
                    match iy {
                        Some(iy) => {
                            let from = (image * g.h + iy) * g.w * g.c + channels.start;
                            self.gather_run(&run, xs.clone(), &x[from..], x_zero_point, &mut patches[to..], stride);
                        }
                        None => patches[to..].chunks_mut(stride).take(xs.len()).for_each(|patch| {
                            patch[..run.len()].fill(x_zero_point);
                        }),
                    }
                }
            }
            row += xs.len();
        }
    }

    /// Copies one run for the output columns `xs`; `line` starts at the input line, `patches` at the run in the first patch.
    fn gather_run(&self, run: &Run, xs: Range<usize>, line: &[u8], z: u8, patches: &mut [u8], stride: usize) {
        let g = self.geometry();
        // The output columns for which all taps of the run are inside.
        let (first, last) = (self.inside(run.kx), self.inside(run.kx + run.taps - 1));
        let start = first.start.max(last.start).clamp(xs.start, xs.end);
        let inside = start..first.end.min(last.end).clamp(start, xs.end);
        for ox in (xs.start..inside.start).chain(inside.end..xs.end) {
            let patch = &mut patches[(ox - xs.start) * stride..][..run.len()];
            for (tap, to) in patch.chunks_exact_mut(run.count.max(1)).enumerate() {
                let ix =
                    (ox * g.stride[1] + (run.kx + tap) * g.dilation[1]).checked_sub(g.pad[1]).filter(|&ix| ix < g.w);
                match ix {
                    Some(ix) => to.copy_from_slice(&line[ix * g.c..][..run.count]),
                    None => to.fill(z),
                }
            }
        }
        if inside.is_empty() {
            return;
        }
        let ix = inside.start * g.stride[1] + run.kx * g.dilation[1] - g.pad[1];
        let from = &line[ix * g.c..];
        let to = &mut patches[(inside.start - xs.start) * stride..];
        let steps = (g.stride[1] * g.c, stride);
        match copied_len(run.len()) {
            16 => copy_pieces::<16>(from, to, steps, inside.len()),
            32 => copy_pieces::<32>(from, to, steps, inside.len()),
            48 => copy_pieces::<48>(from, to, steps, inside.len()),
            64 => copy_pieces::<64>(from, to, steps, inside.len()),
            96 => copy_pieces::<96>(from, to, steps, inside.len()),
            128 => copy_pieces::<128>(from, to, steps, inside.len()),
            _ => {
                for i in 0..inside.len() {
                    to[i * steps.1..][..run.len()].copy_from_slice(&from[i * steps.0..][..run.len()]);
                }
            }
        }
    }
}

/// Copies `count` pieces of `N` bytes, which lie `steps` apart.
///
/// # Panics
/// If a piece does not lie within its slice.
fn copy_pieces<const N: usize>(from: &[u8], to: &mut [u8], steps: (usize, usize), count: usize) {
    let within = |len: usize, step: usize| {
        (count - 1).checked_mul(step).and_then(|last| last.checked_add(N)).is_some_and(|end| end <= len)
    };
    assert!(count > 0 && within(from.len(), steps.0) && within(to.len(), steps.1), "runs outside of x or the patches");
    for i in 0..count {
        // SAFETY: the last piece ends within both slices, hence all do; the slices cannot overlap.
        unsafe {
            let piece = from.as_ptr().add(i * steps.0).cast::<[u8; N]>();
            to.as_mut_ptr().add(i * steps.1).cast::<[u8; N]>().copy_from_nonoverlapping(piece, 1);
        }
    }
}
