//! LSTM and GRU layers: matrix products for the gates, and a kernel for what is elementwise. The same bits as
//! `quantc_ops::float::recurrent`.

use quantc_kernels::{GruGates, LstmGates, Recurrent};
use quantc_ops::float::Mat;
use quantc_ops::float::recurrent::Sizes;

use super::product::{ProductShape, product};
use crate::{Access, Arithmetic, Reads, RunError, Slot, Source, Step, StepCx, Work};

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
}

impl Cell {
    /// The number of gates.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
        }
    }
}

/// The memory that a layer needs for its products.
#[derive(Clone, Copy, Debug)]
struct Products {
    from_x: usize,
    from_h: usize,
    reset: usize,
    share: usize,
}

impl Products {
    fn new(cell: Cell, s: Sizes) -> Products {
        let columns = cell.gates() * s.hidden;
        let (reset, share) = match cell {
            Cell::Lstm => (0, 0),
            Cell::Gru { before_reset } => (s.batch * s.hidden, if before_reset { 0 } else { s.batch * s.hidden }),
        };
        Products { from_x: s.seq * s.batch * columns, from_h: s.batch * columns, reset, share }
    }

    fn len(&self) -> usize {
        self.from_x + self.from_h + self.reset + self.share
    }
}

/// Bytes of temporary memory of a [`RecurrentStep`].
pub fn recurrent_work_len(cell: Cell, sizes: Sizes) -> usize {
    Products::new(cell, sizes).len() * size_of::<f32>()
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
    /// `[directions, input, gates * hidden]`.
    pub w: Source,
    /// `[directions, hidden, gates * hidden]`.
    pub r: Source,
    /// For each direction those of the input and those of the state, `[2 * gates * hidden]`; of an LSTM their sum alone.
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
    /// The last cell state; not used by a GRU.
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
        self.kernel.name()
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        let always = [&self.x, &self.w, &self.r, &self.bias];
        let given = [&self.peephole, &self.initial_h, &self.initial_c];
        for slot in always.into_iter().chain(given.into_iter().flatten()).filter_map(Source::slot) {
            visit(Access::Read, slot);
        }
        for slot in [&self.work, &self.y, &self.h, &self.c] {
            visit(Access::Write, slot);
        }
    }

    fn work(&self) -> Work {
        let Sizes { seq, batch, input, hidden } = self.sizes;
        let given = [&self.peephole, &self.initial_h, &self.initial_c].into_iter().flatten();
        Work::reading([&self.x, &self.w, &self.r, &self.bias].into_iter().chain(given)).multiplying(
            Arithmetic::Float,
            self.backwards.len() * seq * batch * (input + hidden) * self.cell.gates() * hidden,
        )
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, outs, mut workers) = cx.split([&self.work, &self.y, &self.h, &self.c]);
        let [work, y, h, c] = outs.map(bytemuck::cast_slice_mut::<u8, f32>);
        let (s, n, columns) = (self.sizes, self.sizes.hidden, self.cell.gates() * self.sizes.hidden);
        let sizes = Products::new(self.cell, s);
        let (from_x, rest) = work.split_at_mut(sizes.from_x);
        let (from_h, rest) = rest.split_at_mut(sizes.from_h);
        let (reset, share) = rest.split_at_mut(sizes.reset);
        start(h, self.initial_h.as_ref(), &reads);
        start(c, self.initial_c.as_ref(), &reads);
        if self.lens.iter().any(|&len| len < s.seq) {
            y.fill(0.0);
        }
        let all = |source| reads.elements::<f32>(source);
        let (x, bias_len) = (all(&self.x), if self.cell == Cell::Lstm { columns } else { 2 * columns });
        let (dirs, state) = (self.backwards.len(), s.batch * n);
        for (d, &reverse) in self.backwards.iter().enumerate() {
            let w = &all(&self.w)[d * s.input * columns..][..s.input * columns];
            let r = &all(&self.r)[d * n * columns..][..n * columns];
            let bias = &all(&self.bias)[d * bias_len..][..bias_len];
            let peephole = self.peephole.as_ref().map_or(&[][..], |p| &all(p)[d * 3 * n..][..3 * n]);
            let shape = ProductShape { m: s.seq * s.batch, n: columns, k: s.input, out_stride: columns };
            product(&mut workers, shape, Mat::rows(x, s.input), Mat::rows(w, columns), None, from_x);
            let h = &mut h[d * state..][..state];
            for step in 0..s.seq {
                // A GRU that resets the state before the product has no use for the third gate's columns.
                let used = if self.cell == (Cell::Gru { before_reset: false }) { 2 * n } else { columns };
                let shape = ProductShape { m: s.batch, n: used, k: n, out_stride: columns };
                product(&mut workers, shape, Mat::rows(h, n), Mat::rows(r, columns), None, from_h);
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
                    Cell::Gru { before_reset } => {
                        let (bias_x, bias_h) = bias.split_at(columns);
                        let gates =
                            |b: usize, t: usize| GruGates { from_x: gate_x(b, t), from_h: gate_h(b), bias_x, bias_h };
                        for (b, t) in self.active(step, reverse) {
                            let reset = &mut reset[b * n..][..n];
                            self.kernel.gru_reset(&gates(b, t), before_reset, &h[b * n..][..n], reset);
                        }
                        let taken: &[f32] = if before_reset {
                            reset
                        } else {
                            let shape = ProductShape { m: s.batch, n, k: n, out_stride: n };
                            let candidate = Mat { data: &r[2 * n..], row_stride: columns, col_stride: 1 };
                            product(&mut workers, shape, Mat::rows(reset, n), candidate, None, share);
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
