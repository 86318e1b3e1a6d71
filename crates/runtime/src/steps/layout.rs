//! Steps that move elements: changes of memory order, with or without conversion, and strided copies.

use quantc_kernels::layout::Layout;
use quantc_kernels::{DequantizeParams, Quantize, QuantizeParams, RowsMut, SLACK};

use super::dynamic::dynamic_params;
use crate::{Access, RunError, Slot, Source, Step, StepCx, Work};

/// Quantizes `[n][channels][plane]` f32 into `[n][plane][channels]` u8.
pub struct QuantizeToNhwcStep {
    /// Kernel.
    pub kernel: &'static dyn Quantize,
    /// Parameters.
    pub params: QuantizeParams,
    /// Images.
    pub n: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of an image.
    pub plane: usize,
    /// f32.
    pub x: Source,
    /// u8.
    pub out: Slot,
}

impl Step for QuantizeToNhwcStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let x: &[f32] = reads.elements(&self.x);
        let (c, plane) = (self.channels, self.plane);
        for i in 0..self.n {
            let (image, out) = (&x[i * c * plane..][..c * plane], &mut out[i * c * plane..][..c * plane]);
            workers.rows(plane, 64, c, out, c, |pixels, out, _| {
                self.kernel.quantize_to_nhwc(&self.params, image, c, pixels, RowsMut::new(out, c));
            });
        }
        Ok(())
    }
}

/// Dequantizes `[n][plane][channels]` u8 into `[n][channels][plane]` f32.
pub struct DequantizeToNchwStep {
    /// Kernel.
    pub kernel: &'static dyn Quantize,
    /// Parameters.
    pub params: DequantizeParams,
    /// Images.
    pub n: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of an image.
    pub plane: usize,
    /// u8.
    pub x: Source,
    /// f32.
    pub out: Slot,
}

impl Step for DequantizeToNchwStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (x, out): (&[u8], &mut [f32]) = (reads.elements(&self.x), bytemuck::cast_slice_mut(out));
        let (c, plane) = (self.channels, self.plane);
        for i in 0..self.n {
            let (image, out) = (&x[i * c * plane..][..c * plane], &mut out[i * c * plane..][..c * plane]);
            workers.rows(c, 1, plane, out, plane, |channels, out, _| {
                self.kernel.dequantize_to_nchw(&self.params, image, c, channels, out);
            });
        }
        Ok(())
    }
}

/// Permutes the axes of a contiguous tensor of 1- or 4-byte elements.
pub struct PermuteStep {
    /// Kernel.
    pub kernel: &'static dyn Layout,
    /// Bytes of an element: 1 or 4.
    pub element: usize,
    /// Sizes of the input, in its order in memory.
    pub shape: Vec<usize>,
    /// Axis `i` of the result is axis `permutation[i]` of the input.
    pub permutation: Vec<usize>,
    /// Input.
    pub x: Source,
    /// Result.
    pub out: Slot,
}

impl Step for PermuteStep {
    fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], _) = cx.split([&self.out]);
        if self.element == 1 {
            self.kernel.permute_u8(&self.shape, &self.permutation, reads.elements(&self.x), out);
        } else {
            let out = bytemuck::cast_slice_mut(out);
            self.kernel.permute_f32(&self.shape, &self.permutation, reads.elements(&self.x), out);
        }
        Ok(())
    }
}

/// One loop of a strided copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Iterations.
    pub count: usize,
    /// Bytes between them in the source; negative walks backwards, 0 repeats.
    pub from: isize,
    /// Bytes between them in the result.
    pub to: usize,
}

/// What fills the result of a copy before anything is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fill {
    /// The bytes of one element.
    Element(Vec<u8>),
    /// The zero point that a [`super::DynamicQuantizeStep`] leaves in this slot.
    ZeroPoint(Slot),
}

/// Copies blocks of bytes under a nest of loops: concatenation, slices, padding, broadcasts.
pub struct CopyStep {
    /// Input.
    pub x: Source,
    /// First byte read.
    pub start: usize,
    /// Loops, outermost first.
    pub loops: Vec<Loop>,
    /// Bytes copied at a time.
    pub block: usize,
    /// The part of the result from the first byte written on.
    pub out: Slot,
    /// First byte written, within `out`.
    pub out_start: usize,
    /// What fills `out` first (padding).
    pub fill: Option<Fill>,
}

impl Step for CopyStep {
    fn kernel(&self) -> &'static str {
        "copy"
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        if let Some(Fill::ZeroPoint(params)) = &self.fill {
            visit(Access::Read, params);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        let copied: usize = self.loops.iter().map(|l| l.count).product::<usize>() * self.block;
        let skipped = if self.fill.is_some() { 0 } else { self.out.len.saturating_sub(copied) };
        Work {
            constants: Work::reading([&self.x]).constants.min(copied as u64),
            skipped: skipped as u64,
            ..Work::default()
        }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], _) = cx.split([&self.out]);
        let bytes = reads.bytes(&self.x);
        let x = &bytes[..bytes.len() - SLACK];
        match &self.fill {
            None => {}
            Some(Fill::ZeroPoint(params)) => out.fill(dynamic_params(reads.slot(params)).1),
            Some(Fill::Element(element)) => match element[..] {
                [byte] => out.fill(byte),
                _ => out.chunks_exact_mut(element.len().max(1)).for_each(|chunk| chunk.copy_from_slice(element)),
            },
        }
        if self.loops.iter().all(|l| l.count > 0) {
            nest(x, self.start as isize, out, self.out_start, &self.loops, self.block);
        }
        Ok(())
    }
}

fn nest(x: &[u8], from: isize, out: &mut [u8], to: usize, loops: &[Loop], block: usize) {
    match loops {
        [] => out[to..to + block].copy_from_slice(&x[from as usize..from as usize + block]),
        // Single elements: a copy of a size known here is one move.
        [last] if block == 1 => elements::<1>(x, from, out, to, last),
        [last] if block == 4 => elements::<4>(x, from, out, to, last),
        [last] if block == 8 => elements::<8>(x, from, out, to, last),
        [first, rest @ ..] => {
            for i in 0..first.count {
                nest(x, from + i as isize * first.from, out, to + i * first.to, rest, block);
            }
        }
    }
}

/// The innermost loop, of blocks of `N` bytes.
fn elements<const N: usize>(x: &[u8], from: isize, out: &mut [u8], to: usize, l: &Loop) {
    for i in 0..l.count {
        let at = (from + i as isize * l.from) as usize;
        if let (Some(x), Some(out)) = (x[at..].first_chunk::<N>(), out[to + i * l.to..].first_chunk_mut::<N>()) {
            *out = *x;
        }
    }
}
