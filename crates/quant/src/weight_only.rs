//! Weight-only quantization: activations stay float. Weights of layers become i8 and are read as reals; tables of embeddings become codes
//! with a scale and a float zero point for each row, which are read row by row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::float::embedding::CodeBits;
use quantc_ops::{Attrs, OpRef, lookup};
use quantc_pattern::Mode;
use quantc_tensor::{QScheme, Tensor};

use crate::error::QuantError;
use crate::group::Group;
use crate::observer::FloatQParams;
use crate::qconfig::{ObserverDType, ObserverKind, ObserverSpec, QConfig};

/// When values become integers under a QConfig, or halves: activations that are carried along as f32 stay real.
pub(crate) fn mode_of(qconfig: &QConfig) -> Mode {
    let ObserverSpec { observer, dtype, .. } = &qconfig.activation;
    let passive = matches!(observer, ObserverKind::Placeholder | ObserverKind::Noop | ObserverKind::Identity);
    match (dtype, qconfig.is_dynamic()) {
        (ObserverDType::Float16, true) => Mode::Float16Dynamic,
        (ObserverDType::Float16, false) if passive => Mode::Float16Static,
        (ObserverDType::Float32, false) if passive => Mode::WeightOnly,
        (_, true) => Mode::Dynamic,
        _ => Mode::Static,
    }
}

/// Whether the operator reads its weight as a table, row by row.
pub(crate) fn reads_rows(op: OpRef) -> bool {
    matches!(op.name(), "gather" | "embedding_bag")
}

/// Why an operator does not take weights of an observer, activations staying float.
pub(crate) fn unfit_weight_only(op: OpRef, observer: &ObserverSpec) -> Option<String> {
    let float = observer.qscheme == QScheme::PerChannelAffineFloatQParams;
    if !reads_rows(op) {
        return float.then(|| {
            format!("float zero points are for embeddings, not for {op} (hint: per_channel_symmetric or a scheme per tensor)")
        });
    }
    (observer.qscheme.is_per_channel() && observer.ch_axis != 0).then(|| {
        let axis = observer.ch_axis;
        format!("it has scales along axis {axis}, the rows of a table are axis 0 (hint: ch_axis 0)")
    })
}

/// Whether a group reads a table of embeddings.
pub(crate) fn is_table(graph: &Graph, group: &Group) -> bool {
    group.weight.and_then(|(node, _)| graph.node(node).call()).is_some_and(|(op, _)| reads_rows(op))
}

/// Quantized tables by parameter and observer, so that a shared table is quantized once.
#[derive(Default)]
pub(crate) struct Tables {
    done: HashMap<(Arc<str>, String), ValueRef>,
}

/// A table's codes, a byte each, with the scale and zero point of each row.
struct Rows {
    codes: Vec<u8>,
    scales: Vec<f32>,
    zero_points: Vec<f32>,
}

impl Tables {
    /// Replaces a group's table by its codes and `dequantize_float_qparams`.
    ///
    /// # Errors
    /// If an element is not finite.
    pub(crate) fn quantize(
        &mut self,
        graph: &mut Graph,
        group: &Group,
        config: &ObserverSpec,
    ) -> Result<(), QuantError> {
        let Some((node, input)) = group.weight else { return Ok(()) };
        let Some(value) = graph.node(node).inputs()[input] else { return Ok(()) };
        let Some(name) = graph.node(value.node).param().cloned().filter(|_| graph.constant(value).is_some()) else {
            return Ok(());
        };
        let key = (name.clone(), format!("{config:?}"));
        let dequantized = match self.done.get(&key) {
            Some(done) => *done,
            None => {
                let new = quantize_table(graph, value, node, config)?;
                self.done.insert(key, new);
                new
            }
        };
        graph.set_input(node, input, Some(dequantized));
        Ok(())
    }
}

