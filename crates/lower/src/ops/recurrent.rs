//! `lstm`, `gru`, `rnn` and their dynamically quantized forms.

use std::cell::LazyCell;
use std::sync::Arc;

use quantc_ir::ValueRef;
use quantc_kernels::{ConvGeometry, ConvPlan, Nonlinearity};
use quantc_ops::float::recurrent::Sizes;
use quantc_ops::quantized::recurrent::products_of_state;
use quantc_runtime::steps::{
    Cell, GateWeights, Int8Direction, Int8Product, QPart, QWeights, RecurrentStep, recurrent_work_len,
};
use quantc_runtime::{Constant, Slot, Source};
use quantc_tensor::DType;

use crate::cache::PartKey;
use crate::error::NodeError;
use crate::lowering::{Call, Lowering};

/// Input `name` of a call, if the operator has it and it is given.
fn named(call: &Call<'_>, name: &str) -> Option<ValueRef> {
    call.opt(call.op.signature().inputs.iter().position(|i| i.name == name)?)
}

/// The bias as the step takes it: but for a GRU the sum of the input's and the state's, added once. `None` if it is not constant.
fn bias(lw: &Lowering<'_>, call: &Call<'_>, cell: Cell, dirs: usize, columns: usize) -> Option<Source> {
    let given = match named(call, "b") {
        None => vec![0.0; dirs * 2 * columns],
        Some(value) => lw.constant(value)?.to_f32_vec(),
    };
    let data: Vec<f32> = if cell.sums_biases() {
        given
            .chunks_exact(2 * columns)
            .flat_map(|both| both[..columns].iter().zip(&both[columns..]).map(|(w, r)| w + r))
            .collect()
    } else {
        given
    };
    Some(Source::Const(Constant::new(bytemuck::cast_slice(&data))))
}

/// One of the weights of a quantized layer: `[directions, columns, depth]`, multiplied by `rows` vectors.
struct Stacked {
    weight: ValueRef,
    /// Of each direction's columns.
    scales: Vec<f32>,
    columns: usize,
    depth: usize,
    rows: usize,
}

impl Stacked {
    /// `None` if weights or scales are not constant, or their shapes do not fit: those are the reference evaluation's to refuse.
    fn new(
        lw: &Lowering<'_>,
        call: &Call<'_>,
        name: &str,
        [dirs, columns, depth]: [usize; 3],
        rows: usize,
    ) -> Option<Stacked> {
        let (weight, scales) = (named(call, name)?, named(call, &format!("{name}_scale"))?);
        let (shape, scales) = (lw.shape(scales), lw.constant(scales)?.to_f32_vec());
        let fits =
            lw.is_constant(weight) && lw.dtype(weight) == DType::I8 && lw.shape(weight) == [dirs, columns, depth];
        let scales = match shape[..] {
            [d, 1] if d == dirs => scales.iter().flat_map(|s| std::iter::repeat_n(*s, columns)).collect(),
            [d, n] if d == dirs && n == columns => scales,
            _ => return None,
        };
        fits.then_some(Stacked { weight, scales, columns, depth, rows })
    }

    /// The product with some columns of one direction.
    fn product(
        &self,
        lw: &Lowering<'_>,
        direction: usize,
        columns: std::ops::Range<usize>,
    ) -> Result<Int8Product, NodeError> {
        let first = direction * self.columns + columns.start;
        let geometry = ConvGeometry::linear(self.rows, self.depth, columns.len());
        let shape = geometry.weight_shape();
        let tensor = LazyCell::new(|| lw.constant(self.weight));
        let weights = || {
            let all = tensor.as_ref().and_then(|w| w.slice::<i8>().ok()).unwrap_or(&[]);
            all.get(first * self.depth..).and_then(|w| w.get(..shape.len())).unwrap_or(&[])
        };
        let kernel = lw.kernels.qconv;
        let packed = match lw.param(self.weight) {
            Some(param) => {
                lw.cache.packed(PartKey { param: param.to_owned(), usage: "gates", first }, kernel, &shape, weights)
            }
            None => Arc::new(kernel.pack(&shape, weights())),
        };
        let plan = Arc::new(ConvPlan::new(geometry)?.with_blocking(lw.cache.blocking(&geometry)));
        let scale = Arc::from(&self.scales[first..first + columns.len()]);
        let parts = vec![QPart { plan, weights: packed }];
        Ok(Int8Product { weights: QWeights { kernel, size: columns.len().max(1), parts }, scale })
    }
}

/// The weights of a layer; `None` if no kernel takes them.
fn weights(
    lw: &mut Lowering<'_>,
    call: &Call<'_>,
    cell: Cell,
    dirs: usize,
    s: Sizes,
) -> Result<Option<GateWeights>, NodeError> {
    if !call.op.name().starts_with("quantized.") {
        // As right matrices.
        let w = lw.operand(call.input(1)?, Some(&[0, 2, 1]))?.source;
        let r = lw.operand(call.input(2)?, Some(&[0, 2, 1]))?.source;
        return Ok(Some(GateWeights::Float { w, r }));
    }
    let columns = cell.gates() * s.hidden;
    let w = Stacked::new(lw, call, "w", [dirs, columns, s.input], s.seq * s.batch);
    let r = Stacked::new(lw, call, "r", [dirs, columns, s.hidden], s.batch);
    let (Some(w), Some(r)) = (w, r) else { return Ok(None) };
    let split = match cell {
        Cell::Lstm => products_of_state(quantc_ops::recurrent::Cell::Lstm, false),
        Cell::Rnn { .. } => products_of_state(quantc_ops::recurrent::Cell::Rnn, false),
        Cell::Gru { before_reset } => products_of_state(quantc_ops::recurrent::Cell::Gru, before_reset),
    };
    let mut directions = Vec::with_capacity(dirs);
    for d in 0..dirs {
        let of = |gates: &std::ops::Range<usize>| r.product(lw, d, gates.start * s.hidden..gates.end * s.hidden);
        let reset = split.get(1).map(of).transpose()?;
        let Some(first) = split.first() else { return Ok(None) };
        directions.push(Int8Direction { w: w.product(lw, d, 0..columns)?, r: of(first)?, reset });
    }
    let range = if call.attrs.bool("reduce_range")? { (0, 127) } else { (0, 255) };
    Ok(Some(GateWeights::Int8 { quantize: lw.kernels.quantize, range, directions }))
}

