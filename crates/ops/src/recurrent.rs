//! Recurrent layers.

use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};

use crate::float::recurrent::{Sizes, Steps, Weights, gru, lstm};
use crate::movement::permute;
use crate::spec::{attr, optional, required};
use crate::{AttrDefault, AttrSpec, EvalCx, InferCx, OpClass, OpError, Operator, Signature};

const HIDDEN: AttrSpec = attr("hidden_size", AttrDefault::RequiredInt, "Elements of the state.");
const DIRECTION: AttrSpec = attr(
    "direction",
    AttrDefault::Str("forward", &["forward", "reverse", "bidirectional"]),
    "`forward`, `reverse` or `bidirectional`.",
);
const LAYOUT: AttrSpec = attr(
    "layout",
    AttrDefault::Int(0),
    "0: [seq, batch, ...]; 1: [batch, seq, ...], states [batch, directions, hidden].",
);

/// `lstm` and `gru`.
pub struct Recurrent {
    sig: &'static Signature,
    gates: usize,
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
    gates: 4,
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
        attrs: &[
            HIDDEN,
            DIRECTION,
            LAYOUT,
            attr("linear_before_reset", AttrDefault::Bool(false), "Whether the reset gate comes after the product."),
        ],
        class: OpClass::Heavy,
    },
    gates: 3,
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

impl Operator for Recurrent {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn outputs(&self) -> Option<usize> {
        Some(if self.gates == 4 { 3 } else { 2 })
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        for i in [0, 1, 2] {
            cx.expect_dtype(i, &[DType::F32])?;
        }
        let hidden = hidden_size(cx.int("hidden_size")?)?;
        let dirs = directions(&cx.str("direction")?)?.len();
        let x = &cx.ty(0)?.shape;
        let [first, second, input] = x.dims() else {
            return Err(OpError::new(format!(
                "`{}` of an input {x}, which must be [seq, batch, input]",
                self.sig.name
            )));
        };
        let wanted =
            |last: Dim| -> Shape { [Dim::Known(dirs), Dim::Known(self.gates * hidden), last].into_iter().collect() };
        for (i, want) in [(1, wanted(input.clone())), (2, wanted(Dim::Known(hidden)))] {
            if !cx.ty(i)?.shape.compatible(&want) {
                return Err(OpError::new(format!(
                    "weight {i} of `{}` is {}, it must be {want}",
                    self.sig.name,
                    cx.ty(i)?.shape
                )));
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
        if self.gates == 4 {
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
        crate::dims::numel(&[s.seq, dirs, s.batch, self.gates * hidden])?;
        let part = |i: usize, shape: &[usize]| -> Result<Vec<f32>, OpError> {
            let Some(t) = cx.opt_tensor(i) else { return Ok(Vec::new()) };
            if t.shape() != shape {
                return Err(OpError::new(format!(
                    "input {i} of `{}` is {}, it must be {shape:?}",
                    self.sig.name,
                    t.ty()
                )));
            }
            Ok(t.slice::<f32>()?.to_vec())
        };
        let columns = self.gates * hidden;
        let w = part(1, &[dirs, columns, s.input])?;
        let r = part(2, &[dirs, columns, hidden])?;
        let bias = part(3, &[dirs, 2 * columns])?;
        let peephole = if self.gates == 4 { part(7, &[dirs, 3 * hidden])? } else { Vec::new() };
        let lens: Vec<usize> = match cx.opt_tensor(4) {
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
        let state = |i: usize| -> Result<Vec<f32>, OpError> {
            if cx.opt_value(i).is_none() {
                return Ok(vec![0.0; dirs * s.batch * hidden]);
            }
            let given = Tensor::from_vec(&state_shape, part(i, &state_shape)?)?;
            Ok(if batch_first { permute(&given, &[1, 0, 2])? } else { given }.slice::<f32>()?.to_vec())
        };
        let mut h = state(5)?;
        let mut c = if self.gates == 4 { state(6)? } else { Vec::new() };
        let (per_step, per_state) = (s.batch * hidden, s.batch * hidden);
        let mut y = vec![0.0f32; s.seq * dirs * per_step];
        for (d, &reverse) in backwards.iter().enumerate() {
            let of = |all: &'_ [f32], len: usize| all.get(d * len..(d + 1) * len).unwrap_or(&[]).to_vec();
            let (w, r) = (of(&w, columns * s.input), of(&r, columns * hidden));
            let (bias, peephole) = (of(&bias, 2 * columns), of(&peephole, 3 * hidden));
            let weights = Weights { w: &w, r: &r, bias: &bias, peephole: &peephole };
            let h = &mut h[d * per_state..][..per_state];
            let order = Steps { lens: &lens, reverse };
            let mut steps = vec![0.0f32; s.seq * per_step];
            if self.gates == 4 {
                let c = &mut c[d * per_state..][..per_state];
                lstm(x.slice()?, weights, s, order, h, c, &mut steps);
            } else {
                let before = cx.bool("linear_before_reset")?;
                gru(x.slice()?, weights, s, order, before, h, &mut steps);
            }
            for t in 0..s.seq {
                y[(t * dirs + d) * per_step..][..per_step].copy_from_slice(&steps[t * per_step..][..per_step]);
            }
        }
        let mut out = vec![Tensor::from_vec(&[s.seq, dirs, s.batch, hidden], y)?];
        out.push(Tensor::from_vec(&[dirs, s.batch, hidden], h)?);
        if self.gates == 4 {
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
