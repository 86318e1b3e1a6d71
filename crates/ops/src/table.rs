//! The table of operators: one row each.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::{OpRef, Operator};
use crate::{
    activation, attention, choose_qparams, conv, conv_transpose, elementwise, embedding, index, integer_product,
    linear, movement, norm, pool, quantize, quantize_blocks, quantize_tensor, quantized, recurrent, reduce, reshape,
    resize, shape_ops, shuffle, slice, softmax, stubs, unary,
};

/// One row per operator.
static OPERATORS: &[&dyn Operator] = &[
    &activation::RELU,
    &activation::RELU6,
    &activation::CLAMP,
    &conv::CONV1D,
    &conv::CONV2D,
    &conv::CONV3D,
    &conv_transpose::CONV_TRANSPOSE1D,
    &conv_transpose::CONV_TRANSPOSE2D,
    &conv_transpose::CONV_TRANSPOSE3D,
    &linear::Linear,
    &linear::MatMul,
    &unary::SIGMOID,
    &unary::TANH,
    &unary::HARDSWISH,
    &unary::SILU,
    &unary::MISH,
    &unary::SOFTPLUS,
    &unary::ERF,
    &unary::EXP,
    &unary::LOG,
    &unary::SQRT,
    &unary::RSQRT,
    &unary::RECIPROCAL,
    &unary::FLOOR,
    &unary::CEIL,
    &unary::ROUND,
    &unary::SIN,
    &unary::COS,
    &unary::LEAKY_RELU,
    &unary::ELU,
    &unary::CELU,
    &unary::THRESHOLD,
    &unary::ROUND_TO_HALF,
    &unary::HARDSIGMOID_OP,
    &unary::GELU,
    &unary::NEG,
    &unary::ABS,
    &unary::SIGN,
    &unary::IDENTITY,
    &unary::DROPOUT,
    &stubs::QUANT_STUB,
    &stubs::DEQUANT_STUB,
    &unary::Not,
    &elementwise::ADD,
    &elementwise::SUB,
    &elementwise::MUL,
    &elementwise::DIV,
    &elementwise::POW,
    &elementwise::MAXIMUM,
    &elementwise::MINIMUM,
    &elementwise::REMAINDER,
    &elementwise::FMOD,
    &elementwise::EQUAL,
    &elementwise::NOT_EQUAL,
    &elementwise::LESS,
    &elementwise::LESS_EQUAL,
    &elementwise::GREATER,
    &elementwise::GREATER_EQUAL,
    &elementwise::LOGICAL_AND,
    &elementwise::LOGICAL_OR,
    &elementwise::LOGICAL_XOR,
    &elementwise::Where,
    &elementwise::PRelu,
    &pool::MAX_POOL1D,
    &pool::MAX_POOL2D,
    &pool::MAX_POOL3D,
    &pool::AVG_POOL1D,
    &pool::AVG_POOL2D,
    &pool::AVG_POOL3D,
    &pool::ADAPTIVE_AVG_POOL1D,
    &pool::ADAPTIVE_AVG_POOL2D,
    &pool::ADAPTIVE_AVG_POOL3D,
    &reshape::Reshape,
    &reshape::Flatten,
    &reshape::Flatten2d,
    &reshape::Squeeze,
    &reshape::Unsqueeze,
    &movement::Permute,
    &movement::Expand,
    &movement::Repeat,
    &movement::Cat,
    &movement::Split,
    &slice::Slice,
    &slice::Pad,
    &reduce::MEAN,
    &reduce::SUM,
    &reduce::AMAX,
    &reduce::AMIN,
    &reduce::PROD,
    &reduce::ArgMax,
    &reduce::CumSum,
    &softmax::SOFTMAX,
    &softmax::LOG_SOFTMAX,
    &norm::LayerNorm,
    &norm::RmsNorm,
    &norm::BatchNorm,
    &norm::INSTANCE_NORM,
    &norm::GROUP_NORM,
    &attention::Attention,
    &recurrent::LSTM,
    &recurrent::GRU,
    &recurrent::RNN,
    &index::Gather,
    &index::GatherElements,
    &embedding::EmbeddingBag,
    &resize::Interpolate,
    &shuffle::PIXEL_SHUFFLE,
    &shuffle::DEPTH_TO_SPACE,
    &shape_ops::ShapeOf,
    &shape_ops::Full,
    &shape_ops::Arange,
    &shape_ops::To,
    &quantize::QuantizePerTensor,
    &quantize::QuantizePerChannel,
    &quantize::DequantizePerTensor,
    &quantize::DequantizePerChannel,
    &quantize::DynamicQuantizeDequantize,
    &quantized::embedding::DequantizeFloatQParams,
    &quantize::Observer,
    &choose_qparams::CHOOSE_QPARAMS,
    &choose_qparams::CHOOSE_QPARAMS_SYMMETRIC,
    &choose_qparams::CHOOSE_QPARAMS_PER_TOKEN,
    &choose_qparams::CHOOSE_QPARAMS_PER_TOKEN_ASYMMETRIC,
    &quantize_tensor::QuantizePerTensorTensor,
    &quantize_tensor::DequantizePerTensorTensor,
    &quantize_blocks::QUANTIZE_PER_TOKEN,
    &quantize_blocks::DEQUANTIZE_PER_TOKEN,
    &quantize_blocks::QUANTIZE_PER_CHANNEL_GROUP,
    &quantize_blocks::DEQUANTIZE_PER_CHANNEL_GROUP,
    &integer_product::IntegerLinear,
    &integer_product::INTEGER_CONV1D,
    &integer_product::INTEGER_CONV2D,
    &integer_product::INTEGER_CONV3D,
    &quantized::conv::QCONV1D,
    &quantized::conv::QCONV2D,
    &quantized::conv::QCONV3D,
    &quantized::conv::QCONV_TRANSPOSE1D,
    &quantized::conv::QCONV_TRANSPOSE2D,
    &quantized::conv::QCONV_TRANSPOSE3D,
    &quantized::linear::QLinear,
    &quantized::dynamic::QLinearDynamic,
    &quantized::dynamic::QCONV1D_DYNAMIC,
    &quantized::dynamic::QCONV2D_DYNAMIC,
    &quantized::dynamic::QCONV3D_DYNAMIC,
    &quantized::dynamic::QCONV_TRANSPOSE1D_DYNAMIC,
    &quantized::dynamic::QCONV_TRANSPOSE2D_DYNAMIC,
    &quantized::dynamic::QCONV_TRANSPOSE3D_DYNAMIC,
    &quantized::linear::QMatMul,
    &quantized::recurrent::QLSTM_DYNAMIC,
    &quantized::recurrent::QGRU_DYNAMIC,
    &quantized::recurrent::QRNN_DYNAMIC,
    &quantized::elementwise::QADD,
    &quantized::elementwise::QSUB,
    &quantized::elementwise::QMUL,
    &quantized::elementwise::QCat,
    &quantized::elementwise::Requantize,
    &quantized::lookup::QLookup,
    &quantized::embedding::QEmbedding,
    &quantized::embedding::QEmbeddingBag,
    &quantized::norm::QBatchNorm,
    &quantized::composed::QAVG_POOL1D,
    &quantized::composed::QAVG_POOL2D,
    &quantized::composed::QAVG_POOL3D,
    &quantized::composed::QADAPTIVE_AVG_POOL1D,
    &quantized::composed::QADAPTIVE_AVG_POOL2D,
    &quantized::composed::QADAPTIVE_AVG_POOL3D,
    &quantized::composed::QLAYER_NORM,
    &quantized::composed::QGROUP_NORM,
    &quantized::composed::QINSTANCE_NORM,
    &quantized::composed::QINTERPOLATE,
    &quantized::mean::QMean,
];

