//! Transposed convolution of f32 images: what each input pixel adds to each element of its window is one matrix product, then each
//! output pixel takes its share, in the order of the window's elements.

use quantc_ops::float::Mat;
use quantc_ops::float::conv::Channels;
use quantc_ops::window::Grid;

use super::product::{ProductShape, product};
use crate::{Access, Arithmetic, RunError, Slot, Source, Step, StepCx, Work};

/// Transposed convolution of f32 images, channels last.
pub struct ConvTransposeStep {
    /// Images.
    pub n: usize,
    /// Channels.
    pub channels: Channels,
    /// The convolution that this transposes: its windows are the input's pixels, its input is the result.
    pub grid: Grid,
    /// For each group `[channels.group_in(), taps, channels.group_out()]`.
    pub weights: Source,
    /// One for each output channel.
    pub bias: Option<Source>,
    /// Activations.
    pub x: Source,
    /// Memory for the products of one image, [`ConvTransposeStep::work_len`] bytes.
    pub work: Slot,
    /// Result, contiguous.
    pub out: Slot,
}

impl ConvTransposeStep {
    /// Bytes of memory for the products.
    pub fn work_len(channels: Channels, grid: &Grid) -> usize {
        grid.out_len() * grid.window.taps() * channels.output * size_of::<f32>()
    }
}

/// The input pixel whose window has element `tap` at `o` along axis `d`.
fn pixel(grid: &Grid, d: usize, o: usize, tap: usize) -> Option<usize> {
    let w = &grid.window;
    let from = (o + w.pad_begin[d]).checked_sub(tap * w.dilation[d])?;
    (from.is_multiple_of(w.stride[d])).then(|| from / w.stride[d]).filter(|&i| i < grid.output[d])
}

/// For each position along axis `d` of the result the elements that reach it, and the input pixels they come from.
fn sources(grid: &Grid, d: usize, o: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..grid.window.kernel[d]).filter_map(move |tap| pixel(grid, d, o, tap).map(|i| (tap, i)))
}

impl Step for ConvTransposeStep {
    fn kernel(&self) -> &'static str {
        "gemm"
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in [Some(&self.x), Some(&self.weights), self.bias.as_ref()].into_iter().flatten() {
            if let Some(slot) = slot.slot() {
                visit(Access::Read, slot);
            }
        }
        visit(Access::Write, &self.work);
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        let products = self.channels.group_out() * self.grid.window.taps();
        Work::reading([&self.x, &self.weights].into_iter().chain(&self.bias))
            .multiplying(Arithmetic::Float, self.n * self.grid.out_len() * self.channels.input * products)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [work, out], mut workers) = cx.split([&self.work, &self.out]);
        let (x, w): (&[f32], &[f32]) = (reads.elements(&self.x), reads.elements(&self.weights));
        let bias = self.bias.as_ref().map(|b| reads.elements::<f32>(b));
        let (work, out): (&mut [f32], &mut [f32]) = (bytemuck::cast_slice_mut(work), bytemuck::cast_slice_mut(out));
        let (grid, ch) = (&self.grid, self.channels);
        let (group_in, group_out, taps) = (ch.group_in(), ch.group_out(), grid.window.taps());
        let [_, kh, kw] = grid.window.kernel;
        let [_, in_h, in_w] = grid.output;
        let [_, out_h, out_w] = grid.input;
        // One input pixel's products: for each group [taps, group_out].
        let columns = taps * group_out;
        let row = columns * ch.groups;
        let cost = ch.output * taps / 4;
        for i in 0..self.n {
            let x = &x[i * grid.out_len() * ch.input..][..grid.out_len() * ch.input];
            for (g, w) in w.chunks_exact((group_in * columns).max(1)).enumerate() {
                let a = Mat { data: x.get(g * group_in..).unwrap_or(&[]), row_stride: ch.input, col_stride: 1 };
                let shape = ProductShape { m: grid.out_len(), n: columns, k: group_in, out_stride: row };
                product(&mut workers, shape, a, Mat::rows(w, columns), None, &mut work[g * columns..]);
            }
            let parts = &*work;
            let out = &mut out[i * grid.in_len() * ch.output..][..grid.in_len() * ch.output];
            workers.rows(grid.in_len(), 1, cost, out, ch.output, |pixels, out, _| {
                for (pixel, acc) in pixels.zip(out.chunks_exact_mut(ch.output.max(1))) {
                    let (d, h, v) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
                    acc.fill(0.0);
                    for (td, id) in sources(grid, 0, d) {
                        for (th, ih) in sources(grid, 1, h) {
                            for (tw, iw) in sources(grid, 2, v) {
                                let (tap, from) = ((td * kh + th) * kw + tw, (id * in_h + ih) * in_w + iw);
                                let part = &parts[from * row + tap * group_out..];
                                for (g, acc) in acc.chunks_exact_mut(group_out.max(1)).enumerate() {
                                    let part = &part[g * columns..][..group_out];
                                    acc.iter_mut().zip(part).for_each(|(a, p)| *a += p);
                                }
                            }
                        }
                    }
                    if let Some(bias) = bias {
                        acc.iter_mut().zip(bias).for_each(|(a, b)| *a += b);
                    }
                }
            });
        }
        Ok(())
    }
}
