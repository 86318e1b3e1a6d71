//! Recurrent layers.

use quantc_tensor::math::{relu_f32, tanh_f32};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};

use crate::float::recurrent::{FloatGates, GateProducts, Sizes, Steps, Terms, gru, lstm, rnn};
use crate::movement::permute;
use crate::quantized::recurrent::Int8Layer;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, IntegerUse, OpClass, OpError, Operator, Signature};

pub(crate) const HIDDEN: AttrSpec = attr("hidden_size", AttrDefault::RequiredInt, "Elements of the state.");
pub(crate) const DIRECTION: AttrSpec = attr(
    "direction",
    AttrDefault::Str("forward", &["forward", "reverse", "bidirectional"]),
    "`forward`, `reverse` or `bidirectional`.",
);
pub(crate) const LAYOUT: AttrSpec = attr(
    "layout",
    AttrDefault::Int(0),
    "0: [seq, batch, ...]; 1: [batch, seq, ...], states [batch, directions, hidden].",
);
pub(crate) const BEFORE_RESET: AttrSpec =
    attr("linear_before_reset", AttrDefault::Bool(false), "Whether the reset gate comes after the product.");
pub(crate) const NONLINEARITY: AttrSpec =
    attr("nonlinearity", AttrDefault::Str("tanh", &["tanh", "relu"]), "The function: `tanh` or `relu`.");

/// Which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm,
    /// Gates z, r, h.
    Gru,
    /// One gate.
    Rnn,
}

impl Cell {
    /// The number of gates.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Rnn => 1,
        }
    }
}

/// The element type of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateWeights {
    /// f32.
    Float,
    /// i8 with scales; input and state are quantized over their own ranges.
    Int8,
}

/// `lstm`, `gru`, `rnn` and their quantized forms.
pub struct Recurrent {
    pub(crate) sig: &'static Signature,
    pub(crate) cell: Cell,
    pub(crate) weights: GateWeights,
}

/// `lstm`.
pub static LSTM: Recurrent = Recurrent {
    sig: &Signature {
        name: "lstm",
        doc: "LSTM over a sequence: every state, the last state, the last cell (ONNX LSTM; gates in the order i, o, f, c).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
            optional("initial_c"),
            optional("p"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT],
        class: OpClass::Heavy,
    },
    cell: Cell::Lstm,
    weights: GateWeights::Float,
};

/// `gru`.
pub static GRU: Recurrent = Recurrent {
    sig: &Signature {
        name: "gru",
        doc: "GRU over a sequence: every state, the last state (ONNX GRU; gates in the order z, r, h).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT, BEFORE_RESET],
        class: OpClass::Heavy,
    },
    cell: Cell::Gru,
    weights: GateWeights::Float,
};

/// `rnn`.
pub static RNN: Recurrent = Recurrent {
    sig: &Signature {
        name: "rnn",
        doc: "Plain recurrent layer over a sequence: every state, the last state (ONNX RNN, torch.nn.RNN).",
        inputs: &[
            required("input"),
            required("w"),
            required("r"),
            optional("b"),
            optional("sequence_lens"),
            optional("initial_h"),
        ],
        attrs: &[HIDDEN, DIRECTION, LAYOUT, NONLINEARITY],
        class: OpClass::Heavy,
    },
    cell: Cell::Rnn,
    weights: GateWeights::Float,
};

/// Whether each direction runs backwards.
fn directions(name: &str) -> Result<&'static [bool], OpError> {
    match name {
        "forward" => Ok(&[false]),
        "reverse" => Ok(&[true]),
        "bidirectional" => Ok(&[false, true]),
        other => {
            Err(OpError::new(format!("`direction` can't be {other:?}")).with_hint("forward, reverse or bidirectional"))
        }
    }
}

fn hidden_size(value: i64) -> Result<usize, OpError> {
    usize::try_from(value)
        .ok()
        .filter(|&n| n > 0 && n < 1 << 24)
        .ok_or_else(|| OpError::new(format!("`hidden_size` can't be {value}")))
}

/// The function of a plain layer.
fn nonlinearity(name: &str) -> Result<fn(f32) -> f32, OpError> {
    match name {
        "tanh" => Ok(tanh_f32),
        "relu" => Ok(relu_f32),
        other => Err(OpError::new(format!("`nonlinearity` can't be {other:?}")).with_hint("tanh or relu")),
    }
}

