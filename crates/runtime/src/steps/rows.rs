//! Elementwise, normalising and converting steps: rows in, rows out.

use std::ops::Range;

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

    /// The same from a row on; each row of the result has a row of its own here, or all have one.
    fn bind_from<'a, T: Pod>(&'a self, reads: &Reads<'a>, row: usize) -> Operand<'a, T> {
        let operand = Operand::rows(&reads.elements(&self.source)[row * self.pattern.stride..], self.pattern.stride);
        if self.pattern.splat { operand.splat() } else { operand }
    }
}

/// Longest row of a result that may lie where an operand does, in bytes.
const LONGEST_REUSED: usize = 1 << 14;

/// Bytes of an operand that are copied at a time before the result overwrites them.
const REUSED_BLOCK: usize = 1 << 12;

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

    /// Whether an operand may be overwritten by the result: row by row the same bytes.
    fn reusable(&self, operand: &RowOperand, element: usize) -> bool {
        let Pattern { stride, repeat, splat } = operand.pattern;
        let dense = stride == self.columns && self.out_stride == self.columns && repeat == 1 && !splat;
        let bytes = self.rows * self.columns * element;
        let whole = |slot: &Slot| slot.len == bytes && self.out.len == bytes;
        dense && bytes > 0 && self.columns * element <= LONGEST_REUSED && operand.source.slot().is_some_and(whole)
    }

    /// The operands that may be overwritten by the result, by their index.
    fn reusables(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let element = match self.op {
            RowOp::Lookup { .. } | RowOp::Add { .. } | RowOp::Mul { .. } => Some(1),
            RowOp::Unary { .. } | RowOp::Binary { .. } | RowOp::Softmax { .. } | RowOp::LayerNorm { .. } => {
                Some(size_of::<f32>())
            }
            RowOp::Affine { .. } | RowOp::Quantize { .. } | RowOp::Dequantize { .. } | RowOp::Reduce { .. } => None,
        };
        let operands = [Some(&self.a), self.b.as_ref()];
        // The other operand must be readable from any row on.
        let simple = move |i: usize| operands[1 - i].is_none_or(|o| o.pattern.repeat == 1 || o.pattern.stride == 0);
        let reusable = move |i: usize| {
            let operand = operands[i].filter(|o| element.is_some_and(|e| self.reusable(o, e)) && simple(i))?;
            Some((i, operand.source.slot()?))
        };
        (0..2).filter_map(reusable)
    }

    /// Rows that are copied at a time.
    fn reused_rows(&self, element: usize) -> usize {
        (REUSED_BLOCK / (self.columns * element).max(1)).clamp(1, self.rows.max(1))
    }

    fn each<U: Pod + Send>(
        &self,
        workers: &mut Workers<'_>,
        out: &mut [u8],
        cost: usize,
        f: impl Fn(Range<usize>, RowsMut<'_, U>) + Sync,
    ) {
        let out: &mut [U] = bytemuck::cast_slice_mut(out);
        let stride = self.out_stride;
        workers.rows(self.rows, 1, self.columns * cost, out, stride, |rows, out, _| f(rows, RowsMut::new(out, stride)));
    }
}

/// A step whose operands' elements are as large as the result's.
struct Mapped<'s, 'r> {
    step: &'s RowsStep,
    reads: Reads<'r>,
    /// Which operand lies where the result does.
    reused: Option<usize>,
}