fn index() -> &'static HashMap<&'static str, OpRef> {
    static INDEX: OnceLock<HashMap<&'static str, OpRef>> = OnceLock::new();
    INDEX.get_or_init(|| operators().map(|op| (op.name(), op)).collect())
}

/// Every operator, in the table's order.
pub fn operators() -> impl Iterator<Item = OpRef> {
    OPERATORS.iter().map(|op| OpRef(*op))
}

/// The operator of that name.
pub fn lookup(name: &str) -> Option<OpRef> {
    index().get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attrs, InputKind};

    #[test]
    fn names_are_unique_and_signatures_sound() {
        assert_eq!(index().len(), OPERATORS.len(), "two operators share a name");
        for op in operators() {
            let sig = op.signature();
            assert!(!sig.doc.is_empty(), "{op} has no doc");
            for (i, input) in sig.inputs.iter().enumerate() {
                let last = i + 1 == sig.inputs.len();
                assert!(last || input.kind != InputKind::Variadic, "{op}: variadic input before the last");
            }
            for attr in sig.attrs {
                assert!(!attr.doc.is_empty(), "{op}: attribute {} has no doc", attr.name);
                if let Some(value) = attr.default.value() {
                    let attrs = Attrs::new().with(attr.name, value).check(sig);
                    assert!(sig.attrs.iter().any(|a| a.default.is_required()) || attrs.is_ok_and(|a| a.is_empty()));
                }
            }
        }
    }
}
