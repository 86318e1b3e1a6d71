//! `lstm` and `gru`.

use quantc_ir::ValueRef;
use quantc_ops::float::recurrent::Sizes;
use quantc_runtime::steps::{Cell, RecurrentStep, recurrent_work_len};
use quantc_runtime::{Constant, Slot, Source};
use quantc_tensor::DType;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};

/// The bias as the step takes it: of an LSTM the sum of the input's and the state's, added once. `None` if it is not constant.
fn bias(lw: &Lowering<'_>, call: &Call<'_>, cell: Cell, dirs: usize, columns: usize) -> Option<Source> {
    let given = match call.opt(3) {
        None => vec![0.0; dirs * 2 * columns],
        Some(value) => lw.constant(value)?.to_f32_vec(),
    };
    let data: Vec<f32> = match cell {
        Cell::Gru { .. } => given,
        Cell::Lstm => given
            .chunks_exact(2 * columns)
            .flat_map(|both| both[..columns].iter().zip(&both[columns..]).map(|(w, r)| w + r))
            .collect(),
    };
    Some(Source::Const(Constant::new(bytemuck::cast_slice(&data))))
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

/// `lstm` and `gru`.
pub(crate) fn recurrent(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let cell = if call.op.name() == "lstm" {
        Cell::Lstm
    } else {
        Cell::Gru { before_reset: call.attrs.bool("linear_before_reset")? }
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
    let floats = [0, 1, 2, 3, 5, 6, 7].into_iter().filter_map(|i| call.opt(i)).all(|v| lw.dtype(v) == DType::F32);
    // Shapes that do not fit are the reference evaluation's to refuse.
    let columns = cell.gates() * hidden;
    let state = if batch_first { [batch, dirs, hidden] } else { [dirs, batch, hidden] };
    let wanted: [(usize, &[usize]); 6] = [
        (1, &[dirs, columns, input]),
        (2, &[dirs, columns, hidden]),
        (3, &[dirs, 2 * columns]),
        (5, &state),
        (6, &state),
        (7, &[dirs, 3 * hidden]),
    ];
    let fits = wanted.iter().all(|(i, shape)| call.opt(*i).is_none_or(|v| lw.shape(v) == *shape));
    if !floats || !fits || shape.contains(&0) || hidden == 0 {
        return Ok(false);
    }
    let lens = match call.opt(4) {
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
    // The weights as right matrices.
    let w = lw.operand(call.input(1)?, Some(&[0, 2, 1]))?.source;
    let r = lw.operand(call.input(2)?, Some(&[0, 2, 1]))?.source;
    let mut optional = |i: usize, order: &[usize]| -> Result<Option<Source>, NodeError> {
        call.opt(i).map(|v| lw.operand(v, Some(order)).map(|o| o.source)).transpose()
    };
    let initial_h = optional(5, state_order)?;
    let is_lstm = cell == Cell::Lstm;
    let initial_c = if is_lstm { optional(6, state_order)? } else { None };
    let peephole = if is_lstm { optional(7, &[0, 1])? } else { None };
    let work = lw.temporary(recurrent_work_len(cell, sizes));
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
        w,
        r,
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
