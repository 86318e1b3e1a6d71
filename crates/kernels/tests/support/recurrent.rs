//! Random gates of recurrent layers: how to run them on a set of kernels, and what they must give by definition.

use proptest::prelude::*;
use quantc_kernels::{GruGates, Kernels, LstmGates, Nonlinearity, RnnGates};
use quantc_tensor::math::{relu_f32, sigmoid_f32, tanh_f32};

use super::elem::{Results, bits};
use super::support::Random;

/// One time step of one sequence.
#[derive(Clone, Debug)]
pub struct RecurrentCase {
    n: usize,
    peephole: bool,
    before_reset: bool,
    seed: u64,
}

prop_compose! {
    pub fn recurrent_case()(
        n in prop_oneof![0..20usize, 20..300usize],
        (peephole, before_reset) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) -> RecurrentCase {
        RecurrentCase { n, peephole, before_reset, seed }
    }
}

impl RecurrentCase {
    /// The gates of the set, or their definitions where there is no set.
    pub fn run(&self, kernels: Option<&Kernels>) -> Results {
        let n = self.n;
        let random = &mut Random(self.seed);
        let mut vector = |len: usize| -> Vec<f32> { (0..len).map(|_| random.real(-4.0, 4.0)).collect() };
        let (from_x, from_h, bias_x, bias_h) = (vector(4 * n), vector(4 * n), vector(4 * n), vector(4 * n));
        let peephole = if self.peephole { vector(3 * n) } else { Vec::new() };
        let (mut c, mut h, share) = (vector(n), vector(n), vector(n));
        let (mut reset, mut state) = (vec![0.0; n], h.clone());
        let (mut plain_tanh, mut plain_relu) = (h.clone(), h.clone());
        let plain = RnnGates { from_x: &from_x, from_h: &from_h, bias: &bias_x };
        let lstm = LstmGates { from_x: &from_x, from_h: &from_h, bias: &bias_x, peephole: &peephole };
        let gru = GruGates { from_x: &from_x, from_h: &from_h, bias_x: &bias_x, bias_h: &bias_h };
        match kernels {
            Some(k) => {
                k.recurrent.lstm(&lstm, &mut c, &mut h);
                k.recurrent.gru_reset(&gru, self.before_reset, &state, &mut reset);
                k.recurrent.gru(&gru, self.before_reset, &share, &mut state);
                k.recurrent.rnn(&plain, Nonlinearity::Tanh, &mut plain_tanh);
                k.recurrent.rnn(&plain, Nonlinearity::Relu, &mut plain_relu);
            }
            None => {
                for i in 0..n {
                    let alone = (from_x[i] + from_h[i]) + bias_x[i];
                    (plain_tanh[i], plain_relu[i]) = (tanh_f32(alone), relu_f32(alone));
                    let sum = |g: usize| (from_x[g * n + i] + from_h[g * n + i]) + bias_x[g * n + i];
                    let peep = |g: usize, row: usize, c: f32| {
                        if self.peephole { sum(g) + peephole[row * n + i] * c } else { sum(g) }
                    };
                    let (input, forget) = (sigmoid_f32(peep(0, 0, c[i])), sigmoid_f32(peep(2, 2, c[i])));
                    c[i] = forget * c[i] + input * tanh_f32(sum(3));
                    h[i] = sigmoid_f32(peep(1, 1, c[i])) * tanh_f32(c[i]);
                    let at = |g: usize| g * n + i;
                    let gate = |g| sigmoid_f32((from_x[at(g)] + from_h[at(g)]) + (bias_x[at(g)] + bias_h[at(g)]));
                    let (z, r) = (gate(0), gate(1));
                    reset[i] = r * if self.before_reset { from_h[at(2)] + bias_h[at(2)] } else { state[i] };
                    let bias = if self.before_reset { bias_x[at(2)] } else { bias_x[at(2)] + bias_h[at(2)] };
                    state[i] = (1.0 - z) * tanh_f32((from_x[at(2)] + share[i]) + bias) + z * state[i];
                }
            }
        }
        let reals = |v: Vec<f32>| v.into_iter().map(bits).collect();
        [("c", c), ("h", h), ("reset", reset), ("state", state), ("tanh", plain_tanh), ("relu", plain_relu)]
            .map(|(name, v)| (name.into(), reals(v)))
            .into()
    }
}
