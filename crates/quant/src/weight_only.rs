//! Weight-only quantization: activations stay float. Weights of layers become i8 and are read as reals; tables of embeddings become codes
//! with a scale and a float zero point for each row, which are read row by row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::float::embedding::CodeBits;
use quantc_ops::{Attrs, OpRef, lookup};
use quantc_pattern::Mode;
use quantc_tensor::{DType, QScheme, Tensor};

use crate::error::QuantError;
use crate::group::Group;
use crate::qconfig::{DEFAULT_EPS, ObserverKind, ObserverSpec, QConfig};

/// When values become integers under a QConfig.
pub(crate) fn mode_of(qconfig: &QConfig) -> Mode {
    match qconfig.activation.observer {
        ObserverKind::Dynamic => Mode::Dynamic,
        ObserverKind::Placeholder => Mode::WeightOnly,
        ObserverKind::Float16 { is_dynamic: true } => Mode::Float16Dynamic,
        ObserverKind::Float16 { is_dynamic: false } => Mode::Float16Static,
        _ => Mode::Static,
    }
}

/// PyTorch's weight-only presets by name.
pub(crate) fn named(name: &str) -> Option<QConfig> {
    let spec = |observer, dtype, qscheme| ObserverSpec {
        observer,
        dtype,
        qscheme,
        reduce_range: false,
        quant_min: None,
        quant_max: None,
        eps: DEFAULT_EPS,
        ch_axis: 0,
    };
    let activation = spec(ObserverKind::Placeholder, DType::U8, QScheme::PerTensorAffine);
    let table = spec(ObserverKind::MinMax, DType::U8, QScheme::PerChannelAffineFloatQParams);
    let weight = match name {
        "default_weight_only_qconfig" => spec(ObserverKind::MinMax, DType::I8, QScheme::PerTensorSymmetric),
        "float_qparams_weight_only_qconfig" => table,
        "float_qparams_weight_only_qconfig_4bit" => ObserverSpec { quant_min: Some(0), quant_max: Some(15), ..table },
        _ => return None,
    };
    Some(QConfig { activation, weight })
}

/// Whether the operator reads its weight as a table, row by row.
fn reads_rows(op: OpRef) -> bool {
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
        let (Some(name), Some(table)) = (graph.node(value.node).param().cloned(), graph.constant(value).cloned())
        else {
            return Ok(());
        };
        let key = (name.clone(), format!("{config:?}"));
        let dequantized = match self.done.get(&key) {
            Some(done) => *done,
            None => {
                let new = replace_table(graph, &name, value, node, &table, config)?;
                self.done.insert(key, new);
                new
            }
        };
        graph.set_input(node, input, Some(dequantized));
        Ok(())
    }
}

/// Adds the codes of a table and their dequantize before its first reader.
fn replace_table(
    graph: &mut Graph,
    name: &str,
    value: ValueRef,
    node: NodeId,
    table: &Tensor,
    config: &ObserverSpec,
) -> Result<ValueRef, QuantError> {
    let fail = |message: String| QuantError::Weight { name: name.to_owned(), message };
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
    if config.qscheme == QScheme::PerChannelAffineFloatQParams {
        let mut out = Rows { codes: Vec::with_capacity(data.len()), scales: Vec::new(), zero_points: Vec::new() };
        for row in data.chunks_exact(columns.max(1)) {
            let (scale, zero_point) = float_qparams(row, (range.qmax - range.qmin) as f32, config.eps)?;
            let inverse = 1.0 / scale;
            let code =
                |v: f32| (v * inverse + zero_point).round_ties_even().clamp(range.qmin as f32, range.qmax as f32);
            out.codes.extend(row.iter().map(|&v| code(v) as u8));
            out.scales.push(scale);
            out.zero_points.push(zero_point);
        }
        return Ok(out);
    }
    let mut observer = config.build().map_err(|e| e.to_string())?;
    observer.observe(data, &[rows, columns]).map_err(|e| e.to_string())?;
    let q = observer.calculate_qparams().map_err(|e| e.to_string())?.qparams;
    let channel = |row: usize| if q.axis.is_some() { row } else { 0 };
    let codes = data.iter().enumerate().map(|(i, &v)| q.quantize(v, channel(i / columns.max(1))) as u8).collect();
    let scales = (0..rows).map(|row| q.scale[channel(row)]).collect();
    let zero_points = (0..rows).map(|row| q.zero_point[channel(row)] as f32).collect();
    Ok(Rows { codes, scales, zero_points })
}

/// Scale and zero point of a row: no zero is added to the range, a range of nothing has the scale 1
/// (PyTorch's `per_channel_affine_float_qparams`).
fn float_qparams(row: &[f32], levels: f32, eps: f32) -> Result<(f32, f32), String> {
    let (min, max) = row.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    if row.is_empty() {
        return Ok((1.0, 0.0));
    }
    let scale = (max - min) / levels;
    if !scale.is_finite() {
        return Err(format!("the range {min} to {max} is too wide"));
    }
    let scale = if scale > eps { scale } else { 1.0 };
    Ok((scale, -min / scale))
}
