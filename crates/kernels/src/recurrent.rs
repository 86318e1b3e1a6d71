//! The elementwise part of recurrent layers: one time step of one sequence, given the products with the weights.
//!
//! The order of operations is that of `quantc_ops::float::recurrent`, so the states have the same bits.

use quantc_tensor::math::{relu_f32, sigmoid_f32, tanh_f32};

/// Gates of an LSTM for one sequence, `n` elements of the state; gates in the order i, o, f, c.
#[derive(Clone, Copy, Debug)]
pub struct LstmGates<'a> {
    /// The input's products, `4 n`.
    pub from_x: &'a [f32],
    /// The state's products, `4 n`.
    pub from_h: &'a [f32],
    /// Sum of the biases, `4 n`.
    pub bias: &'a [f32],
    /// Peepholes `3 n` in the order i, o, f; empty is none.
    pub peephole: &'a [f32],
}

/// Gates of a GRU for one sequence, `n` elements of the state; gates in the order z, r, h.
#[derive(Clone, Copy, Debug)]
pub struct GruGates<'a> {
    /// The input's products, `3 n`.
    pub from_x: &'a [f32],
    /// The state's products with the weights of z and r, and of h if the reset gate comes after the product.
    pub from_h: &'a [f32],
    /// Biases of the input, `3 n`.
    pub bias_x: &'a [f32],
    /// Biases of the state, `3 n`.
    pub bias_h: &'a [f32],
}

/// Gate of a plain recurrent layer for one sequence, `n` elements of the state.
#[derive(Clone, Copy, Debug)]
pub struct RnnGates<'a> {
    /// The input's products, `n`.
    pub from_x: &'a [f32],
    /// The state's products, `n`.
    pub from_h: &'a [f32],
    /// Sum of the biases, `n`.
    pub bias: &'a [f32],
}

/// The function of a plain recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// [`quantc_tensor::math::tanh_f32`].
    Tanh,
    /// [`quantc_tensor::math::relu_f32`].
    Relu,
}

/// Kernels of recurrent layers.
pub trait Recurrent: Send + Sync {
    /// What reports call these kernels, for example `recurrent.avx2`.
    fn name(&self) -> &'static str;

