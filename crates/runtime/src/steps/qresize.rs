//! Resampling of channels-last images of codes: the nearest pixel copied, or neighbours blended in real numbers.

use std::sync::Arc;

use quantc_kernels::{DequantizeParams, Operand, Quantize, QuantizeParams, RowsMut};
use quantc_ops::float::resize::{Neighbour, blend, resample_row};

use crate::{Access, RunError, Slot, Source, Step, StepCx, Work};

/// Copies for each pixel of the result one of the input.
pub struct NearestStep {
    /// Images.
    pub images: usize,
    /// Pixels of an image of the input.
    pub pixels: usize,
    /// For each pixel of an image of the result the one copied.
    pub picked: Arc<[u32]>,
    /// Bytes of a pixel.
    pub bytes: usize,
    /// Input.
    pub x: Source,
    /// Result.
    pub out: Slot,
}

impl Step for NearestStep {
    fn kernel(&self) -> &'static str {
        "resize"
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        let read = Work::reading([&self.x]);
        Work { constants: read.constants + size_of_val(&*self.picked) as u64, ..read }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (x, bytes, count): (&[u8], usize, usize) = (reads.elements(&self.x), self.bytes, self.picked.len());
        workers.rows(self.images * count, 1, bytes, out, bytes, |rows, out, _| {
            for (row, out) in rows.zip(out.chunks_exact_mut(bytes)) {
                let from = row / count * self.pixels + self.picked[row % count] as usize;
                out.copy_from_slice(&x[from * bytes..][..bytes]);
            }
        });
        Ok(())
    }
}

/// One spatial axis that is resampled linearly.
#[derive(Clone, Debug)]
pub struct LinearAxis {
    /// Its size in the input.
    pub input: usize,
    /// What each place of the result is made of.
    pub neighbours: Arc<[Neighbour]>,
}

/// Blends neighbours along one to three axes, each row of the result from the rows of the input it needs: `quantize(blend(dequantize(x)))`.
pub struct QLinearResizeStep {
    /// Converts.
    pub quantize: &'static dyn Quantize,
    /// Images.
    pub images: usize,
    /// Spatial axes, the outermost first.
    pub axes: Vec<LinearAxis>,
    /// Channels.
    pub channels: usize,
    /// Of the input.
    pub x_params: DequantizeParams,
    /// Of the result.
    pub out_params: QuantizeParams,
    /// Codes.
    pub x: Source,
    /// Result.
    pub out: Slot,
}

impl QLinearResizeStep {
    fn input_row(&self) -> usize {
        self.axes.last().map_or(0, |a| a.input) * self.channels
    }

    fn out_row(&self) -> usize {
        self.axes.last().map_or(0, |a| a.neighbours.len()) * self.channels
    }

    /// The axes whose rows are blended: all but the innermost.
    fn outer(&self) -> &[LinearAxis] {
        self.axes.split_last().map_or(&[], |(_, outer)| outer)
    }

    /// A row of the input, resampled along the innermost axis.
    fn line(&self, x: &[u8], row: usize, real: &mut [f32], out: &mut [f32]) {
        let width = self.input_row();
        let codes = Operand::rows(&x[row * width..][..width], width);
        self.quantize.dequantize(&self.x_params, 0..1, width, codes, RowsMut::new(real, width));
        if let Some(axis) = self.axes.last() {
            resample_row(real, self.channels, &axis.neighbours, out);
        }
    }

    /// Row `row` of all images of the result into `memory.sum`.
    fn row(&self, x: &[u8], row: usize, memory: &mut Memory<'_>) {
        let Memory { real, sum, line, plane } = memory;
        match self.outer() {
            [] => self.line(x, row, real, sum),
            [y] => {
                let (image, place) = (row / y.neighbours.len(), row % y.neighbours.len());
                self.blended(x, image * y.input, y.neighbours[place], real, sum, line);
            }
            [z, y, ..] => {
                let (place, slice) = (row % y.neighbours.len(), row / y.neighbours.len());
                let (image, depth) = (slice / z.neighbours.len(), slice % z.neighbours.len());
                let Neighbour { low, high, part } = z.neighbours[depth];
                let first = |slice: usize| (image * z.input + slice) * y.input;
                self.blended(x, first(low), y.neighbours[place], real, sum, line);
                self.blended(x, first(high), y.neighbours[place], real, plane, line);
                blend(sum, plane, part);
            }
        }
    }

    /// Two rows from `first` on, blended.
    fn blended(&self, x: &[u8], first: usize, of: Neighbour, real: &mut [f32], out: &mut [f32], line: &mut [f32]) {
        self.line(x, first + of.low, real, out);
        self.line(x, first + of.high, real, line);
        blend(out, line, of.part);
    }
}

/// Memory for one row of the result.
struct Memory<'a> {
    /// A row of the input.
    real: &'a mut [f32],
    sum: &'a mut [f32],
    line: &'a mut [f32],
    plane: &'a mut [f32],
}

impl Step for QLinearResizeStep {
    fn kernel(&self) -> &'static str {
        self.quantize.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        (self.input_row() + 3 * self.out_row()) * size_of::<f32>()
    }

    fn work(&self) -> Work {
        let read = Work::reading([&self.x]);
        let tables: usize = self.axes.iter().map(|a| size_of_val(&*a.neighbours)).sum();
        Work { constants: read.constants + tables as u64, ..read }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (x, width): (&[u8], usize) = (reads.elements(&self.x), self.out_row());
        let rows = self.images * self.outer().iter().map(|a| a.neighbours.len()).product::<usize>();
        workers.rows(rows, 1, 8 * width, out, width, |rows, out, scratch| {
            let scratch: &mut [f32] = bytemuck::cast_slice_mut(&mut scratch[..self.scratch_len()]);
            let (real, rest) = scratch.split_at_mut(self.input_row());
            let (sum, rest) = rest.split_at_mut(width);
            let (line, plane) = rest.split_at_mut(width);
            let mut memory = Memory { real, sum, line, plane };
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                self.row(x, row, &mut memory);
                let real = Operand::rows(memory.sum, width);
                self.quantize.quantize(&self.out_params, 0..1, width, real, RowsMut::new(out, width));
            }
        });
        Ok(())
    }
}
