//! Embedding tables: `embedding_bag`, `quantized.embedding` and `quantized.embedding_bag`.

use quantc_ir::ValueRef;
use quantc_ops::embedding::{bag_mode, padding_row};
use quantc_ops::float::embedding::{BagMode, CodeBits};
use quantc_runtime::steps::{BagPlaces, EmbeddingStep, Indices, TableSource};
use quantc_tensor::DType;

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::view::row_major;

/// Integers as a step reads them; `None` if they are of another type.
fn indices(lw: &mut Lowering<'_>, value: ValueRef) -> Result<Option<Indices>, NodeError> {
    let (dtype, shape) = lw.ty(value);
    if !matches!(dtype, DType::I64 | DType::I32) {
        return Ok(None);
    }
    Ok(Some(Indices { source: lw.row_major(value)?.source, dtype, len: shape.iter().product() }))
}

/// Rows or bags of a table of f32 or of codes.
pub(crate) fn embedding(lw: &mut Lowering<'_>, call: &Call<'_>) -> Result<bool, NodeError> {
    let single = call.op.name() == "quantized.embedding";
    let quantized = call.op.name().starts_with("quantized.");
    let first = if quantized { 3 } else { 1 };
    let (table_type, table_shape) = lw.ty(call.input(0)?);
    let (Some(&rows), out) = (table_shape.first(), lw.shape(call.out())) else { return Ok(false) };
    let Some(&columns) = out.last() else { return Ok(false) };
    if table_type != (if quantized { DType::U8 } else { DType::F32 }) || columns == 0 {
        return Ok(false);
    }
    let table = lw.row_major(call.input(0)?)?.source;
    let table = if quantized {
        let Some(bits) = CodeBits::of(call.attrs.int("bits")?) else { return Ok(false) };
        let mut of_rows = |i: usize| Ok::<_, NodeError>(lw.row_major(call.input(i)?)?.source);
        TableSource::Codes { bits, codes: table, scales: of_rows(1)?, zero_points: of_rows(2)? }
    } else {
        TableSource::Float(table)
    };
    let index_shape = lw.shape(call.input(first)?);
    let Some(picked) = indices(lw, call.input(first)?)? else { return Ok(false) };
    let (mode, places) = match (single, call.opt(first + 1)) {
        (true, _) => (BagMode::Sum, BagPlaces::Single),
        (false, Some(offsets)) => {
            let Some(offsets) = indices(lw, offsets)? else { return Ok(false) };
            let include_last = call.attrs.bool("include_last_offset")?;
            (bag_mode(&call.attrs.str("mode")?)?, BagPlaces::Offsets { offsets, include_last })
        }
        (false, None) => {
            let size = index_shape.last().copied().unwrap_or(0);
            (bag_mode(&call.attrs.str("mode")?)?, BagPlaces::Equal(size))
        }
    };
    let weights = if single { None } else { call.opt(first + 2) };
    let weights = weights.map(|w| lw.row_major(w).map(|w| w.source)).transpose()?;
    let padding = if single { None } else { call.attrs.opt_int("padding_idx")?.and_then(|i| padding_row(i, rows)) };
    let order = row_major(out.len());
    let step = EmbeddingStep {
        node: call.node.name().to_owned(),
        table,
        rows,
        columns,
        indices: picked,
        places,
        mode,
        weights,
        padding,
        bags: out[..out.len() - 1].iter().product(),
        out: lw.define(call.out(), order.clone()).slot(),
    };
    lw.push_in(call, &order, step);
    Ok(true)
}
