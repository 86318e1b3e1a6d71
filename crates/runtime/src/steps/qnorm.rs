//! Normalisations of codes by statistics of their own: each block of consecutive elements is dequantized, normalised and quantized again.

use std::ops::Range;

use quantc_kernels::{DequantizeParams, Float, LayerNormParams, Operand, Quantize, QuantizeParams, RowsMut};

use crate::{Access, RunError, Slot, Source, Step, StepCx, Work};

/// What factor and term belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormParameters {
    /// Each element of a block has its own.
    Element,
    /// Each plane of so many elements has one; planes are numbered through `channels`.
    Plane {
        /// Elements of a plane.
        len: usize,
        /// Planes after which the parameters repeat.
        channels: usize,
    },
}

/// `quantize(normalise(dequantize(block)) * gamma + beta)` for blocks that lie one after another.
pub struct QNormStep {
    /// Normalises.
    pub float: &'static dyn Float,
    /// Converts.
    pub quantize: &'static dyn Quantize,
    /// Number of blocks.
    pub blocks: usize,
    /// Elements of a block.
    pub len: usize,
    /// Of the input.
    pub x_params: DequantizeParams,
    /// Of the result.
    pub out_params: QuantizeParams,
    /// What factor and term belong to.
    pub parameters: NormParameters,
    /// Factors, f32.
    pub gamma: Option<Source>,
    /// Terms, f32.
    pub beta: Option<Source>,
    /// Added to the variance.
    pub eps: f32,
    /// Codes.
    pub x: Source,
    /// Result.
    pub out: Slot,
}

/// Factors and terms where they lie.
#[derive(Clone, Copy)]
struct Affine<'a> {
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
}

impl QNormStep {
    /// Applies the parameters of planes to a block that starts with plane `first`.
    fn planes(block: &mut [f32], len: usize, channels: usize, first: usize, affine: Affine<'_>) {
        for (i, plane) in block.chunks_exact_mut(len.max(1)).enumerate() {
            let channel = (first + i) % channels;
            if let Some(gamma) = affine.gamma {
                plane.iter_mut().for_each(|v| *v *= gamma[channel]);
            }
            if let Some(beta) = affine.beta {
                plane.iter_mut().for_each(|v| *v += beta[channel]);
            }
        }
    }

    fn run_blocks(&self, blocks: Range<usize>, x: &[u8], affine: Affine<'_>, out: &mut [u8], scratch: &mut [u8]) {
        let (bytes, len) = (self.len * size_of::<f32>(), self.len);
        let (real, normalised) = scratch[..2 * bytes].split_at_mut(bytes);
        let (real, normalised): (&mut [f32], &mut [f32]) =
            (bytemuck::cast_slice_mut(real), bytemuck::cast_slice_mut(normalised));
        for (block, out) in blocks.zip(out.chunks_exact_mut(len)) {
            let codes = Operand::rows(&x[block * len..][..len], len);
            self.quantize.dequantize(&self.x_params, 0..1, len, codes, RowsMut::new(real, len));
            let by_element = self.parameters == NormParameters::Element;
            let params = LayerNormParams {
                gamma: affine.gamma.filter(|_| by_element),
                beta: affine.beta.filter(|_| by_element),
                eps: self.eps,
            };
            self.float.layer_norm(&params, 0..1, len, Operand::rows(real, len), RowsMut::new(normalised, len));
            if let NormParameters::Plane { len: plane, channels } = self.parameters {
                QNormStep::planes(normalised, plane, channels, block * (len / plane.max(1)), affine);
            }
            self.quantize.quantize(&self.out_params, 0..1, len, Operand::rows(normalised, len), RowsMut::new(out, len));
        }
    }
}

impl Step for QNormStep {
    fn kernel(&self) -> &'static str {
        self.float.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in
            [Some(&self.x), self.gamma.as_ref(), self.beta.as_ref()].into_iter().flatten().filter_map(Source::slot)
        {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn scratch_len(&self) -> usize {
        2 * self.len * size_of::<f32>()
    }

    fn work(&self) -> Work {
        Work::reading([Some(&self.x), self.gamma.as_ref(), self.beta.as_ref()].into_iter().flatten())
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let x: &[u8] = reads.elements(&self.x);
        let of = |source| reads.elements::<f32>(source);
        let affine = Affine { gamma: self.gamma.as_ref().map(of), beta: self.beta.as_ref().map(of) };
        workers.rows(self.blocks, 1, 8 * self.len, out, self.len, |blocks, out, scratch| {
            self.run_blocks(blocks, x, affine, out, scratch);
        });
        Ok(())
    }
}
