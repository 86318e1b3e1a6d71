//! The import of each ONNX operator: one table row each.

mod conv;
mod elementwise;
mod layout;
mod norm;
mod pool;
mod quant;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod window;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::error::NodeError;
use super::importer::{Importer, Val};
use super::node::NodeCx;

/// Imports one node: its outputs, as many as our operators compute.
pub(crate) type Import = fn(&mut Importer, &NodeCx<'_>) -> Result<Vec<Val>, NodeError>;

static TABLE: &[(&str, Import)] = &[
    // Convolution and matrix products.
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("Gemm", conv::gemm),
    ("MatMul", |im, cx| elementwise::same(im, cx, "matmul", 2)),
    // Activations and other functions of one element.
    ("Relu", |im, cx| elementwise::same(im, cx, "relu", 1)),
    ("Sigmoid", |im, cx| elementwise::same(im, cx, "sigmoid", 1)),
    ("Tanh", |im, cx| elementwise::same(im, cx, "tanh", 1)),
    ("HardSwish", |im, cx| elementwise::same(im, cx, "hardswish", 1)),
    ("Mish", |im, cx| elementwise::same(im, cx, "mish", 1)),
    ("Softplus", |im, cx| elementwise::same(im, cx, "softplus", 1)),
    ("Erf", |im, cx| elementwise::same(im, cx, "erf", 1)),
    ("Exp", |im, cx| elementwise::same(im, cx, "exp", 1)),
    ("Log", |im, cx| elementwise::same(im, cx, "log", 1)),
    ("Sqrt", |im, cx| elementwise::same(im, cx, "sqrt", 1)),
    ("Reciprocal", |im, cx| elementwise::same(im, cx, "reciprocal", 1)),
    ("Neg", |im, cx| elementwise::same(im, cx, "neg", 1)),
    ("Abs", |im, cx| elementwise::same(im, cx, "abs", 1)),
    ("Floor", |im, cx| elementwise::same(im, cx, "floor", 1)),
    ("Ceil", |im, cx| elementwise::same(im, cx, "ceil", 1)),
    ("Round", |im, cx| elementwise::same(im, cx, "round", 1)),
    ("Sign", |im, cx| elementwise::same(im, cx, "sign", 1)),
    ("Sin", |im, cx| elementwise::same(im, cx, "sin", 1)),
    ("Cos", |im, cx| elementwise::same(im, cx, "cos", 1)),
    ("Not", |im, cx| elementwise::same(im, cx, "not", 1)),
    ("IsNaN", elementwise::is_nan),
    ("Clip", elementwise::clip),
    ("LeakyRelu", elementwise::leaky_relu),
    ("Elu", elementwise::elu),
    ("HardSigmoid", elementwise::hard_sigmoid),
    ("Gelu", elementwise::gelu),
    ("Cast", elementwise::cast),
    ("Identity", elementwise::identity),
    ("Dropout", elementwise::dropout),
    // Elementwise with broadcasting.
    ("Add", |im, cx| elementwise::same(im, cx, "add", 2)),
    ("Sub", |im, cx| elementwise::same(im, cx, "sub", 2)),
    ("Mul", |im, cx| elementwise::same(im, cx, "mul", 2)),
    ("Div", |im, cx| elementwise::same(im, cx, "div", 2)),
    ("Mod", elementwise::modulo),
    ("Pow", |im, cx| elementwise::same(im, cx, "pow", 2)),
    ("PRelu", |im, cx| elementwise::same(im, cx, "prelu", 2)),
    ("Equal", |im, cx| elementwise::same(im, cx, "equal", 2)),
    ("Less", |im, cx| elementwise::same(im, cx, "less", 2)),
    ("LessOrEqual", |im, cx| elementwise::same(im, cx, "less_equal", 2)),
    ("Greater", |im, cx| elementwise::same(im, cx, "greater", 2)),
    ("GreaterOrEqual", |im, cx| elementwise::same(im, cx, "greater_equal", 2)),
    ("And", |im, cx| elementwise::same(im, cx, "logical_and", 2)),
    ("Or", |im, cx| elementwise::same(im, cx, "logical_or", 2)),
    ("Where", |im, cx| elementwise::same(im, cx, "where", 3)),
    ("Max", |im, cx| elementwise::chain(im, cx, "maximum")),
    ("Min", |im, cx| elementwise::chain(im, cx, "minimum")),
    ("Sum", |im, cx| elementwise::chain(im, cx, "add")),
    // Reductions and normalisations.
    ("Softmax", |im, cx| reduce::softmax(im, cx, "softmax")),
    ("LogSoftmax", |im, cx| reduce::softmax(im, cx, "log_softmax")),
    ("ReduceMean", |im, cx| reduce::reduce(im, cx, "mean", 18)),
    ("ReduceSum", |im, cx| reduce::reduce(im, cx, "sum", 13)),
    ("ReduceMax", |im, cx| reduce::reduce(im, cx, "amax", 18)),
    ("ReduceMin", |im, cx| reduce::reduce(im, cx, "amin", 18)),
    ("ReduceProd", |im, cx| reduce::reduce(im, cx, "prod", 18)),
    ("ReduceL1", reduce::reduce_l1),
    ("ReduceL2", reduce::reduce_l2),
    ("ReduceSumSquare", reduce::reduce_sum_square),
    ("ArgMax", reduce::arg_max),
    ("CumSum", reduce::cum_sum),
    ("BatchNormalization", norm::batch_norm),
    ("InstanceNormalization", norm::instance_norm),
    ("LayerNormalization", norm::layer_norm),
    ("GroupNormalization", norm::group_norm),
    // Pooling.
    ("MaxPool", pool::max_pool),
    ("AveragePool", pool::average_pool),
    ("GlobalAveragePool", pool::global_average_pool),
    ("GlobalMaxPool", pool::global_max_pool),
    // Layout.
    ("Concat", layout::concat),
    ("Split", layout::split),
    ("Slice", layout::slice),
    ("Gather", layout::gather),
    ("GatherElements", layout::gather_elements),
    ("Reshape", layout::reshape),
    ("Flatten", layout::flatten),
    ("Transpose", layout::transpose),
    ("Squeeze", layout::squeeze),
    ("Unsqueeze", layout::unsqueeze),
    ("Expand", layout::expand),
    ("Tile", layout::tile),
    ("Pad", layout::pad),
    ("DepthToSpace", layout::depth_to_space),
    ("SpaceToDepth", layout::space_to_depth),
    ("Trilu", layout::trilu),
    ("Resize", resize::resize),
    ("Upsample", resize::upsample),
    // Shapes and constants.
    ("Shape", shape::shape),
    ("Size", shape::size),
    ("Constant", shape::constant),
    ("ConstantOfShape", shape::constant_of_shape),
    ("Range", shape::range),
    // Recurrent.
    ("LSTM", recurrent::lstm),
    ("GRU", recurrent::gru),
    ("RNN", recurrent::rnn),
    // Quantized files.
    ("QuantizeLinear", quant::quantize_linear),
    ("DequantizeLinear", quant::dequantize_linear),
];

/// The operators' ONNX names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.0)
}

/// The import of an operator; `None` if it has none.
pub(crate) fn lookup(op_type: &str) -> Option<Import> {
    static INDEX: OnceLock<HashMap<&'static str, Import>> = OnceLock::new();
    INDEX.get_or_init(|| TABLE.iter().copied().collect()).get(op_type).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_lists_every_operator_and_no_other() {
        let docs = include_str!("../../../../../docs/importing.md");
        let rows = docs.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| family"));
        let listed: BTreeSet<&str> = rows.filter_map(|l| l.split('|').nth(2)).flat_map(str::split_whitespace).collect();
        assert_eq!(listed, TABLE.iter().map(|row| row.0).collect());
    }
}
