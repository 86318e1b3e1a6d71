//! Elementwise, normalising and converting steps: rows in, rows out.

use bytemuck::Pod;
use quantc_kernels::{
    AddParams, AffineParams, BinaryOp, DequantizeParams, Elementwise, Float, LayerNormParams, MulParams, Operand,
    Quantize, QuantizeParams, ReduceOp, RowsMut, UnaryOp,
};

use crate::{Access, Reads, RunError, Slot, Source, Step, StepCx, Work, Workers};

/// Which row of an operand a row of the result reads (see [`Operand`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Elements from one row to the next; 0 for one row that all read.
    pub stride: usize,
    /// Rows of the result that read the same row in turn.
    pub repeat: usize,
    /// Whether a row is one element.
    pub splat: bool,
}

/// An operand of a row-wise step.
#[derive(Clone, Debug)]
pub struct RowOperand {
    /// Where it lies.
    pub source: Source,
    /// How it is read.
    pub pattern: Pattern,
}

impl RowOperand {
    fn bind<'a, T: Pod>(&'a self, reads: &Reads<'a>) -> Operand<'a, T> {
        let operand = Operand::repeated(reads.elements(&self.source), self.pattern.stride, self.pattern.repeat);
        if self.pattern.splat { operand.splat() } else { operand }
    }
}

/// What is done to each row.
pub enum RowOp {
    /// u8 through a table.
    Lookup {
        /// Kernel.
        kernel: &'static dyn Elementwise,
        /// The result for each code.
        table: Box<[u8; 256]>,
    },
    /// Quantized addition.
    Add {
        /// Kernel.
        kernel: &'static dyn Elementwise,
        /// Parameters.
        params: AddParams,
    },
    /// Quantized multiplication.
    Mul {
        /// Kernel.
        kernel: &'static dyn Elementwise,
        /// Parameters.
        params: MulParams,
    },
    /// A factor and a term for each column, requantized; the first operand has a row for each row of the result.
    Affine {
        /// Kernel.
        kernel: &'static dyn Elementwise,
        /// Parameters.
        params: AffineParams,
    },
    /// f32 to u8.
    Quantize {
        /// Kernel.
        kernel: &'static dyn Quantize,
        /// Parameters.
        params: QuantizeParams,
    },
    /// u8 to f32.
    Dequantize {
        /// Kernel.
        kernel: &'static dyn Quantize,
        /// Parameters.
        params: DequantizeParams,
    },
    /// A function of one f32.
    Unary {
        /// Kernel.
        kernel: &'static dyn Float,
        /// Function.
        op: UnaryOp,
    },
    /// A function of two f32.
    Binary {
        /// Kernel.
        kernel: &'static dyn Float,
        /// Function.
        op: BinaryOp,
    },
    /// Softmax of each row.
    Softmax {
        /// Kernel.
        kernel: &'static dyn Float,
    },
    /// Layer normalisation of each row.
    LayerNorm {
        /// Kernel.
        kernel: &'static dyn Float,
        /// Factor of each column.
        gamma: Option<Source>,
        /// Term of each column.
        beta: Option<Source>,
        /// Added to the variance.
        eps: f32,
    },
    /// One value for each row.
    Reduce {
        /// Kernel.
        kernel: &'static dyn Float,
        /// Which.
        op: ReduceOp,
    },
}

/// A row-wise step.
pub struct RowsStep {
    /// What it computes.
    pub op: RowOp,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the operands, and of the result unless it is a reduction.
    pub columns: usize,
    /// First operand.
    pub a: RowOperand,
    /// Second operand, for those with two.
    pub b: Option<RowOperand>,
    /// The result.
    pub out: Slot,
    /// Elements from one row of the result to the next.
    pub out_stride: usize,
}

impl RowsStep {
    /// Everything it reads.
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let (gamma, beta) = match &self.op {
            RowOp::LayerNorm { gamma, beta, .. } => (gamma.as_ref(), beta.as_ref()),
            _ => (None, None),
        };
        let operands = [Some(&self.a.source), self.b.as_ref().map(|b| &b.source), gamma, beta];
        operands.into_iter().flatten()
    }

    /// Bytes of an element of the result.
    fn out_element(&self) -> usize {
        match self.op {
            RowOp::Lookup { .. }
            | RowOp::Add { .. }
            | RowOp::Mul { .. }
            | RowOp::Affine { .. }
            | RowOp::Quantize { .. } => 1,
            RowOp::Dequantize { .. }
            | RowOp::Unary { .. }
            | RowOp::Binary { .. }
            | RowOp::Softmax { .. }
            | RowOp::LayerNorm { .. }
            | RowOp::Reduce { .. } => size_of::<f32>(),
        }
    }

    fn each<U: Pod + Send>(
        &self,
        workers: &mut Workers<'_>,
        out: &mut [u8],
        cost: usize,
        f: impl Fn(std::ops::Range<usize>, RowsMut<'_, U>) + Sync,
    ) {
        let out: &mut [U] = bytemuck::cast_slice_mut(out);
        let stride = self.out_stride;
        workers.rows(self.rows, 1, self.columns * cost, out, stride, |rows, out, _| f(rows, RowsMut::new(out, stride)));
    }
}

