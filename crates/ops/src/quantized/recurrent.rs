//! Recurrent layers with i8 weights, whose input and states are quantized over their own ranges when they run
//! (torch.ao.nn.quantized.dynamic.LSTM, GRU, RNNCell, LSTMCell, GRUCell).
//!
//! The whole input is quantized once, over the range of all its steps; a state is quantized before each product with it, over the range of
//! the whole batch. Products are exact integers scaled by `s_x * s_w[c]`; biases and everything behind them are f32.

use std::ops::Range;

use quantc_tensor::{DType, Tensor, Value};

use super::dequantize_weight;
use crate::float::recurrent::{GateProducts, Sizes};
use crate::linear::linear;
use crate::quantize::dynamic_quantize;
use crate::recurrent::{BEFORE_RESET, Cell, DIRECTION, GateWeights, HIDDEN, LAYOUT, NONLINEARITY, Recurrent};
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, OpClass, OpError, Signature};

const REDUCE_RANGE: AttrSpec =
    attr("reduce_range", AttrDefault::Bool(false), "Half the range of the integers of input and state.");

/// `quantized.lstm_dynamic`.
pub static QLSTM_DYNAMIC: Recurrent = Recurrent {
    sig: &Signature {
        name: "quantized.lstm_dynamic",
        doc: "`lstm` with i8 weights (zero points 0; scales [directions, 4 hidden] or [directions, 1]): the input is quantized over its own range, the state before each step; f32 in and out (torch.ao.nn.quantized.dynamic.LSTM, LSTMCell).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            required("w_scale"),
            required("r_scale"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
            optional("initial_c"),
            optional("p"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT, REDUCE_RANGE],
        class: OpClass::Heavy,
    },
    cell: Cell::Lstm,
    weights: GateWeights::Int8,
};

/// `quantized.gru_dynamic`.
pub static QGRU_DYNAMIC: Recurrent = Recurrent {
    sig: &Signature {
        name: "quantized.gru_dynamic",
        doc: "`gru` with i8 weights (zero points 0; scales [directions, 3 hidden] or [directions, 1]): the input is quantized over its own range, the state before each product; f32 in and out (torch.ao.nn.quantized.dynamic.GRU, GRUCell).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            required("w_scale"),
            required("r_scale"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT, BEFORE_RESET, REDUCE_RANGE],
        class: OpClass::Heavy,
    },
    cell: Cell::Gru,
    weights: GateWeights::Int8,
};

/// `quantized.rnn_dynamic`.
pub static QRNN_DYNAMIC: Recurrent = Recurrent {
    sig: &Signature {
        name: "quantized.rnn_dynamic",
        doc: "`rnn` with i8 weights (zero points 0; scales [directions, hidden] or [directions, 1]): the input is quantized over its own range, the state before each step; f32 in and out (torch.ao.nn.quantized.dynamic.RNNCell).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            required("w_scale"),
            required("r_scale"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT, NONLINEARITY, REDUCE_RANGE],
        class: OpClass::Heavy,
    },
    cell: Cell::Rnn,
    weights: GateWeights::Int8,
};

/// The index of the quantized layers' weights and scales; the input is 0.
const W: usize = 1;
const R: usize = 2;
const W_SCALE: usize = 3;
const R_SCALE: usize = 4;

/// The gates whose weights a state is multiplied by at once. A GRU that resets the state first multiplies it for the third gate alone.
pub fn products_of_state(cell: Cell, before_reset: bool) -> Vec<Range<usize>> {
    let bounds: &[usize] = if cell == Cell::Gru && !before_reset { &[0, 2, 3] } else { &[0, cell.gates()] };
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// One of the weights of a layer, all directions: rows are gates.
struct Stacked {
    weights: Tensor,
    scales: Tensor,
}

impl Stacked {
    fn new(cx: &EvalCx<'_>, weights: usize, scales: usize, shape: [usize; 3]) -> Result<Stacked, OpError> {
        let (weights, scales) = (cx.tensor(weights)?, cx.tensor(scales)?);
        let fits = scales.rank() == 2 && scales.shape()[0] == shape[0] && [1, shape[1]].contains(&scales.shape()[1]);
        if weights.shape() != shape || !fits {
            return Err(OpError::new(format!(
                "a weight {} with scales {}, they must be {shape:?} and [{}, {}] or [{}, 1]",
                weights.ty(),
                scales.ty(),
                shape[0],
                shape[1],
                shape[0]
            )));
        }
        Ok(Stacked { weights, scales })
    }

    /// The rows of one direction as a weight `[rows, depth]`.
    fn rows(&self, direction: usize, rows: Range<usize>) -> Result<Value, OpError> {
        let [_, all, depth] = *self.weights.shape() else { return Err(OpError::new("a weight of three dimensions")) };
        let at = |row: usize| (direction * all + row) * depth;
        let weights = self.weights.slice::<i8>()?[at(rows.start)..at(rows.end)].to_vec();
        let weights = Tensor::from_vec(&[rows.len(), depth], weights)?;
        let scales = self.scales.slice::<f32>()?;
        let scales = if self.scales.shape()[1] == 1 {
            // One scale is one for each row: the integers and their scales' products are the same.
            vec![scales[direction]; rows.len()]
        } else {
            scales[direction * all..][rows].to_vec()
        };
        dequantize_weight(&weights, &Tensor::vector(scales), 0)
    }
}

/// The integer weights of a layer, and its quantized input.
pub(crate) struct Int8Layer {
    x: Value,
    w: Stacked,
    r: Stacked,
    sizes: Sizes,
    gates: usize,
    split: Vec<Range<usize>>,
    reduce_range: bool,
}

impl Int8Layer {
    /// Reads the weights; `x` is `[seq, batch, input]`.
    pub(crate) fn new(
        cx: &EvalCx<'_>,
        cell: Cell,
        x: &Tensor,
        dirs: usize,
        sizes: Sizes,
    ) -> Result<Int8Layer, OpError> {
        let columns = cell.gates() * sizes.hidden;
        let reduce_range = cx.bool("reduce_range")?;
        let before_reset = cell == Cell::Gru && cx.bool("linear_before_reset")?;
        Ok(Int8Layer {
            x: dynamic_quantize(x, DType::U8, reduce_range)?,
            w: Stacked::new(cx, W, W_SCALE, [dirs, columns, sizes.input])?,
            r: Stacked::new(cx, R, R_SCALE, [dirs, columns, sizes.hidden])?,
            sizes,
            gates: cell.gates(),
            split: products_of_state(cell, before_reset),
            reduce_range,
        })
    }

    /// The products of one direction.
    pub(crate) fn direction(&self, d: usize) -> Result<Int8Gates<'_>, OpError> {
        let n = self.sizes.hidden;
        let rows = |gates: &Range<usize>| gates.start * n..gates.end * n;
        Ok(Int8Gates {
            layer: self,
            w: self.w.rows(d, 0..self.gates * n)?,
            r: self.split.iter().map(|g| Ok((g.clone(), self.r.rows(d, rows(g))?))).collect::<Result<_, OpError>>()?,
        })
    }
}

/// The products of one direction's integer weights.
pub(crate) struct Int8Gates<'a> {
    layer: &'a Int8Layer,
    w: Value,
    r: Vec<(Range<usize>, Value)>,
}

impl GateProducts for Int8Gates<'_> {
    fn of_input(&self) -> Result<Vec<f32>, OpError> {
        Ok(linear(&self.layer.x, &self.w, None)?.to_tensor().to_f32_vec())
    }

    fn of_state(&self, h: &[f32], gates: Range<usize>) -> Result<Vec<f32>, OpError> {
        let Some((_, r)) = self.r.iter().find(|(g, _)| *g == gates) else {
            return Err(OpError::new(format!("no weights of the gates {gates:?}")));
        };
        let h = Tensor::from_vec(&[self.layer.sizes.batch, self.layer.sizes.hidden], h.to_vec())?;
        let h = dynamic_quantize(&h, DType::U8, self.layer.reduce_range)?;
        Ok(linear(&h, r, None)?.to_tensor().to_f32_vec())
    }
}