impl Recurrent {
    /// The index of an input; beyond all inputs if the layer does not have it.
    fn index(&self, name: &str) -> usize {
        self.sig.inputs.iter().position(|i| i.name == name).unwrap_or(self.sig.inputs.len())
    }

    fn part(&self, cx: &EvalCx<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, OpError> {
        let Some(t) = cx.opt_tensor(self.index(name)) else { return Ok(Vec::new()) };
        if t.shape() != shape {
            return Err(OpError::new(format!(
                "input `{name}` of `{}` is {}, it must be {shape:?}",
                self.sig.name,
                t.ty()
            )));
        }
        Ok(t.slice::<f32>()?.to_vec())
    }

    /// Runs one direction; `h` and `c` are its states, `y` takes the state of each step.
    #[allow(clippy::too_many_arguments, reason = "the state of one direction, and what all directions share")]
    fn run(
        &self,
        cx: &EvalCx<'_>,
        products: &dyn GateProducts,
        terms: Terms<'_>,
        sizes: Sizes,
        order: Steps<'_>,
        h: &mut [f32],
        c: &mut [f32],
        y: &mut [f32],
    ) -> Result<(), OpError> {
        match self.cell {
            Cell::Lstm => lstm(products, terms, sizes, order, h, c, y),
            Cell::Gru => gru(products, terms, sizes, order, cx.bool("linear_before_reset")?, h, y),
            Cell::Rnn => rnn(products, terms, sizes, order, nonlinearity(&cx.str("nonlinearity")?)?, h, y),
        }
    }
}

impl Operator for Recurrent {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn outputs(&self) -> Option<usize> {
        Some(if self.cell == Cell::Lstm { 3 } else { 2 })
    }

