//! Float convolution, linear layers and matrix products: the functions that the reference evaluation calls, or ones that sum in
//! the same order.

use quantc_ops::float::Mat;
use quantc_ops::float::conv::{Channels, conv_nhwc_rows, conv_nhwc_scratch};
use quantc_ops::window::Grid;

use super::product::{ProductShape, product};
use crate::{Access, Arithmetic, RunError, Slot, Source, Step, StepCx, Work};

/// The name of the float products' kernel: the `gemm` crate chooses the instructions itself.
const KERNEL: &str = "gemm";

/// Convolution of f32 images, channels last.
pub struct FloatConvStep {
    /// Images.
    pub n: usize,
    /// Channels.
    pub channels: Channels,
    /// The windows.
    pub grid: Grid,
    /// Weights, packed by [`quantc_ops::float::conv::pack_weights_nhwc`].
    pub weights: Source,
    /// One for each output channel.
    pub bias: Option<Source>,
    /// Activations.
    pub x: Source,
    /// Result, contiguous.
    pub out: Slot,
}

impl Step for FloatConvStep {
    fn kernel(&self) -> &'static str {
        if self.channels.is_depthwise() { "depthwise" } else { KERNEL }
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in [Some(&self.x), Some(&self.weights), self.bias.as_ref()].into_iter().flatten() {
            if let Some(slot) = slot.slot() {
                visit(Access::Read, slot);
            }
        }
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        conv_nhwc_scratch(self.channels, &self.grid) * size_of::<f32>()
    }

    fn work(&self) -> Work {
        let (windows, products) = (self.grid.out_len(), self.channels.group_in() * self.grid.window.taps());
        Work::reading([&self.x, &self.weights].into_iter().chain(&self.bias))
            .multiplying(Arithmetic::Float, self.n * windows * self.channels.output * products)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (x, w): (&[f32], &[f32]) = (reads.elements(&self.x), reads.elements(&self.weights));
        let bias = self.bias.as_ref().map(|b| reads.elements(b));
        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
        let (grid, channels) = (&self.grid, self.channels);
        let lines = grid.output[0] * grid.output[1];
        let line = grid.output[2] * channels.output;
        let (in_len, out_len) = (grid.in_len() * channels.input, grid.out_len() * channels.output);
        let cost = line * channels.group_in() * grid.window.taps() / 8;
        let scratch_len = conv_nhwc_scratch(channels, grid);
        for i in 0..self.n {
            let (x, out) = (&x[i * in_len..][..in_len], &mut out[i * out_len..][..out_len]);
            workers.rows(lines, 1, cost, out, line, |rows, out, scratch| {
                let scratch = &mut bytemuck::cast_slice_mut(scratch)[..scratch_len];
                conv_nhwc_rows(x, w, bias, channels, grid, rows, scratch, out);
            });
        }
        Ok(())
    }
}

/// A float matrix within an operand: strides in elements.
#[derive(Clone, Debug)]
pub struct MatrixOperand {
    /// Where.
    pub source: Source,
    /// From one row to the next.
    pub row_stride: usize,
    /// From one column to the next.
    pub col_stride: usize,
}

/// Float matrix products, one for each batch index: `out = a * b + bias`.
pub struct SgemmStep {
    /// Rows of `a`.
    pub m: usize,
    /// Columns of `b`.
    pub n: usize,
    /// Depth.
    pub k: usize,
    /// Left.
    pub a: MatrixOperand,
    /// Right.
    pub b: MatrixOperand,
    /// For each product: first elements of `a`, `b` and the result.
    pub batches: Vec<[usize; 3]>,
    /// One for each column.
    pub bias: Option<Source>,
    /// Result.
    pub out: Slot,
    /// Elements from one row of the result to the next.
    pub out_stride: usize,
}

impl Step for SgemmStep {
    fn kernel(&self) -> &'static str {
        KERNEL
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for source in [Some(&self.a.source), Some(&self.b.source), self.bias.as_ref()].into_iter().flatten() {
            if let Some(slot) = source.slot() {
                visit(Access::Read, slot);
            }
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        Work::reading([&self.a.source, &self.b.source].into_iter().chain(&self.bias))
            .multiplying(Arithmetic::Float, self.batches.len() * self.m * self.n * self.k)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (a, b): (&[f32], &[f32]) = (reads.elements(&self.a.source), reads.elements(&self.b.source));
        let bias = self.bias.as_ref().map(|b| &reads.elements::<f32>(b)[..self.n]);
        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
        let (n, k, stride) = (self.n, self.k, self.out_stride);
        for &[a_at, b_at, out_at] in &self.batches {
            let left = Mat { data: &a[a_at..], row_stride: self.a.row_stride, col_stride: self.a.col_stride };
            let right = Mat { data: &b[b_at..], row_stride: self.b.row_stride, col_stride: self.b.col_stride };
            let shape = ProductShape { m: self.m, n, k, out_stride: stride };
            product(&mut workers, shape, left, right, bias, &mut out[out_at..]);
        }
        Ok(())
    }
}
