//! The products of a recurrent layer's weights: of f32, or of i8 with codes of input and state over their own ranges.

use std::sync::Arc;

use quantc_kernels::{Quantize, SLACK};
use quantc_ops::float::Mat;
use quantc_ops::float::recurrent::Sizes;
use quantc_tensor::ScaledInt;

use super::dynamic::{DynamicProduct, ProductParams, dynamic_codes_len, quantize_over_range};
use super::product::{ProductShape, product};
use super::qparts::QWeights;
use super::recurrent::Cell;
use crate::{Arithmetic, Reads, Source, Work, Workers};

/// The weights of all directions.
pub enum GateWeights {
    /// f32, as right matrices.
    Float {
        /// `[directions, input, gates * hidden]`.
        w: Source,
        /// `[directions, hidden, gates * hidden]`.
        r: Source,
    },
    /// i8; input and states are quantized over their own ranges.
    Int8 {
        /// What quantizes them.
        quantize: &'static dyn Quantize,
        /// Lowest and highest code.
        range: (i32, i32),
        /// The weights of each direction.
        directions: Vec<Int8Direction>,
    },
}

/// The integer weights of one direction.
pub struct Int8Direction {
    /// Of the input.
    pub w: Int8Product,
    /// Of the state.
    pub r: Int8Product,
    /// Of what a GRU's reset gate leaves of the state.
    pub reset: Option<Int8Product>,
}

/// Integer weights with their scales.
pub struct Int8Product {
    /// Weights of all rows of the product.
    pub weights: QWeights,
    /// For each output.
    pub scale: Arc<[f32]>,
}

impl Int8Product {
    fn run(&self, workers: &mut Workers<'_>, memory: &mut Params<'_>, x: Codes<'_>, out: &mut [f32], stride: usize) {
        let product = DynamicProduct {
            weights: &self.weights,
            weight_scale: &self.scale,
            bias: None,
            x: x.codes,
            x_params: x.params,
            clamp: ScaledInt::UNCLAMPED,
        };
        let count = self.scale.len();
        let params = ProductParams { scale: &mut memory.scale[..count], offsets: &mut memory.offsets[..count] };
        product.run(workers, params, out, stride);
    }
}

/// Codes with slack behind them, their scale and zero point.
#[derive(Clone, Copy)]
struct Codes<'a> {
    codes: &'a [u8],
    params: (f32, u8),
}

/// Memory for the parameters of a product.
struct Params<'a> {
    scale: &'a mut [f32],
    offsets: &'a mut [i32],
}

/// The temporary memory of integer products; that of f32 products is empty.
pub(crate) struct Memory<'a> {
    x: &'a mut [u8],
    x_params: (f32, u8),
    h: &'a mut [u8],
    params: Params<'a>,
}

impl<'a> Memory<'a> {
    /// `params` holds a scale and a start for each gate of each element.
    pub(crate) fn new(weights: &GateWeights, s: Sizes, codes: &'a mut [u8], params: &'a mut [f32]) -> Memory<'a> {
        let at = if matches!(weights, GateWeights::Int8 { .. }) { x_codes_len(s) } else { 0 };
        let (x, h) = codes.split_at_mut(at);
        let (scale, offsets) = params.split_at_mut(params.len() / 2);
        Memory { x, x_params: (1.0, 0), h, params: Params { scale, offsets: bytemuck::cast_slice_mut(offsets) } }
    }

    /// Quantizes the input, once for all directions.
    pub(crate) fn take_input(&mut self, weights: &GateWeights, workers: &mut Workers<'_>, x: &[f32]) {
        if let GateWeights::Int8 { quantize, range, .. } = weights {
            self.x_params = quantize_over_range(*quantize, *range, x, self.x, workers);
        }
    }
}

/// Bytes of the input's codes; those of the state lie behind them.
fn x_codes_len(s: Sizes) -> usize {
    dynamic_codes_len(s.seq * s.batch * s.input).next_multiple_of(SLACK)
}

impl GateWeights {
    /// Bytes of memory for codes.
    pub(crate) fn codes_len(&self, s: Sizes) -> usize {
        match self {
            GateWeights::Float { .. } => 0,
            GateWeights::Int8 { .. } => x_codes_len(s) + dynamic_codes_len(s.batch * s.hidden),
        }
    }