/// Adds the codes of a table, which `node` reads, and their dequantize before its first reader.
///
/// # Errors
/// If it is no parameter of rows and columns with a value, or an element is not finite.
pub(crate) fn quantize_table(
    graph: &mut Graph,
    value: ValueRef,
    node: NodeId,
    config: &ObserverSpec,
) -> Result<ValueRef, QuantError> {
    let source = graph.node(value.node);
    let Some(name) = source.param().cloned() else {
        let message = "only a table that is a parameter has float zero points".to_owned();
        return Err(QuantError::Weight { name: source.name().to_owned(), message });
    };
    let name = &*name;
    let fail = |message: String| QuantError::Weight { name: name.to_owned(), message };
    let Some(table) = graph.constant(value).cloned() else { return Err(fail("it has no value".to_owned())) };
    let [rows, columns] = *table.shape() else {
        return Err(fail(format!("a table of embeddings is [rows, columns], not {}", table.ty())));
    };
    let data: &[f32] = table.slice().map_err(|e| fail(e.to_string()))?;
    if let Some(at) = data.iter().position(|v| !v.is_finite()) {
        return Err(fail(format!("element {at} is {}", data[at])));
    }
    let Rows { codes, scales, zero_points } = quantize_rows(data, [rows, columns], config).map_err(fail)?;
    let bits = if config.range().qmax <= 15 { CodeBits::Four } else { CodeBits::Eight };
    let packed = bits.pack(&codes, columns);
    let packed = Tensor::from_vec(&[rows, bits.row_bytes(columns)], packed).map_err(|e| fail(e.to_string()))?;
    let mut inputs = Vec::with_capacity(3);
    let parts = [("int_repr", packed), ("scale", Tensor::vector(scales)), ("zero_point", Tensor::vector(zero_points))];
    for (part, tensor) in parts {
        let fresh = graph.fresh_param_name(&format!("{name}.{part}"));
        inputs.push(Some(graph.param(&fresh, tensor).into()));
    }
    let mut attrs = Attrs::new();
    if bits == CodeBits::Four {
        attrs.set("bits", 4i64);
        if !columns.is_multiple_of(2) {
            attrs.set("columns", columns);
        }
    }
    let readers: HashSet<NodeId> = graph.users(value).into_iter().map(|(reader, _)| reader).collect();
    let first = graph.order().find(|id| readers.contains(id)).unwrap_or(node);
    let op = lookup("dequantize_float_qparams").ok_or(QuantError::MissingOperator("dequantize_float_qparams"))?;
    let new = graph.call_before(Some(first), &format!("{name}.dequantize"), op, &inputs, attrs, &[])?;
    Ok(new.into())
}

/// Codes of each row. With float zero points they cover exactly the row's range (torch.quantize_per_channel with float zero points);
/// other schemes have integer ones, as everywhere.
fn quantize_rows(data: &[f32], [rows, columns]: [usize; 2], config: &ObserverSpec) -> Result<Rows, String> {
    let range = config.range();
    let mut observer = config.build().map_err(|e| e.to_string())?;
    observer.observe(data, &[rows, columns]).map_err(|e| e.to_string())?;
    if config.qscheme == QScheme::PerChannelAffineFloatQParams {
        let FloatQParams { scale: scales, zero_point: zero_points, .. } =
            observer.calculate_float_qparams().map_err(|e| e.to_string())?;
        let (lo, hi) = (range.qmin as f32, range.qmax as f32);
        let codes = data.iter().enumerate().map(|(i, v)| {
            let row = i / columns.max(1);
            (v * (1.0 / scales[row]) + zero_points[row]).round_ties_even().clamp(lo, hi) as u8
        });
        return Ok(Rows { codes: codes.collect(), scales, zero_points });
    }
    let q = observer.calculate_qparams().map_err(|e| e.to_string())?.qparams;
    let channel = |row: usize| if q.axis.is_some() { row } else { 0 };
    let codes = data.iter().enumerate().map(|(i, &v)| q.quantize(v, channel(i / columns.max(1))) as u8).collect();
    let scales = (0..rows).map(|row| q.scale[channel(row)]).collect();
    let zero_points = (0..rows).map(|row| q.zero_point[channel(row)] as f32).collect();
    Ok(Rows { codes, scales, zero_points })
}
