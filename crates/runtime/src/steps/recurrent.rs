//! Recurrent layers: matrix products for the gates, and a kernel for what is elementwise. The same bits as
//! `quantc_ops::float::recurrent`.

use quantc_kernels::{GruGates, LstmGates, Nonlinearity, Recurrent, RnnGates};
use quantc_ops::float::recurrent::Sizes;

use super::recurrent_weights::{GateWeights, Memory};
use crate::{Access, Reads, RunError, Slot, Source, Step, StepCx, Work};

/// Which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm,
    /// Gates z, r, h.
    Gru {
        /// Whether the reset gate comes after the product.
        before_reset: bool,
    },
    /// One gate.
    Rnn {
        /// Its function.
        nonlinearity: Nonlinearity,
    },
}

impl Cell {
    /// The number of gates.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn { .. } => 1,
        }
    }

    /// The gates whose products with the state come first: a GRU that resets the state before the product has no use for the third.
    pub(crate) fn first_gates(self) -> usize {
        if self == (Cell::Gru { before_reset: false }) { 2 } else { self.gates() }
    }

    /// Whether the sum of both biases is all that it needs.
    pub fn sums_biases(self) -> bool {
        !matches!(self, Cell::Gru { .. })
    }
}

/// The memory that a layer needs for its products.
#[derive(Clone, Copy, Debug)]
struct Products {
    from_x: usize,
    from_h: usize,
    reset: usize,
    share: usize,
    /// Scales and starts of integer products.
    params: usize,
}

impl Products {
    fn new(cell: Cell, s: Sizes) -> Products {
        let columns = cell.gates() * s.hidden;
        let (reset, share) = match cell {
            Cell::Gru { before_reset } => (s.batch * s.hidden, if before_reset { 0 } else { s.batch * s.hidden }),
            Cell::Lstm | Cell::Rnn { .. } => (0, 0),
        };
        Products { from_x: s.seq * s.batch * columns, from_h: s.batch * columns, reset, share, params: columns }
    }

    fn len(&self) -> usize {
        self.from_x + self.from_h + self.reset + self.share + 2 * self.params
    }
}

/// Bytes of temporary memory of a [`RecurrentStep`]: products, and codes behind them.
pub fn recurrent_work_len(cell: Cell, sizes: Sizes, weights: &GateWeights) -> usize {
    Products::new(cell, sizes).len() * size_of::<f32>() + weights.codes_len(sizes)
}

/// A recurrent layer of one or two directions.
pub struct RecurrentStep {
    /// Kernel.
    pub kernel: &'static dyn Recurrent,
    /// Which layer.
    pub cell: Cell,
    /// Sizes.
    pub sizes: Sizes,
    /// For each direction whether it runs backwards.
    pub backwards: &'static [bool],
    /// The length of each sequence, at most `sizes.seq`.
    pub lens: Vec<usize>,
    /// `[seq, batch, input]`.
    pub x: Source,
    /// Those of input and state.
    pub weights: GateWeights,
    /// For each direction those of the input and those of the state, `[2 * gates * hidden]`; if [`Cell::sums_biases`], their sum alone.
    pub bias: Source,
    /// `[directions, 3 * hidden]`.
    pub peephole: Option<Source>,
    /// `[directions, batch, hidden]`; none is 0.
    pub initial_h: Option<Source>,
    /// Of an LSTM, as `initial_h`.
    pub initial_c: Option<Source>,
    /// Memory for products, [`recurrent_work_len`] bytes.
    pub work: Slot,
    /// Every state, `[seq, directions, batch, hidden]`.
    pub y: Slot,
    /// The last state, `[directions, batch, hidden]`.
    pub h: Slot,
    /// The last cell state; of an LSTM only.
    pub c: Slot,
}

impl RecurrentStep {
    /// The time step that comes `step`-th for sequence `b`, `None` when that has ended.
    fn time(&self, step: usize, b: usize, reverse: bool) -> Option<usize> {
        let len = self.lens[b];
        (step < len).then(|| if reverse { len - 1 - step } else { step })
    }

    /// The sequences that have a `step`-th time step, and which it is.
    fn active(&self, step: usize, reverse: bool) -> impl Iterator<Item = (usize, usize)> {
        (0..self.sizes.batch).filter_map(move |b| self.time(step, b, reverse).map(|t| (b, t)))
    }
}

/// Fills the state that a layer starts from.
fn start<'a>(state: &mut [f32], initial: Option<&'a Source>, reads: &Reads<'a>) {
    match initial {
        Some(source) => state.copy_from_slice(&reads.elements(source)[..state.len()]),
        None => state.fill(0.0),
    }
}

