//! Recurrent layers: one direction of an LSTM, GRU or plain layer, in ONNX's gate order.

use std::ops::Range;

use quantc_kernels_gemm::Mat;
use quantc_tensor::math::{sigmoid_f32, tanh_f32};

use super::linear::sgemm_parallel;
use crate::OpError;

/// Sizes of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Time steps.
    pub seq: usize,
    /// Sequences.
    pub batch: usize,
    /// Elements of one input.
    pub input: usize,
    /// Elements of the state.
    pub hidden: usize,
}

/// What a direction adds to its products.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// `[2 * gates * hidden]`: those of the input, then those of the state; empty is 0.
    pub bias: &'a [f32],
    /// LSTM peepholes `[3 * hidden]` (i, o, f); empty is none.
    pub peephole: &'a [f32],
}

/// The products of one direction's weights, without biases.
pub trait GateProducts {
    /// Of the input, at every step: `[seq * batch, gates * hidden]`.
    ///
    /// # Errors
    /// If sizes do not fit.
    fn of_input(&self) -> Result<Vec<f32>, OpError>;

    /// Of a state `[batch, hidden]` with the weights of some gates: `[batch, gates.len() * hidden]`.
    ///
    /// # Errors
    /// If sizes do not fit.
    fn of_state(&self, h: &[f32], gates: Range<usize>) -> Result<Vec<f32>, OpError>;
}

/// Products of f32 weights.
pub struct FloatGates<'a> {
    /// Sizes.
    pub sizes: Sizes,
    /// `[seq, batch, input]`.
    pub x: &'a [f32],
    /// `[gates * hidden, input]`.
    pub w: &'a [f32],
    /// `[gates * hidden, hidden]`.
    pub r: &'a [f32],
}

impl GateProducts for FloatGates<'_> {
    fn of_input(&self) -> Result<Vec<f32>, OpError> {
        let Sizes { seq, batch, input, hidden } = self.sizes;
        let columns = self.r.len().checked_div(hidden).unwrap_or(0);
        Ok(project(self.x, self.w, seq * batch, input, columns))
    }

    fn of_state(&self, h: &[f32], gates: Range<usize>) -> Result<Vec<f32>, OpError> {
        let n = self.sizes.hidden;
        let r = &self.r[gates.start * n * n..gates.end * n * n];
        Ok(project(h, r, self.sizes.batch, n, gates.len() * n))
    }
}

/// The order of the time steps.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// Length of each sequence, at most [`Sizes::seq`].
    pub lens: &'a [usize],
    /// Whether they run from the last step to the first.
    pub reverse: bool,
}

impl Steps<'_> {
    /// The time step that comes `step`-th for sequence `b`, `None` when that has ended.
    fn time(&self, step: usize, b: usize) -> Option<usize> {
        let len = self.lens[b];
        if step >= len { None } else { Some(if self.reverse { len - 1 - step } else { step }) }
    }
}

/// `x * w^T` for every step at once: `[seq * batch, gates * hidden]`.
fn project(x: &[f32], w: &[f32], rows: usize, depth: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * columns];
    sgemm_parallel(rows, columns, depth, Mat::rows(x, depth), Mat::rows(w, depth).t(), &mut out);
    out
}

/// One direction of an LSTM (ONNX LSTM with its default activations, gates i, o, f, c): `h` and `c` of `[batch, hidden]` are the
/// initial state and become the last one; `y` of `[seq, batch, hidden]` takes every state, 0 beyond a sequence's length.
///
/// Each gate is `(x w^T + h r^T) + (b_w + b_r)`, with the peephole's product added last.
///
/// # Errors
/// Those of the products.
pub fn lstm(
    products: &dyn GateProducts,
    terms: Terms<'_>,
    s: Sizes,
    steps: Steps<'_>,
    h: &mut [f32],
    c: &mut [f32],
    y: &mut [f32],
) -> Result<(), OpError> {
    let (n, columns) = (s.hidden, 4 * s.hidden);
    let from_x = products.of_input()?;
    let bias = joint_bias(terms.bias, columns);
    y.fill(0.0);
    for step in 0..s.seq {
        let from_h = products.of_state(h, 0..4)?;
        for b in 0..s.batch {
            let Some(t) = steps.time(step, b) else { continue };
            let gx = &from_x[(t * s.batch + b) * columns..][..columns];
            let gh = &from_h[b * columns..][..columns];
            let (h, c) = (&mut h[b * n..][..n], &mut c[b * n..][..n]);
            let y = &mut y[(t * s.batch + b) * n..][..n];
            for k in 0..n {
                let gate = |g: usize| (gx[g * n + k] + gh[g * n + k]) + bias[g * n + k];
                let peep = |g: usize, c: f32| terms.peephole.get(g * n + k).map_or(0.0, |&w| w * c);
                let with = |g: usize, row: usize, c: f32| {
                    if terms.peephole.is_empty() { gate(g) } else { gate(g) + peep(row, c) }
                };
                let i = sigmoid_f32(with(0, 0, c[k]));
                let f = sigmoid_f32(with(2, 2, c[k]));
                let candidate = tanh_f32(gate(3));
                c[k] = f * c[k] + i * candidate;
                let o = sigmoid_f32(with(1, 1, c[k]));
                h[k] = o * tanh_f32(c[k]);
                y[k] = h[k];
            }
        }
    }
    Ok(())
}