    /// The next cell state `c`, in place, and state `h`.
    ///
    /// # Panics
    /// If a slice is shorter than the gates of `c.len()` elements need, or `h` has another length.
    fn lstm(&self, gates: &LstmGates<'_>, c: &mut [f32], h: &mut [f32]);

    /// What the reset gate leaves for the candidate: of the state `h` itself, or (`before_reset`) of its product.
    ///
    /// # Panics
    /// If a slice is shorter than the gates of `h.len()` elements need, or `out` has another length.
    fn gru_reset(&self, gates: &GruGates<'_>, before_reset: bool, h: &[f32], out: &mut [f32]);

    /// The next state `h`, in place. `share` is what the candidate takes from the state: that of [`Recurrent::gru_reset`], multiplied
    /// by the weights of h unless `before_reset`.
    ///
    /// # Panics
    /// If a slice is shorter than the gates of `h.len()` elements need.
    fn gru(&self, gates: &GruGates<'_>, before_reset: bool, share: &[f32], h: &mut [f32]);

    /// The next state `h` of a plain recurrent layer.
    ///
    /// # Panics
    /// If a slice is shorter than `h`.
    fn rnn(&self, gates: &RnnGates<'_>, nonlinearity: Nonlinearity, h: &mut [f32]);
}

/// Recurrent kernels in plain Rust.
pub(crate) struct PortableRecurrent;

impl Recurrent for PortableRecurrent {
    fn name(&self) -> &'static str {
        "recurrent.portable"
    }

    fn lstm(&self, gates: &LstmGates<'_>, c: &mut [f32], h: &mut [f32]) {
        body::lstm(gates, c, h);
    }

    fn gru_reset(&self, gates: &GruGates<'_>, before_reset: bool, h: &[f32], out: &mut [f32]) {
        body::gru_reset(gates, before_reset, h, out);
    }

    fn gru(&self, gates: &GruGates<'_>, before_reset: bool, share: &[f32], h: &mut [f32]) {
        body::gru(gates, before_reset, share, h);
    }

    fn rnn(&self, gates: &RnnGates<'_>, nonlinearity: Nonlinearity, h: &mut [f32]) {
        body::rnn(gates, nonlinearity, h);
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;

    /// Elements computed together: short loops over buffers of fixed size, one for each step, are vectorised one by one.
    const BLOCK: usize = 64;
    type Block = [f32; BLOCK];

    /// `out[i] = f(i)` for a block that may be short; what lies beyond stays.
    #[inline(always)]
    fn fill(out: &mut [f32], f: impl Fn(usize) -> f32) {
        for (i, o) in out.iter_mut().enumerate() {
            *o = f(i);
        }
    }

    #[inline(always)]
    fn map(block: &mut Block, f: impl Fn(f32) -> f32) {
        for v in block {
            *v = f(*v);
        }
    }

    /// `gates[g * n + at..]`, `len` elements.
    #[inline(always)]
    fn gate(gates: &[f32], n: usize, g: usize, at: usize, len: usize) -> &[f32] {
        &gates[g * n + at..][..len]
    }

    /// [`Recurrent::lstm`].
    #[inline(always)]
    pub fn lstm(gates: &LstmGates<'_>, c: &mut [f32], h: &mut [f32]) {
        let n = c.len();
        assert_eq!(h.len(), n, "states of one length");
        let (mut a, mut b) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (index, (c, h)) in c.chunks_mut(BLOCK).zip(h.chunks_mut(BLOCK)).enumerate() {
            let (at, len) = (index * BLOCK, c.len());
            // The gate before its function; `row` is that of its peephole.
            let sum = |g: usize, row: Option<usize>, c: &[f32], out: &mut Block| {
                let part = |gates| gate(gates, n, g, at, len);
                let (x, h, bias) = (part(gates.from_x), part(gates.from_h), part(gates.bias));
                match row.filter(|_| !gates.peephole.is_empty()) {
                    Some(row) => {
                        let w = gate(gates.peephole, n, row, at, len);
                        fill(&mut out[..len], |i| ((x[i] + h[i]) + bias[i]) + w[i] * c[i]);
                    }
                    None => fill(&mut out[..len], |i| (x[i] + h[i]) + bias[i]),
                }
            };
            // c = sigmoid(f) c + sigmoid(i) tanh(candidate)
            sum(2, Some(2), c, &mut a);
            map(&mut a, sigmoid_f32);
            sum(0, Some(0), c, &mut b);
            c.iter_mut().zip(&a).for_each(|(c, f)| *c *= f);
            map(&mut b, sigmoid_f32);
            sum(3, None, c, &mut a);
            map(&mut a, tanh_f32);
            c.iter_mut().zip(b.iter().zip(&a)).for_each(|(c, (i, candidate))| *c += i * candidate);
            // h = sigmoid(o) tanh(c)
            sum(1, Some(1), c, &mut a);
            map(&mut a, sigmoid_f32);
            b[..len].copy_from_slice(c);
            map(&mut b, tanh_f32);
            h.iter_mut().zip(a.iter().zip(&b)).for_each(|(h, (o, c))| *h = o * c);
        }
    }

    /// `sigmoid((x + h) + (b_x + b_h))` of gate `g`.
    #[inline(always)]
    fn gru_gate(gates: &GruGates<'_>, n: usize, g: usize, at: usize, len: usize, out: &mut Block) {
        let part = |gates| gate(gates, n, g, at, len);
        let (x, h, bx, bh) = (part(gates.from_x), part(gates.from_h), part(gates.bias_x), part(gates.bias_h));
        fill(&mut out[..len], |i| (x[i] + h[i]) + (bx[i] + bh[i]));
        map(out, sigmoid_f32);
    }

    /// [`Recurrent::gru_reset`].
    #[inline(always)]
    pub fn gru_reset(gates: &GruGates<'_>, before_reset: bool, h: &[f32], out: &mut [f32]) {
        let n = h.len();
        assert_eq!(out.len(), n, "states of one length");
        let mut r = [0.0; BLOCK];
        for (index, (h, out)) in h.chunks(BLOCK).zip(out.chunks_mut(BLOCK)).enumerate() {
            let (at, len) = (index * BLOCK, h.len());
            gru_gate(gates, n, 1, at, len, &mut r);
            if before_reset {
                let (product, bias) = (gate(gates.from_h, n, 2, at, len), gate(gates.bias_h, n, 2, at, len));
                fill(out, |i| r[i] * (product[i] + bias[i]));
            } else {
                fill(out, |i| r[i] * h[i]);
            }
        }
    }

    /// [`Recurrent::gru`].
    #[inline(always)]
    pub fn gru(gates: &GruGates<'_>, before_reset: bool, share: &[f32], h: &mut [f32]) {
        let n = h.len();
        let (mut z, mut inner) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (index, h) in h.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (index * BLOCK, h.len());
            let part = |gates| gate(gates, n, 2, at, len);
            let (x, bx, bh) = (part(gates.from_x), part(gates.bias_x), part(gates.bias_h));
            let share = &share[at..][..len];
            if before_reset {
                fill(&mut inner[..len], |i| (x[i] + share[i]) + bx[i]);
            } else {
                fill(&mut inner[..len], |i| (x[i] + share[i]) + (bx[i] + bh[i]));
            }
            map(&mut inner, tanh_f32);
            gru_gate(gates, n, 0, at, len, &mut z);
            h.iter_mut().zip(z.iter().zip(&inner)).for_each(|(h, (z, t))| *h = (1.0 - z) * t + z * *h);
        }
    }

    /// [`Recurrent::rnn`].
    #[inline(always)]
    pub fn rnn(gates: &RnnGates<'_>, nonlinearity: Nonlinearity, h: &mut [f32]) {
        let mut sum = [0.0; BLOCK];
        for (index, h) in h.chunks_mut(BLOCK).enumerate() {
            let (at, len) = (index * BLOCK, h.len());
            let (x, from_h, bias) = (&gates.from_x[at..][..len], &gates.from_h[at..][..len], &gates.bias[at..][..len]);
            fill(&mut sum[..len], |i| (x[i] + from_h[i]) + bias[i]);
            match nonlinearity {
                Nonlinearity::Tanh => map(&mut sum, tanh_f32),
                Nonlinearity::Relu => map(&mut sum, relu_f32),
            }
            h.copy_from_slice(&sum[..len]);
        }
    }
}