/// Cost of one element of a cheap function, in elementary operations, for sharing work between threads.
const CHEAP: usize = 1;
/// Cost of one element of a transcendental function or a normalisation.
const DEAR: usize = 8;

impl Step for RowsStep {
    fn kernel(&self) -> &'static str {
        match &self.op {
            RowOp::Lookup { kernel, .. }
            | RowOp::Add { kernel, .. }
            | RowOp::Mul { kernel, .. }
            | RowOp::Affine { kernel, .. } => kernel.name(),
            RowOp::Quantize { kernel, .. } | RowOp::Dequantize { kernel, .. } => kernel.name(),
            RowOp::Unary { kernel, .. }
            | RowOp::Binary { kernel, .. }
            | RowOp::Softmax { kernel }
            | RowOp::LayerNorm { kernel, .. }
            | RowOp::Reduce { kernel, .. } => kernel.name(),
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        self.sources().filter_map(Source::slot).for_each(|slot| visit(Access::Read, slot));
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        match self.op {
            RowOp::Reduce { .. } => Work::reading(self.sources()),
            _ => {
                let element = self.out_element();
                Work::reading(self.sources()).into_rows(self.rows, self.columns, self.out_stride, element)
            }
        }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let workers = &mut workers;
        let columns = self.columns;
        let (a, b) = (&self.a, self.b.as_ref().unwrap_or(&self.a));
        match &self.op {
            RowOp::Lookup { kernel, table } => {
                let x = a.bind::<u8>(&reads);
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.lookup(table, rows, columns, x, out));
            }
            RowOp::Add { kernel, params } => {
                let (a, b) = (a.bind(&reads), b.bind(&reads));
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.add(params, rows, columns, a, b, out));
            }
            RowOp::Mul { kernel, params } => {
                let (a, b) = (a.bind(&reads), b.bind(&reads));
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.mul(params, rows, columns, a, b, out));
            }
            RowOp::Affine { kernel, params } => {
                let (x, stride) = (reads.elements(&a.source), a.pattern.stride);
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.affine(params, rows, x, stride, out));
            }
            RowOp::Quantize { kernel, params } => {
                let x = a.bind(&reads);
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.quantize(params, rows, columns, x, out));
            }
            RowOp::Dequantize { kernel, params } => {
                let x = a.bind(&reads);
                self.each::<f32>(workers, out, CHEAP, |rows, out| kernel.dequantize(params, rows, columns, x, out));
            }
            RowOp::Unary { kernel, op } => {
                let x = a.bind(&reads);
                self.each::<f32>(workers, out, DEAR, |rows, out| kernel.unary(*op, rows, columns, x, out));
            }
            RowOp::Binary { kernel, op } => {
                let (a, b) = (a.bind(&reads), b.bind(&reads));
                self.each::<f32>(workers, out, CHEAP, |rows, out| kernel.binary(*op, rows, columns, a, b, out));
            }
            RowOp::Softmax { kernel } => {
                let x = a.bind(&reads);
                self.each::<f32>(workers, out, DEAR, |rows, out| kernel.softmax(rows, columns, x, out));
            }
            RowOp::LayerNorm { kernel, gamma, beta, eps } => {
                let x = a.bind(&reads);
                let gamma = gamma.as_ref().map(|s| reads.elements(s));
                let beta = beta.as_ref().map(|s| reads.elements(s));
                let params = LayerNormParams { gamma, beta, eps: *eps };
                self.each::<f32>(workers, out, DEAR, |rows, out| kernel.layer_norm(&params, rows, columns, x, out));
            }
            RowOp::Reduce { kernel, op } => {
                let x = a.bind(&reads);
                let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                workers.rows(self.rows, 1, columns, out, 1, |rows, out, _| kernel.reduce(*op, rows, columns, x, out));
            }
        }
        Ok(())
    }
}