impl Step for RecurrentStep {
    fn kernel(&self) -> &'static str {
        self.weights.kernel().unwrap_or(self.kernel.name())
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        let given = [&self.peephole, &self.initial_h, &self.initial_c];
        let all = [&self.x, &self.bias].into_iter().chain(given.into_iter().flatten()).chain(self.weights.sources());
        for slot in all.filter_map(Source::slot) {
            visit(Access::Read, slot);
        }
        for slot in [&self.work, &self.y, &self.h, &self.c] {
            visit(Access::Write, slot);
        }
    }

    fn scratch_len(&self) -> usize {
        self.weights.scratch_len()
    }

    fn work(&self) -> Work {
        let Sizes { seq, batch, input, hidden } = self.sizes;
        let given = [&self.peephole, &self.initial_h, &self.initial_c].into_iter().flatten();
        let read = Work::reading([&self.x, &self.bias].into_iter().chain(given).chain(self.weights.sources()));
        let macs = self.backwards.len() * seq * batch * (input + hidden) * self.cell.gates() * hidden;
        self.weights.work(read).multiplying(self.weights.arithmetic(), macs)
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [work, y, h, c], mut workers) = cx.split([&self.work, &self.y, &self.h, &self.c]);
        let (s, n, columns) = (self.sizes, self.sizes.hidden, self.cell.gates() * self.sizes.hidden);
        let sizes = Products::new(self.cell, s);
        let (work, codes) = work.split_at_mut(sizes.len() * size_of::<f32>());
        let [work, y, h, c] = [work, y, h, c].map(bytemuck::cast_slice_mut::<u8, f32>);
        let (from_x, rest) = work.split_at_mut(sizes.from_x);
        let (from_h, rest) = rest.split_at_mut(sizes.from_h);
        let (reset, rest) = rest.split_at_mut(sizes.reset);
        let (share, params) = rest.split_at_mut(sizes.share);
        start(h, self.initial_h.as_ref(), &reads);
        start(c, self.initial_c.as_ref(), &reads);
        let uneven = self.lens.iter().any(|&len| len < s.seq);
        if uneven {
            y.fill(0.0);
        }
        let all = |source| reads.elements::<f32>(source);
        let bias_len = if self.cell.sums_biases() { columns } else { 2 * columns };
        let (dirs, state) = (self.backwards.len(), s.batch * n);
        let mut memory = Memory::new(&self.weights, s, codes, params);
        let x = all(&self.x);
        memory.take_input(&self.weights, &mut workers, x);
        for (d, &reverse) in self.backwards.iter().enumerate() {
            let bias = &all(&self.bias)[d * bias_len..][..bias_len];
            let peephole = self.peephole.as_ref().map_or(&[][..], |p| &all(p)[d * 3 * n..][..3 * n]);
            let products = self.weights.direction(d, self.cell, s, &reads);
            products.of_input(&mut workers, &mut memory, x, from_x);
            let h = &mut h[d * state..][..state];
            for step in 0..s.seq {
                products.of_state(&mut workers, &mut memory, h, from_h);
                let gate_x = |b: usize, t: usize| &from_x[(t * s.batch + b) * columns..][..columns];
                let gate_h = |b: usize| &from_h[b * columns..][..columns];
                match self.cell {
                    Cell::Lstm => {
                        let c = &mut c[d * state..][..state];
                        for (b, t) in self.active(step, reverse) {
                            let gates = LstmGates { from_x: gate_x(b, t), from_h: gate_h(b), bias, peephole };
                            self.kernel.lstm(&gates, &mut c[b * n..][..n], &mut h[b * n..][..n]);
                        }
                    }
                    Cell::Rnn { nonlinearity } => {
                        for (b, t) in self.active(step, reverse) {
                            let gates = RnnGates { from_x: gate_x(b, t), from_h: gate_h(b), bias };
                            self.kernel.rnn(&gates, nonlinearity, &mut h[b * n..][..n]);
                        }
                    }
                    Cell::Gru { before_reset } => {
                        let (bias_x, bias_h) = bias.split_at(columns);
                        let gates =
                            |b: usize, t: usize| GruGates { from_x: gate_x(b, t), from_h: gate_h(b), bias_x, bias_h };
                        if uneven {
                            // What is left of sequences that have ended counts for a range.
                            reset.fill(0.0);
                        }
                        for (b, t) in self.active(step, reverse) {
                            let reset = &mut reset[b * n..][..n];
                            self.kernel.gru_reset(&gates(b, t), before_reset, &h[b * n..][..n], reset);
                        }
                        let taken: &[f32] = if before_reset {
                            reset
                        } else {
                            products.of_reset(&mut workers, &mut memory, reset, share);
                            share
                        };
                        for (b, t) in self.active(step, reverse) {
                            self.kernel.gru(&gates(b, t), before_reset, &taken[b * n..][..n], &mut h[b * n..][..n]);
                        }
                    }
                }
                for (b, t) in self.active(step, reverse) {
                    y[((t * dirs + d) * s.batch + b) * n..][..n].copy_from_slice(&h[b * n..][..n]);
                }
            }
        }
        Ok(())
    }
}
