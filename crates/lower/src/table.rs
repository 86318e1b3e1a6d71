//! Which operators have kernels, and how their calls become steps. An operator that is not here runs by reference evaluation.

use std::collections::HashMap;
use std::sync::OnceLock;

use quantc_ir::{Graph, NodeId};

use crate::error::NodeError;
use crate::lowering::{Call, Lowering};
use crate::ops::{
    cat, conv, conv_transpose, embedding, float, matmul, movement, norm, pool, qconv_forms, recurrent, reduce, resize,
    rows,
};

/// Lowers a call; `false` leaves it to reference evaluation.
pub(crate) type Handler = fn(&mut Lowering<'_>, &Call<'_>) -> Result<bool, NodeError>;

/// The memory order a kernel works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Channels last.
    ChannelsLast,
    /// That of its inputs.
    Any,
    /// Row-major.
    RowMajor,
}

struct Row {
    op: &'static str,
    order: Order,
    /// Whether its result may be written into a concatenation.
    strided: bool,
    handler: Handler,
}

const fn row(op: &'static str, order: Order, strided: bool, handler: Handler) -> Row {
    Row { op, order, strided, handler }
}

use Order::{Any, ChannelsLast, RowMajor};

static ROWS: &[Row] = &[
    row("quantized.conv1d", ChannelsLast, true, conv::quantized_conv),
    row("quantized.conv2d", ChannelsLast, true, conv::quantized_conv),
    row("quantized.conv3d", ChannelsLast, true, qconv_forms::quantized_conv3d),
    row("quantized.conv_transpose1d", ChannelsLast, true, qconv_forms::quantized_conv_transpose),
    row("quantized.conv_transpose2d", ChannelsLast, true, qconv_forms::quantized_conv_transpose),
    row("quantized.conv_transpose3d", ChannelsLast, true, qconv_forms::quantized_conv_transpose3d),
    row("quantized.conv1d_dynamic", ChannelsLast, true, conv::quantized_conv),
    row("quantized.conv2d_dynamic", ChannelsLast, true, conv::quantized_conv),
    row("quantized.conv3d_dynamic", ChannelsLast, true, qconv_forms::quantized_conv3d),
    row("quantized.conv_transpose1d_dynamic", ChannelsLast, true, qconv_forms::quantized_conv_transpose),
    row("quantized.conv_transpose2d_dynamic", ChannelsLast, true, qconv_forms::quantized_conv_transpose),
    row("quantized.conv_transpose3d_dynamic", ChannelsLast, true, qconv_forms::quantized_conv_transpose3d),
    row("quantized.linear", RowMajor, true, conv::quantized_linear),
    row("quantized.linear_dynamic", RowMajor, true, conv::quantized_linear),
    row("quantized.matmul", RowMajor, false, matmul::quantized_matmul),
    row("conv1d", ChannelsLast, false, float::conv),
    row("conv2d", ChannelsLast, false, float::conv),
    row("conv3d", ChannelsLast, false, float::conv),
    row("conv_transpose1d", ChannelsLast, false, conv_transpose::conv_transpose),
    row("conv_transpose2d", ChannelsLast, false, conv_transpose::conv_transpose),
    row("conv_transpose3d", ChannelsLast, false, conv_transpose::conv_transpose),
    row("linear", RowMajor, false, float::linear),
    row("matmul", RowMajor, false, matmul::matmul),
    row("softmax", RowMajor, false, float::softmax),
    row("layer_norm", RowMajor, false, float::layer_norm),
    row("lstm", RowMajor, false, recurrent::recurrent),
    row("gru", RowMajor, false, recurrent::recurrent),
    row("rnn", RowMajor, false, recurrent::recurrent),
    row("quantized.lstm_dynamic", RowMajor, false, recurrent::recurrent),
    row("quantized.gru_dynamic", RowMajor, false, recurrent::recurrent),
    row("quantized.rnn_dynamic", RowMajor, false, recurrent::recurrent),
    row("mean", RowMajor, false, reduce::reduce),
    row("sum", RowMajor, false, reduce::reduce),
    row("amax", RowMajor, false, reduce::reduce),
    row("amin", RowMajor, false, reduce::reduce),
    row("gather", RowMajor, false, float::gather),
    row("embedding_bag", RowMajor, false, embedding::embedding),
    row("quantized.embedding", RowMajor, false, embedding::embedding),
    row("quantized.embedding_bag", RowMajor, false, embedding::embedding),
    row("to", Any, false, float::cast),
    row("quantized.add", Any, true, rows::quantized_add),
    row("quantized.sub", Any, true, rows::quantized_sub),
    row("quantized.mul", Any, true, rows::quantized_mul),
    row("quantized.batch_norm", ChannelsLast, false, norm::quantized_batch_norm),
    row("quantized.lookup", Any, true, rows::lookup),
    row("quantized.requantize", Any, true, rows::lookup),
    row("quantized.avg_pool1d", ChannelsLast, true, pool::quantized_avg_pool),
    row("quantized.avg_pool2d", ChannelsLast, true, pool::quantized_avg_pool),
    row("quantized.avg_pool3d", ChannelsLast, true, pool::quantized_avg_pool),
    row("quantized.adaptive_avg_pool1d", ChannelsLast, true, pool::quantized_adaptive),
    row("quantized.adaptive_avg_pool2d", ChannelsLast, true, pool::quantized_adaptive),
    row("quantized.adaptive_avg_pool3d", ChannelsLast, true, pool::quantized_adaptive),
    row("quantized.layer_norm", RowMajor, false, norm::quantized_own_norm),
    row("quantized.group_norm", RowMajor, false, norm::quantized_own_norm),
    row("quantized.instance_norm", RowMajor, false, norm::quantized_own_norm),
    row("quantized.interpolate", ChannelsLast, false, resize::quantized_interpolate),
    row("interpolate", ChannelsLast, false, resize::interpolate),
    row("quantized.mean", ChannelsLast, false, pool::quantized_mean),
    row("quantized.cat", Any, false, cat::cat),
    row("cat", Any, false, cat::cat),
    row("max_pool1d", ChannelsLast, true, pool::max_pool),
    row("max_pool2d", ChannelsLast, true, pool::max_pool),
    row("max_pool3d", ChannelsLast, true, pool::max_pool),
    row("avg_pool1d", ChannelsLast, true, pool::avg_pool),
    row("avg_pool2d", ChannelsLast, true, pool::avg_pool),
    row("avg_pool3d", ChannelsLast, true, pool::avg_pool),
    row("adaptive_avg_pool1d", ChannelsLast, true, pool::adaptive_avg_pool),
    row("adaptive_avg_pool2d", ChannelsLast, true, pool::adaptive_avg_pool),
    row("adaptive_avg_pool3d", ChannelsLast, true, pool::adaptive_avg_pool),
    row("quantize_per_tensor", Any, true, rows::quantize),
    row("dequantize_per_tensor", Any, true, rows::dequantize),
    row("identity", Any, false, movement::identity),
    row("dropout", Any, false, movement::identity),
    row("observer", Any, false, movement::identity),
    row("reshape", RowMajor, false, movement::reshape),
    row("flatten", RowMajor, false, movement::reshape),
    row("flatten2d", RowMajor, false, movement::reshape),
    row("squeeze", RowMajor, false, movement::reshape),
    row("unsqueeze", RowMajor, false, movement::reshape),
    row("permute", RowMajor, false, movement::permute),
    row("slice", Any, false, movement::slice),
    row("split", Any, false, movement::split),
    row("expand", RowMajor, false, movement::expand),
    row("pad", Any, false, movement::pad),
    row("relu", Any, true, rows::unary),
    row("relu6", Any, true, rows::unary),
    row("clamp", Any, true, rows::unary),
    row("neg", Any, true, rows::unary),
    row("abs", Any, true, rows::unary),
    row("sqrt", Any, true, rows::unary),
    row("rsqrt", Any, true, rows::unary),
    row("exp", Any, true, rows::unary),
    row("tanh", Any, true, rows::unary),
    row("sigmoid", Any, true, rows::unary),
    row("erf", Any, true, rows::unary),
    row("silu", Any, true, rows::unary),
    row("hardswish", Any, true, rows::unary),
    row("hardsigmoid", Any, true, rows::unary),
    row("gelu", Any, true, rows::unary),
    row("leaky_relu", Any, true, rows::unary),
    row("elu", Any, true, rows::unary),
    row("celu", Any, true, rows::unary),
    row("round_to_half", Any, true, rows::unary),
    row("threshold", Any, true, rows::unary),
    row("mish", Any, true, rows::unary),
    row("softplus", Any, true, rows::unary),
    row("log", Any, true, rows::unary),
    row("reciprocal", Any, true, rows::unary),
    row("floor", Any, true, rows::unary),
    row("ceil", Any, true, rows::unary),
    row("round", Any, true, rows::unary),
    row("sin", Any, true, rows::unary),
    row("cos", Any, true, rows::unary),
    row("sign", Any, true, rows::unary),
    row("add", Any, true, rows::binary),
    row("sub", Any, true, rows::binary),
    row("mul", Any, true, rows::binary),
    row("div", Any, true, rows::binary),
    row("pow", Any, true, rows::pow),
    row("maximum", Any, true, rows::binary),
    row("minimum", Any, true, rows::binary),
    row("prelu", Any, true, rows::binary),
];

fn find(op: &str) -> Option<&'static Row> {
    static INDEX: OnceLock<HashMap<&'static str, &'static Row>> = OnceLock::new();
    INDEX.get_or_init(|| ROWS.iter().map(|row| (row.op, row)).collect()).get(op).copied()
}

/// How to lower calls of the operator.
pub(crate) fn handler(op: &str) -> Option<Handler> {
    find(op).map(|row| row.handler)
}

/// The order its kernel works in.
pub(crate) fn order_of(op: &str) -> Option<Order> {
    find(op).map(|row| row.order)
}

/// Whether its kernel can leave room between the rows of its result.
pub(crate) fn is_strided(op: &str) -> bool {
    find(op).is_some_and(|row| row.strided)
}

/// For a concatenation: its axis, and whether each input's elements are the result's, without requantization.
pub(crate) fn concatenated(graph: &Graph, id: NodeId) -> Option<(usize, Vec<bool>)> {
    cat::as_is(graph, id)
}