/// The slot for output `i`, temporary if nobody uses it.
fn output(lw: &mut Lowering<'_>, call: &Call<'_>, i: u32, order: &[usize], len: usize) -> Slot {
    let value = ValueRef { node: call.id, output: i };
    if (i as usize) < call.node.types().len() {
        lw.define(value, order.to_vec()).slot()
    } else {
        lw.temporary(len * size_of::<f32>())
    }
}

/// `lstm`, `gru`, `rnn`, `quantized.lstm_dynamic`, `quantized.gru_dynamic` and `quantized.rnn_dynamic`.
pub(crate) fn recurrent(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let cell = match call.op.name().trim_start_matches("quantized.").trim_end_matches("_dynamic") {
        "lstm" => Cell::Lstm,
        "gru" => Cell::Gru { before_reset: call.attrs.bool("linear_before_reset")? },
        _ => match call.attrs.str("nonlinearity")?.as_str() {
            "tanh" => Cell::Rnn { nonlinearity: Nonlinearity::Tanh },
            "relu" => Cell::Rnn { nonlinearity: Nonlinearity::Relu },
            _ => return Ok(false),
        },
    };
    let backwards: &'static [bool] = match call.attrs.str("direction")?.as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        _ => return Ok(false),
    };
    let batch_first = call.attrs.int("layout")? != 0;
    let (x, shape) = (call.input(0)?, lw.shape(call.input(0)?));
    let (dirs, hidden) = (backwards.len(), usize::try_from(call.attrs.int("hidden_size")?).unwrap_or_default());
    let [first, second, input] = shape[..] else { return Ok(false) };
    let (seq, batch) = if batch_first { (second, first) } else { (first, second) };
    let sizes = Sizes { seq, batch, input, hidden };
    let quantized = call.op.name().starts_with("quantized.");
    let weight = if quantized { DType::I8 } else { DType::F32 };
    // Shapes and types that do not fit are the reference evaluation's to refuse.
    let columns = cell.gates() * hidden;
    let state = if batch_first { [batch, dirs, hidden] } else { [dirs, batch, hidden] };
    let wanted: [(&str, DType, &[usize]); 6] = [
        ("w", weight, &[dirs, columns, input]),
        ("r", weight, &[dirs, columns, hidden]),
        ("b", DType::F32, &[dirs, 2 * columns]),
        ("initial_h", DType::F32, &state),
        ("initial_c", DType::F32, &state),
        ("p", DType::F32, &[dirs, 3 * hidden]),
    ];
    let fits = wanted
        .iter()
        .all(|(name, dtype, shape)| named(call, name).is_none_or(|v| lw.dtype(v) == *dtype && lw.shape(v) == *shape));
    if lw.dtype(x) != DType::F32 || !fits || shape.contains(&0) || hidden == 0 {
        return Ok(false);
    }
    let lens = match named(call, "sequence_lens") {
        None => vec![seq; batch],
        Some(value) => {
            let Some(lens) = lw.constant(value) else { return Ok(false) };
            let lens = lens.to_i64_vec();
            let lens: Vec<usize> = lens.iter().filter_map(|&n| usize::try_from(n).ok()).filter(|&n| n <= seq).collect();
            if lens.len() != batch {
                return Ok(false);
            }
            lens
        }
    };
    let Some(bias) = bias(lw, call, cell, dirs, columns) else { return Ok(false) };
    let (x_order, y_order, state_order): (&[usize], &[usize], &[usize]) =
        if batch_first { (&[1, 0, 2], &[1, 2, 0, 3], &[1, 0, 2]) } else { (&[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 2]) };
    let x = lw.operand(x, Some(x_order))?.source;
    let Some(weights) = weights(lw, call, cell, dirs, sizes)? else { return Ok(false) };
    let mut optional = |name: &str, order: &[usize]| -> Result<Option<Source>, NodeError> {
        named(call, name).map(|v| lw.operand(v, Some(order)).map(|o| o.source)).transpose()
    };
    let initial_h = optional("initial_h", state_order)?;
    let initial_c = optional("initial_c", state_order)?;
    let peephole = optional("p", &[0, 1])?;
    let is_lstm = cell == Cell::Lstm;
    let work = lw.temporary(recurrent_work_len(cell, sizes, &weights));
    let y = output(lw, call, 0, y_order, 0);
    let h = output(lw, call, 1, state_order, 0);
    let c = output(lw, call, 2, state_order, if is_lstm { dirs * batch * hidden } else { 0 });
    let kernel = lw.kernels.recurrent;
    let step = RecurrentStep {
        kernel,
        cell,
        sizes,
        backwards,
        lens,
        x,
        weights,
        bias,
        peephole,
        initial_h,
        initial_c,
        work,
        y,
        h,
        c,
    };
    lw.push_in(call, y_order, step);
    Ok(true)
}