    fn integer_use(&self) -> IntegerUse {
        // Scales of states are only known when the graph runs: the result is real.
        IntegerUse::Unseen
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let hidden = hidden_size(cx.int("hidden_size")?)?;
        let dirs = directions(&cx.str("direction")?)?.len();
        let columns = self.cell.gates() * hidden;
        if self.cell == Cell::Rnn {
            nonlinearity(&cx.str("nonlinearity")?)?;
        }
        let weight = match self.weights {
            GateWeights::Float => DType::F32,
            GateWeights::Int8 => DType::I8,
        };
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[weight])?;
        cx.expect_dtype(2, &[weight])?;
        let x = &cx.ty(0)?.shape;
        let [first, second, input] = x.dims() else {
            return Err(OpError::new(format!(
                "`{}` of an input {x}, which must be [seq, batch, input]",
                self.sig.name
            )));
        };
        let wanted = |last: Dim| -> Shape { [Dim::Known(dirs), Dim::Known(columns), last].into_iter().collect() };
        for (i, want) in [(1, wanted(input.clone())), (2, wanted(Dim::Known(hidden)))] {
            if !cx.ty(i)?.shape.compatible(&want) {
                return Err(OpError::new(format!(
                    "weight {i} of `{}` is {}, it must be {want}",
                    self.sig.name,
                    cx.ty(i)?.shape
                )));
            }
        }
        if self.weights == GateWeights::Int8 {
            for name in ["w_scale", "r_scale"] {
                let ty = cx.ty(self.index(name))?;
                let of = |n: usize| ty.shape.compatible(&[Dim::Known(dirs), Dim::Known(n)].into_iter().collect());
                if ty.dtype != DType::F32 || !(of(columns) || of(1)) {
                    return Err(OpError::new(format!(
                        "`{name}` of `{}` is {ty}, it must be f32[{dirs},{columns}] or f32[{dirs},1]",
                        self.sig.name
                    )));
                }
            }
        }
        let (dirs, hidden) = (Dim::Known(dirs), Dim::Known(hidden));
        let (y, state) = if cx.int("layout")? == 0 {
            ([first, &dirs, second, &hidden], [&dirs, second, &hidden])
        } else {
            ([first, second, &dirs, &hidden], [first, &dirs, &hidden])
        };
        let ty = |dims: &[&Dim]| TensorType { dtype: DType::F32, shape: dims.iter().map(|d| (*d).clone()).collect() };
        let mut out = vec![ty(&y), ty(&state)];
        if self.cell == Cell::Lstm {
            out.push(ty(&state));
        }
        Ok(out)
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let hidden = hidden_size(cx.int("hidden_size")?)?;
        let backwards = directions(&cx.str("direction")?)?;
        let dirs = backwards.len();
        let batch_first = cx.int("layout")? != 0;
        let mut x = cx.tensor(0)?;
        if x.rank() != 3 {
            return Err(OpError::new(format!("`{}` of {}", self.sig.name, x.ty())));
        }
        if batch_first {
            x = permute(&x, &[1, 0, 2])?;
        }
        let s = Sizes { seq: x.shape()[0], batch: x.shape()[1], input: x.shape()[2], hidden };
        let columns = self.cell.gates() * hidden;
        crate::dims::numel(&[s.seq, dirs, s.batch, columns])?;
        let bias = self.part(cx, "b", &[dirs, 2 * columns])?;
        let peephole = self.part(cx, "p", &[dirs, 3 * hidden])?;
        let lens: Vec<usize> = match cx.opt_tensor(self.index("sequence_lens")) {
            None => vec![s.seq; s.batch],
            Some(t) => {
                let lens = crate::dims::sizes(&t.to_i64_vec())?;
                if lens.len() != s.batch || lens.iter().any(|&n| n > s.seq) {
                    return Err(OpError::new(format!("sequence_lens {lens:?} for [{}, {}]", s.seq, s.batch)));
                }
                lens
            }
        };
        let state_shape = if batch_first { [s.batch, dirs, hidden] } else { [dirs, s.batch, hidden] };
        let state = |name: &str| -> Result<Vec<f32>, OpError> {
            if cx.opt_value(self.index(name)).is_none() {
                return Ok(vec![0.0; dirs * s.batch * hidden]);
            }
            let given = Tensor::from_vec(&state_shape, self.part(cx, name, &state_shape)?)?;
            Ok(if batch_first { permute(&given, &[1, 0, 2])? } else { given }.slice::<f32>()?.to_vec())
        };
        let mut h = state("initial_h")?;
        let mut c = if self.cell == Cell::Lstm { state("initial_c")? } else { Vec::new() };
        let (per_step, per_state) = (s.batch * hidden, s.batch * hidden);
        let int8 = match self.weights {
            GateWeights::Int8 => Some(Int8Layer::new(cx, self.cell, &x, dirs, s)?),
            GateWeights::Float => None,
        };
        let (w, r) = if int8.is_some() {
            (Vec::new(), Vec::new())
        } else {
            (self.part(cx, "w", &[dirs, columns, s.input])?, self.part(cx, "r", &[dirs, columns, hidden])?)
        };
        let mut y = vec![0.0f32; s.seq * dirs * per_step];
        for (d, &reverse) in backwards.iter().enumerate() {
            fn of(all: &[f32], d: usize, len: usize) -> &[f32] {
                all.get(d * len..(d + 1) * len).unwrap_or(&[])
            }
            let terms = Terms { bias: of(&bias, d, 2 * columns), peephole: of(&peephole, d, 3 * hidden) };
            let floats =
                FloatGates { sizes: s, x: x.slice()?, w: of(&w, d, columns * s.input), r: of(&r, d, columns * hidden) };
            let integers = int8.as_ref().map(|layer| layer.direction(d)).transpose()?;
            let products: &dyn GateProducts = match &integers {
                Some(integers) => integers,
                None => &floats,
            };
            let h = &mut h[d * per_state..][..per_state];
            let c = c.get_mut(d * per_state..(d + 1) * per_state).unwrap_or_default();
            let mut steps = vec![0.0f32; s.seq * per_step];
            self.run(cx, products, terms, s, Steps { lens: &lens, reverse }, h, c, &mut steps)?;
            for t in 0..s.seq {
                y[(t * dirs + d) * per_step..][..per_step].copy_from_slice(&steps[t * per_step..][..per_step]);
            }
        }
        let mut out = vec![Tensor::from_vec(&[s.seq, dirs, s.batch, hidden], y)?];
        out.push(Tensor::from_vec(&[dirs, s.batch, hidden], h)?);
        if self.cell == Cell::Lstm {
            out.push(Tensor::from_vec(&[dirs, s.batch, hidden], c)?);
        }
        if batch_first {
            out[0] = permute(&out[0], &[2, 0, 1, 3])?;
            for t in &mut out[1..] {
                *t = permute(t, &[1, 0, 2])?;
            }
        }
        Ok(out.into_iter().map(Value::from).collect())
    }
}