impl<'s: 'r, 'r> Mapped<'s, 'r> {
    /// Calls `f` with rows, both operands (the first twice, if there is one) and those rows of the result. An operand that lies where the result
    /// does is copied, a few rows at a time, before they are overwritten.
    fn run<T: Pod + Send + Sync>(
        &self,
        workers: &mut Workers<'_>,
        out: &mut [u8],
        cost: usize,
        f: impl Fn(Range<usize>, [Operand<'_, T>; 2], RowsMut<'_, T>) + Sync,
    ) {
        let RowsStep { rows, columns, a, b, .. } = self.step;
        let (columns, second) = (*columns, b.as_ref().unwrap_or(a));
        let Some(reused) = self.reused else {
            let both = [a.bind(&self.reads), second.bind(&self.reads)];
            self.step.each::<T>(workers, out, cost, |rows, out| f(rows, both, out));
            return;
        };
        let other = b.as_ref().map(|second| if reused == 0 { second } else { a });
        let out: &mut [T] = bytemuck::cast_slice_mut(out);
        let block = self.step.reused_rows(size_of::<T>());
        workers.rows(*rows, 1, columns * cost, out, columns, |rows, out, scratch| {
            let scratch: &mut [T] = bytemuck::cast_slice_mut(scratch);
            for (first, out) in rows.step_by(block).zip(out.chunks_mut(block * columns)) {
                let before = &mut scratch[..out.len()];
                before.copy_from_slice(out);
                let own = Operand::rows(before, columns);
                let other = other.map_or(own, |operand| operand.bind_from(&self.reads, first));
                let both = if reused == 0 { [own, other] } else { [other, own] };
                f(0..out.len() / columns, both, RowsMut::new(out, columns));
            }
        });
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

    fn visit_reusable(&self, visit: &mut dyn FnMut(&Slot, &Slot)) {
        self.reusables().for_each(|(_, operand)| visit(operand, &self.out));
    }

    fn scratch_len(&self) -> usize {
        let element = self.out_element();
        let bytes = self.reused_rows(element) * self.columns * element;
        self.reusables().next().map_or(0, |_| bytes)
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
        let reused = self.reusables().find(|(_, operand)| cx.same(operand, &self.out)).map(|r| r.0);
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let workers = &mut workers;
        let (columns, a) = (self.columns, &self.a);
        let mapped = Mapped { step: self, reads, reused };
        let reads = &mapped.reads;
        match &self.op {
            RowOp::Lookup { kernel, table } => {
                mapped.run(workers, out, CHEAP, |rows, [x, _], out| kernel.lookup(table, rows, columns, x, out));
            }
            RowOp::Add { kernel, params } => {
                mapped.run(workers, out, CHEAP, |rows, [a, b], out| kernel.add(params, rows, columns, a, b, out));
            }
            RowOp::Mul { kernel, params } => {
                mapped.run(workers, out, CHEAP, |rows, [a, b], out| kernel.mul(params, rows, columns, a, b, out));
            }
            RowOp::Affine { kernel, params } => {
                let (x, stride) = (reads.elements(&a.source), a.pattern.stride);
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.affine(params, rows, x, stride, out));
            }
            RowOp::Quantize { kernel, params } => {
                let x = a.bind(reads);
                self.each::<u8>(workers, out, CHEAP, |rows, out| kernel.quantize(params, rows, columns, x, out));
            }
            RowOp::Dequantize { kernel, params } => {
                let x = a.bind(reads);
                self.each::<f32>(workers, out, CHEAP, |rows, out| kernel.dequantize(params, rows, columns, x, out));
            }
            RowOp::Unary { kernel, op } => {
                mapped.run(workers, out, DEAR, |rows, [x, _], out| kernel.unary(*op, rows, columns, x, out));
            }
            RowOp::Binary { kernel, op } => {
                mapped.run(workers, out, CHEAP, |rows, [a, b], out| kernel.binary(*op, rows, columns, a, b, out));
            }
            RowOp::Softmax { kernel } => {
                mapped.run(workers, out, DEAR, |rows, [x, _], out| kernel.softmax(rows, columns, x, out));
            }
            RowOp::LayerNorm { kernel, gamma, beta, eps } => {
                let gamma = gamma.as_ref().map(|s| reads.elements(s));
                let beta = beta.as_ref().map(|s| reads.elements(s));
                let params = LayerNormParams { gamma, beta, eps: *eps };
                mapped.run(workers, out, DEAR, |rows, [x, _], out| kernel.layer_norm(&params, rows, columns, x, out));
            }
            RowOp::Reduce { kernel, op } => {
                let x = a.bind(reads);
                let out: &mut [f32] = bytemuck::cast_slice_mut(out);
                workers.rows(self.rows, 1, columns, out, 1, |rows, out, _| kernel.reduce(*op, rows, columns, x, out));
            }
        }
        Ok(())
    }
}