/// One direction of a GRU (ONNX GRU with its default activations, gates z, r, h): as [`lstm`], without the cell state.
/// `before_reset` is `linear_before_reset`. Where the reset comes before the product, what it leaves of a sequence that has ended is 0.
///
/// # Errors
/// Those of the products.
pub fn gru(
    products: &dyn GateProducts,
    terms: Terms<'_>,
    s: Sizes,
    steps: Steps<'_>,
    before_reset: bool,
    h: &mut [f32],
    y: &mut [f32],
) -> Result<(), OpError> {
    let (n, columns) = (s.hidden, 3 * s.hidden);
    // A reset before the product has no use for the third gate of the state itself.
    let used = if before_reset { 3 } else { 2 };
    let from_x = products.of_input()?;
    let zeros = vec![0.0; 2 * columns];
    let (bw, br) = if terms.bias.is_empty() { &zeros } else { terms.bias }.split_at(columns);
    y.fill(0.0);
    for step in 0..s.seq {
        let from_h = products.of_state(h, 0..used)?;
        let of_h = |b: usize, g: usize, k: usize| from_h[(b * used + g) * n + k];
        let gates = |b: usize, t: usize, g: usize, k: usize| {
            let gx = from_x[(t * s.batch + b) * columns + g * n + k];
            sigmoid_f32((gx + of_h(b, g, k)) + (bw[g * n + k] + br[g * n + k]))
        };
        // The candidate's share of the state, which is reset before or after its product.
        let mut reset = vec![0.0; s.batch * n];
        for b in 0..s.batch {
            let Some(t) = steps.time(step, b) else { continue };
            for k in 0..n {
                let r = gates(b, t, 1, k);
                reset[b * n + k] = if before_reset { r * (of_h(b, 2, k) + br[2 * n + k]) } else { r * h[b * n + k] };
            }
        }
        let share = if before_reset { reset } else { products.of_state(&reset, 2..3)? };
        for b in 0..s.batch {
            let Some(t) = steps.time(step, b) else { continue };
            for k in 0..n {
                let gx = from_x[(t * s.batch + b) * columns + 2 * n + k];
                let inner = if before_reset {
                    (gx + share[b * n + k]) + bw[2 * n + k]
                } else {
                    (gx + share[b * n + k]) + (bw[2 * n + k] + br[2 * n + k])
                };
                let z = gates(b, t, 0, k);
                let state = (1.0 - z) * tanh_f32(inner) + z * h[b * n + k];
                y[(t * s.batch + b) * n + k] = state;
            }
        }
        advance(s, steps, step, h, y);
    }
    Ok(())
}

/// One direction of a plain recurrent layer (ONNX RNN with the activation Tanh or Relu): `f((x w^T + h r^T) + (b_w + b_r))`, otherwise as
/// [`gru`].
///
/// # Errors
/// Those of the products.
pub fn rnn(
    products: &dyn GateProducts,
    terms: Terms<'_>,
    s: Sizes,
    steps: Steps<'_>,
    f: fn(f32) -> f32,
    h: &mut [f32],
    y: &mut [f32],
) -> Result<(), OpError> {
    let n = s.hidden;
    let from_x = products.of_input()?;
    let bias = joint_bias(terms.bias, n);
    y.fill(0.0);
    for step in 0..s.seq {
        let from_h = products.of_state(h, 0..1)?;
        for b in 0..s.batch {
            let Some(t) = steps.time(step, b) else { continue };
            let at = (t * s.batch + b) * n;
            for k in 0..n {
                y[at + k] = f((from_x[at + k] + from_h[b * n + k]) + bias[k]);
            }
        }
        advance(s, steps, step, h, y);
    }
    Ok(())
}

/// Makes the states that a step computed those of the next.
fn advance(s: Sizes, steps: Steps<'_>, step: usize, h: &mut [f32], y: &[f32]) {
    for b in 0..s.batch {
        if let Some(t) = steps.time(step, b) {
            h[b * s.hidden..][..s.hidden].copy_from_slice(&y[(t * s.batch + b) * s.hidden..][..s.hidden]);
        }
    }
}

/// `b_w + b_r`; zeros without a bias.
fn joint_bias(bias: &[f32], columns: usize) -> Vec<f32> {
    if bias.is_empty() {
        return vec![0.0; columns];
    }
    bias[..columns].iter().zip(&bias[columns..]).map(|(a, b)| a + b).collect()
}