    /// The kernel of integer products.
    pub(crate) fn kernel(&self) -> Option<&'static str> {
        match self {
            GateWeights::Float { .. } => None,
            GateWeights::Int8 { directions, .. } => directions.first().map(|d| d.w.weights.kernel.name()),
        }
    }

    /// What it reads as operands of the plan.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        let both = match self {
            GateWeights::Float { w, r } => [Some(w), Some(r)],
            GateWeights::Int8 { .. } => [None, None],
        };
        both.into_iter().flatten()
    }

    fn products(&self) -> impl Iterator<Item = &Int8Product> {
        let directions = match self {
            GateWeights::Float { .. } => &[][..],
            GateWeights::Int8 { directions, .. } => directions,
        };
        directions.iter().flat_map(|d| [&d.w, &d.r].into_iter().chain(&d.reset))
    }

    /// Bytes of scratch each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        self.products().map(|p| p.weights.scratch_len()).max().unwrap_or(0)
    }

    /// What the products multiply.
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        if matches!(self, GateWeights::Int8 { .. }) { Arithmetic::Int8 } else { Arithmetic::Float }
    }

    /// The work with the constants of integer weights besides.
    pub(crate) fn work(&self, work: Work) -> Work {
        self.products().fold(work, |work, product| product.weights.work(work))
    }

    /// The products of one direction.
    pub(crate) fn direction<'a>(&'a self, d: usize, cell: Cell, s: Sizes, reads: &Reads<'a>) -> Products<'a> {
        let (n, columns) = (s.hidden, cell.gates() * s.hidden);
        let weights = match self {
            GateWeights::Float { w, r } => Direction::Float {
                w: &reads.elements::<f32>(w)[d * s.input * columns..][..s.input * columns],
                r: &reads.elements::<f32>(r)[d * n * columns..][..n * columns],
            },
            GateWeights::Int8 { quantize, range, directions } => {
                Direction::Int8 { quantize: *quantize, range: *range, weights: &directions[d] }
            }
        };
        Products { weights, first: cell.first_gates() * n, columns, sizes: s }
    }
}

/// One direction's weights where they lie.
enum Direction<'a> {
    Float { w: &'a [f32], r: &'a [f32] },
    Int8 { quantize: &'static dyn Quantize, range: (i32, i32), weights: &'a Int8Direction },
}

/// The products of one direction.
pub(crate) struct Products<'a> {
    weights: Direction<'a>,
    /// Columns of the state's first product.
    first: usize,
    columns: usize,
    sizes: Sizes,
}

impl Products<'_> {
    /// Of the input at every step: `[seq * batch, columns]`. Integer products take it from the memory.
    pub(crate) fn of_input(&self, workers: &mut Workers<'_>, memory: &mut Memory<'_>, x: &[f32], out: &mut [f32]) {
        let Sizes { seq, batch, input, .. } = self.sizes;
        match &self.weights {
            Direction::Float { w, .. } => {
                let shape = ProductShape { m: seq * batch, n: self.columns, k: input, out_stride: self.columns };
                product(workers, shape, Mat::rows(x, input), Mat::rows(w, self.columns), None, out);
            }
            Direction::Int8 { weights, .. } => {
                let codes = Codes { codes: memory.x, params: memory.x_params };
                weights.w.run(workers, &mut memory.params, codes, out, self.columns);
            }
        }
    }

    /// Of a state with the weights of the first gates: rows of `columns`.
    pub(crate) fn of_state(&self, workers: &mut Workers<'_>, memory: &mut Memory<'_>, h: &[f32], out: &mut [f32]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        match &self.weights {
            Direction::Float { r, .. } => {
                let shape = ProductShape { m: batch, n: self.first, k: hidden, out_stride: self.columns };
                product(workers, shape, Mat::rows(h, hidden), Mat::rows(r, self.columns), None, out);
            }
            Direction::Int8 { quantize, range, weights } => {
                let params = quantize_over_range(*quantize, *range, h, memory.h, workers);
                let codes = Codes { codes: memory.h, params };
                weights.r.run(workers, &mut memory.params, codes, out, self.columns);
            }
        }
    }

    /// Of what a GRU's reset gate leaves of the state with the weights of the third gate: `[batch, hidden]`.
    pub(crate) fn of_reset(&self, workers: &mut Workers<'_>, memory: &mut Memory<'_>, reset: &[f32], out: &mut [f32]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        match &self.weights {
            Direction::Float { r, .. } => {
                let shape = ProductShape { m: batch, n: hidden, k: hidden, out_stride: hidden };
                let candidate = Mat { data: &r[self.first..], row_stride: self.columns, col_stride: 1 };
                product(workers, shape, Mat::rows(reset, hidden), candidate, None, out);
            }
            Direction::Int8 { quantize, range, weights } => {
                let params = quantize_over_range(*quantize, *range, reset, memory.h, workers);
                if let Some(product) = &weights.reset {
                    let codes = Codes { codes: memory.h, params };
                    product.run(workers, &mut memory.params, codes, out, hidden);
                }
            }
        }
    }
}
