#!/usr/bin/env python3
"""Golden values of ONNX import: small models of each operator, in the opsets where its form changed, run by onnxruntime.

usage: golden_onnx_ops.py OUT.json        (needs onnx, onnxruntime, numpy)
"""
import sys

import numpy as np
from onnx import TensorProto, helper

from onnx_cases import case, i64, op, write

rng = np.random.default_rng(7)


def f(*shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


X = ("x", f(2, 3, 7, 6))
# Convolutions.
W = ("w", f(4, 3, 3, 3, scale=0.3))
B = ("b", f(4))
op("conv", "Conv", [X, W, B], "wb", symbolic="x")
op("conv_padded", "Conv", [X, W], "w", strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2])
op("conv_grouped", "Conv", [X, ("w", f(6, 1, 3, 2)), ("b", f(6))], "wb", group=3, pads=[1, 1, 1, 1], kernel_shape=[3, 2])
op("conv_same_upper", "Conv", [X, W, B], "wb", auto_pad="SAME_UPPER", strides=[2, 2])
op("conv_same_lower", "Conv", [X, ("w", f(4, 3, 2, 4)), B], "wb", auto_pad="SAME_LOWER", strides=[2, 3])
op("conv_same_stride1", "Conv", [X, ("w", f(4, 3, 2, 4)), B], "wb", auto_pad="SAME_UPPER", symbolic="x")
op("conv_valid", "Conv", [X, W, B], "wb", auto_pad="VALID", strides=[2, 2])
op("conv1d", "Conv", [("x", f(2, 3, 9)), ("w", f(4, 3, 3)), B], "wb", strides=[2], pads=[1, 0])
op("conv3d", "Conv", [("x", f(1, 2, 4, 5, 4)), ("w", f(3, 2, 2, 3, 2))], "w", pads=[0, 1, 0, 1, 1, 0])
op("conv_transpose", "ConvTranspose", [X, ("w", f(3, 4, 3, 3)), B], "wb", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
op("conv_transpose_grouped", "ConvTranspose", [("x", f(1, 4, 5, 4)), ("w", f(4, 2, 3, 2))], "w", group=2, strides=[2, 1], pads=[0, 1, 1, 0])
op("conv_transpose_output_shape", "ConvTranspose", [X, ("w", f(3, 2, 3, 3))], "w", strides=[2, 2], output_shape=[14, 12])
op("conv_transpose1d", "ConvTranspose", [("x", f(2, 3, 5)), ("w", f(3, 2, 4))], "w", strides=[3])
# Matrix products.
op("gemm_linear", "Gemm", [("a", f(3, 5)), ("w", f(4, 5)), B], "wb", transB=1, symbolic="a")
op("gemm_const_b", "Gemm", [("a", f(3, 5)), ("w", f(5, 4)), ("b", f(1, 4))], "wb", symbolic="a")
op("gemm_scaled", "Gemm", [("a", f(5, 3)), ("w", f(5, 4)), B], "wb", alpha=0.5, beta=2.0, transA=1)
op("gemm_beta", "Gemm", [("a", f(3, 5)), ("w", f(4, 5)), B], "wb", beta=0.25, transB=1)
op("gemm_dynamic", "Gemm", [("a", f(3, 5)), ("w", f(5, 4)), ("c", f(3, 1))])
op("gemm_no_c", "Gemm", [("a", f(3, 5)), ("w", f(4, 5))], "w", opset=11, transB=1)
op("matmul_2d", "MatMul", [("a", f(3, 5)), ("b", f(5, 4))], "b")
op("matmul_batched", "MatMul", [("a", f(2, 1, 3, 5)), ("b", f(4, 5, 2))])
op("matmul_vector", "MatMul", [("a", f(5)), ("b", f(2, 5, 3))])
# Unary.
Z = ("x", np.array([[-7.5, -3.0, -1.25, -0.5, -0.0, 0.25, 0.5, 1.5, 2.5, 3.0, 8.0]], np.float32))
P = ("x", np.array([[0.03, 0.5, 1.0, 2.75, 30.0]], np.float32))
for t in ["Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus", "Erf", "Exp", "Neg", "Abs", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos"]:
    op(t.lower(), t, [Z])
for t in ["Log", "Sqrt", "Reciprocal"]:
    op(t.lower(), t, [P])
op("mish", "Mish", [Z], opset=18)
op("gelu", "Gelu", [Z], opset=20)
op("gelu_tanh", "Gelu", [Z], opset=20, approximate="tanh")
op("leaky_relu", "LeakyRelu", [Z], alpha=0.2)
op("leaky_relu_default", "LeakyRelu", [Z])
op("elu", "Elu", [Z], alpha=1.5)
op("hard_sigmoid", "HardSigmoid", [Z])
op("hard_sigmoid_torch", "HardSigmoid", [Z], alpha=1.0 / 6, beta=0.5)
op("prelu", "PRelu", [X, ("s", f(3, 1, 1))], "s")
op("clip_6", "Clip", [Z], opset=6 + 1, min=-1.0, max=2.0)
op("clip_6_max", "Clip", [Z], opset=7, max=2.0)
op("clip_11", "Clip", [Z, ("lo", np.float32(-1)), ("hi", np.float32(2))], ["lo", "hi"], opset=11)
op("clip_min_only", "Clip", [Z, ("lo", np.float32(0))], ["lo"])
op("clip_max_only", "Clip", [Z, None, ("hi", np.float32(6))], ["hi"])
op("clip_dynamic", "Clip", [Z, ("lo", np.float32(-1)), ("hi", np.float32(2))])
op("clip_int", "Clip", [("x", i64(-5, 0, 5)), ("lo", np.int64(-1)), ("hi", np.int64(3))], ["lo", "hi"])
op("not", "Not", [("x", np.array([True, False]))])
op("cast_int", "Cast", [Z], to=TensorProto.INT64)
op("cast_bool", "Cast", [Z], to=TensorProto.BOOL)
op("cast_float", "Cast", [("x", i64(1, -2, 3))], to=TensorProto.FLOAT)
op("identity", "Identity", [Z])
op("dropout_7", "Dropout", [Z], opset=7, ratio=0.3)
op("dropout_13", "Dropout", [Z, ("r", np.float32(0.4)), ("t", np.bool_(False))], ["r", "t"], opset=13)
# Elementwise.
for t in ["Add", "Sub", "Mul", "Div"]:
    op(t.lower(), t, [("a", f(2, 3, 4)), ("b", f(3, 1) + 3)])
op("add_const", "Add", [("a", f(2, 3)), ("b", f(3))], "b")
op("add_int", "Add", [("a", i64(1, 2, 3)), ("b", i64(10))])
op("pow", "Pow", [P, ("e", np.float32(2))], "e")
op("pow_fraction", "Pow", [P, ("e", np.float32(1.7))], "e")
op("max_3", "Max", [("a", f(2, 3)), ("b", f(3)), ("c", f(2, 1))])
op("min_2", "Min", [("a", f(2, 3)), ("b", f(3))])
op("sum_3", "Sum", [("a", f(2, 3)), ("b", f(3)), ("c", f(2, 1))])
for t in ["Equal", "Less", "Greater"]:
    op(t.lower(), t, [("a", i64(1, 2, 3)), ("b", i64(2))])
for t in ["LessOrEqual", "GreaterOrEqual"]:
    op(t.lower(), t, [Z, ("b", np.float32(0.25))], "b")
for t in ["And", "Or"]:
    op(t.lower(), t, [("a", np.array([[True], [False]])), ("b", np.array([True, False]))])
op("where", "Where", [("c", np.array([[True], [False]])), ("a", f(2, 3)), ("b", f(3))])
# Reductions.
for opset, axes_input in [(11, False), (17, False), (18, True)]:
    for t in ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"]:
        if axes_input:
            op(f"{t.lower()}_{opset}", t, [X, ("axes", i64(1, -1))], ["axes"], opset=opset, keepdims=0)
        else:
            op(f"{t.lower()}_{opset}", t, [X], opset=opset, axes=[2, -1])
op("reducesum_11", "ReduceSum", [X], opset=11, axes=[1], keepdims=0)
op("reducesum_13", "ReduceSum", [X, ("axes", i64(-2))], ["axes"], opset=13)
op("reducesum_all", "ReduceSum", [("x", f(2, 3))], opset=13)
op("reducesum_noop", "ReduceSum", [("x", f(2, 3))], opset=13, noop_with_empty_axes=1)
op("reducel2", "ReduceL2", [X], axes=[1])
op("reducel1", "ReduceL1", [X], axes=[1], keepdims=0)
op("reducesumsquare", "ReduceSumSquare", [X], axes=[-1])
op("softmax_11", "Softmax", [X], opset=11, axis=2)
op("softmax_11_default", "Softmax", [("x", f(2, 3, 4))], opset=11)
op("softmax_13", "Softmax", [X], opset=13, axis=1)
op("softmax_13_default", "Softmax", [X], opset=13)
op("log_softmax", "LogSoftmax", [X], axis=-1)
op("log_softmax_11", "LogSoftmax", [("x", f(2, 3, 4))], opset=11, axis=0)
op("argmax", "ArgMax", [X], axis=1, keepdims=0)
op("argmax_default", "ArgMax", [X])
op("cumsum", "CumSum", [X, ("axis", np.int64(2))], ["axis"])
# Normalisations.
C = [("s", f(3)), ("o", f(3)), ("m", f(3)), ("v", np.abs(f(3)) + 0.5)]
for opset in [7, 9, 14, 15]:
    op(f"batch_norm_{opset}", "BatchNormalization", [X, *C], "somv", opset=opset, epsilon=1e-3)
op("instance_norm", "InstanceNormalization", [X, C[0], C[1]], "so", epsilon=1e-4)
op("layer_norm", "LayerNormalization", [("x", f(2, 4, 5)), ("s", f(5)), ("o", f(5))], "so", epsilon=1e-6)
op("layer_norm_axis", "LayerNormalization", [("x", f(2, 4, 5)), ("s", f(4, 5))], "s", axis=1)
op("group_norm_18", "GroupNormalization", [("x", f(2, 6, 3, 2)), ("s", f(2)), ("o", f(2))], "so", opset=18, num_groups=2)
op("group_norm_21", "GroupNormalization", [("x", f(2, 6, 3, 2)), ("s", f(6)), ("o", f(6))], "so", opset=21, num_groups=2)
# Pooling.
op("max_pool", "MaxPool", [X], kernel_shape=[2, 3], strides=[2, 2])
op("max_pool_default_stride", "MaxPool", [X], kernel_shape=[2, 2])
op("max_pool_ceil", "MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, opset=11)
op("max_pool_asymmetric", "MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 0])
op("max_pool_same", "MaxPool", [X], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
op("max_pool_dilated", "MaxPool", [X], kernel_shape=[2, 2], dilations=[2, 3])
op("max_pool1d", "MaxPool", [("x", f(2, 3, 9))], kernel_shape=[3], strides=[2], pads=[1, 1])
op("avg_pool", "AveragePool", [X], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
op("avg_pool_include", "AveragePool", [X], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
op("avg_pool_asymmetric", "AveragePool", [X], kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 1, 0])
op("avg_pool_same", "AveragePool", [X], kernel_shape=[2, 2], auto_pad="SAME_LOWER")
op("global_average_pool", "GlobalAveragePool", [X], symbolic="x")
op("global_max_pool", "GlobalMaxPool", [X])
# Layout.
op("concat", "Concat", [("a", f(2, 3)), ("b", f(2, 2))], axis=-1)
op("split_11", "Split", [("x", f(2, 5))], opset=11, axis=1, split=[2, 3], outputs=("y", "z"))
op("split_11_even", "Split", [("x", f(4, 3))], opset=11, outputs=("y", "z"))
op("split_13", "Split", [("x", f(2, 5)), ("s", i64(4, 1))], ["s"], opset=13, axis=-1, outputs=("y", "z"))
op("split_18", "Split", [("x", f(2, 5))], opset=18, axis=1, num_outputs=2, outputs=("y", "z"))
op("slice_9", "Slice", [X], opset=9, starts=[1, -4], ends=[2, 100], axes=[1, 3])
op("slice_10", "Slice", [X, ("s", i64(5, 0)), ("e", i64(-100, 4)), ("a", i64(3, 2)), ("t", i64(-2, 3))], "seat", opset=10)
op("slice_dynamic", "Slice", [("x", f(6, 3)), ("s", i64(1)), ("e", i64(4))])
op("slice_negative_axis", "Slice", [X, ("s", i64(2)), ("e", i64(2**62)), ("a", i64(-2))], "sea")
op("gather", "Gather", [("x", f(5, 4)), ("i", np.array([[0, -1], [3, 2]], np.int64))], "x")
op("gather_axis", "Gather", [("x", f(2, 5, 3)), ("i", np.int64(2))], "i", axis=1)
op("gather_elements", "GatherElements", [("x", f(3, 3)), ("i", np.array([[1, 2, 0], [2, 0, 0]], np.int64))], axis=0)
op("reshape", "Reshape", [X, ("s", i64(0, -1, 2))], "s", symbolic="x")
op("reshape_allowzero", "Reshape", [("x", f(0, 3)), ("s", i64(3, 0))], "s", allowzero=1)
op("reshape_dynamic", "Reshape", [("x", f(4, 6)), ("s", i64(3, -1))])
for axis in [0, 1, 2, 4, -1]:
    op(f"flatten_{axis}".replace("-", "m"), "Flatten", [X], axis=axis)
op("transpose", "Transpose", [X], perm=[0, 2, 3, 1])
op("transpose_default", "Transpose", [("x", f(2, 3, 4))])
S = ("x", f(1, 3, 1, 2))
op("squeeze_11", "Squeeze", [S], opset=11, axes=[0, 2])
op("squeeze_all", "Squeeze", [S], opset=11)
op("squeeze_13", "Squeeze", [S, ("a", i64(-2))], "a", opset=13)
op("unsqueeze_11", "Unsqueeze", [("x", f(2, 3))], opset=11, axes=[0, 3])
op("unsqueeze_13", "Unsqueeze", [("x", f(2, 3)), ("a", i64(-1, 1))], "a", opset=13)
op("expand", "Expand", [("x", f(3, 1)), ("s", i64(2, 1, 4))], "s")
op("expand_dynamic", "Expand", [("x", f(3, 1)), ("s", i64(2, 3, 4))])
op("tile", "Tile", [("x", f(2, 3)), ("r", i64(2, 2))], "r")
op("pad_2", "Pad", [("x", f(2, 3))], opset=7, pads=[1, 0, 2, 1], value=1.5)
op("pad_11", "Pad", [("x", f(2, 3)), ("p", i64(0, 1, 1, -1)), ("v", np.float32(-2))], "pv", opset=11)
op("pad_dynamic", "Pad", [("x", f(2, 3)), ("p", i64(0, 1, 1, 2))])
op("pad_axes", "Pad", [("x", f(2, 3, 4)), ("p", i64(1, 2)), None, ("a", i64(-1))], "pa", opset=18)
op("pad_reflect", "Pad", [("x", f(1, 1, 4, 5)), ("p", i64(0, 0, 2, 1, 0, 0, 1, 3))], "p", mode="reflect")
op("pad_edge", "Pad", [("x", f(1, 1, 4, 5)), ("p", i64(0, 0, 2, 1, 0, 0, 1, 3))], "p", mode="edge")
op("depth_to_space", "DepthToSpace", [("x", f(2, 8, 2, 3))], blocksize=2, symbolic="x")
op("depth_to_space_crd", "DepthToSpace", [("x", f(2, 8, 2, 3))], blocksize=2, mode="CRD")
op("space_to_depth", "SpaceToDepth", [("x", f(1, 2, 4, 6))], blocksize=2)
op("trilu_upper", "Trilu", [("x", f(2, 3, 4))])
op("trilu_lower", "Trilu", [("x", f(4, 3)), ("k", np.int64(-1))], "k", upper=0)
IMG = ("x", f(1, 2, 3, 4))
EMPTY = ("roi", np.zeros(0, np.float32))
op("upsample_7", "Upsample", [IMG], opset=7, scales=[1.0, 1.0, 2.0, 3.0])
op("upsample_9", "Upsample", [IMG, ("s", np.array([1, 1, 2, 2], np.float32))], "s", opset=9)
op("resize_10", "Resize", [IMG, ("s", np.array([1, 1, 2, 2], np.float32))], "s", opset=10)
op("resize_nearest", "Resize", [IMG, EMPTY, ("s", np.array([1, 1, 2, 2], np.float32))], ["roi", "s"], opset=11,
   mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
op("resize_half_pixel", "Resize", [IMG, None, ("s", np.array([1, 1, 3, 2], np.float32))], "s", opset=18)
op("resize_axes", "Resize", [IMG, None, None, ("z", i64(6, 8))], "z", opset=18, axes=[2, -1])
op("resize_linear", "Resize", [IMG, None, ("s", np.array([1, 1, 2, 2], np.float32))], "s", opset=13, mode="linear")
op("resize_linear_sizes", "Resize", [IMG, None, None, ("z", i64(1, 2, 5, 7))], "z", mode="linear",
   coordinate_transformation_mode="align_corners")
op("resize_pytorch", "Resize", [IMG, None, None, ("z", i64(1, 2, 6, 6))], "z", mode="linear",
   coordinate_transformation_mode="pytorch_half_pixel")
# Shapes and constants.
op("shape", "Shape", [("x", f(2, 3, 4))], symbolic="x")
op("shape_15", "Shape", [("x", f(2, 3, 4))], opset=15, start=1, end=-1)
op("size", "Size", [("x", f(2, 3, 4))])
op("constant_of_shape", "ConstantOfShape", [("s", i64(2, 3))], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.5]))
op("constant_of_shape_int", "ConstantOfShape", [("s", i64(4))], "s", value=helper.make_tensor("v", TensorProto.INT64, [1], [7]))
op("range_int", "Range", [("a", np.int64(2)), ("b", np.int64(11)), ("c", np.int64(3))])
op("range_float", "Range", [("a", np.float32(1)), ("b", np.float32(0)), ("c", np.float32(-0.25))])
for k, v in {"value_float": 2.5, "value_floats": [1.0, 2.0], "value_int": 3, "value_ints": [1, 2, 3]}.items():
    case(f"constant_{k}", [helper.make_node("Constant", [], ["c"], **{k: v}), helper.make_node("Identity", ["c"], ["y"])], {})
# Recurrent.
T, N, I, H = 4, 2, 3, 5
for d, name in [(1, "forward"), (1, "reverse"), (2, "bidirectional")]:
    W = ("w", f(d, 4 * H, I, scale=0.4))
    R = ("r", f(d, 4 * H, H, scale=0.4))
    B = ("b", f(d, 8 * H, scale=0.4))
    outs = ("y", "yh", "yc")
    op(f"lstm_{name}", "LSTM", [("x", f(T, N, I)), W, R, B], "wrb", outputs=outs, hidden_size=H, direction=name)
    G = [("w", f(d, 3 * H, I, scale=0.4)), ("r", f(d, 3 * H, H, scale=0.4)), ("b", f(d, 6 * H, scale=0.4))]
    op(f"gru_{name}", "GRU", [("x", f(T, N, I)), *G], "wrb", outputs=("y", "yh"), hidden_size=H, direction=name,
       linear_before_reset=int(name != "reverse"))
W, R, B = (("w", f(1, 4 * H, I, scale=0.4)), ("r", f(1, 4 * H, H, scale=0.4)), ("b", f(1, 8 * H, scale=0.4)))
op("lstm_states", "LSTM", [("x", f(T, N, I)), W, R, None, ("l", np.array([4, 2], np.int32)), ("h", f(1, N, H)), ("c", f(1, N, H))],
   "wrl", outputs=("y", "yh", "yc"), hidden_size=H)
op("lstm_peephole", "LSTM", [("x", f(T, N, I)), W, R, B, None, None, None, ("p", f(1, 3 * H))], "wrbp",
   outputs=("y", "yh", "yc"), hidden_size=H)
# Quantized.
Q = ("x", np.array([[-128, -1, 0], [5, 100, 127]], np.int8))
op("quantize_linear", "QuantizeLinear", [Z, ("s", np.float32(0.05)), ("z", np.uint8(128))], "sz")
op("quantize_linear_i8", "QuantizeLinear", [Z, ("s", np.float32(0.05)), ("z", np.int8(-3))], "sz")
op("quantize_linear_default", "QuantizeLinear", [Z, ("s", np.float32(0.05))], "s")
op("dequantize_linear", "DequantizeLinear", [Q, ("s", np.float32(0.05)), ("z", np.int8(3))], "sz")
op("dequantize_channels", "DequantizeLinear", [Q, ("s", np.array([0.5, 0.25, 0.125], np.float32))], "s", axis=1)
op("dequantize_channels_axis0", "DequantizeLinear", [Q, ("s", np.array([0.5, 0.25], np.float32)), ("z", np.array([1, -1], np.int8))], "sz", axis=0)
op("dequantize_i32", "DequantizeLinear", [("x", np.array([1000, -5], np.int32)), ("s", np.float32(0.5))], "s")
op("quantize_channels", "QuantizeLinear", [("x", f(2, 3)), ("s", np.array([0.05, 0.01, 0.02], np.float32)), ("z", np.zeros(3, np.int8))], "sz", axis=1)


# Small graphs: shape arithmetic on a symbolic batch, as exporters write it.
def n(op_type, ins, outs, **attrs):
    return helper.make_node(op_type, ins, outs, name="/" + outs[0], **attrs)


case("shape_arithmetic", [
    n("Shape", ["x"], ["s"]), n("Gather", ["s", "zero"], ["g"], axis=0), n("Unsqueeze", ["g", "axis"], ["u"]),
    n("Concat", ["u", "rest"], ["t"], axis=0), n("Reshape", ["x", "t"], ["y"]),
], {"x": f(2, 3, 4)}, consts={"zero": np.int64(0), "axis": i64(0), "rest": i64(2, 6)}, symbolic="x")
case("folded_pads", [
    n("ConstantOfShape", ["four"], ["zeros"], value=helper.make_tensor("v", TensorProto.INT64, [1], [0])),
    n("Concat", ["front", "zeros"], ["flat"], axis=0), n("Reshape", ["flat", "pairs"], ["table"]),
    n("Slice", ["table", "m1", "low", "a0", "m1"], ["flipped"]), n("Transpose", ["flipped"], ["t"], perm=[1, 0]),
    n("Reshape", ["t", "m1"], ["pads"]), n("Cast", ["pads"], ["cast"], to=TensorProto.INT64), n("Pad", ["x", "cast"], ["y"]),
], {"x": f(1, 2, 3, 3)}, consts={"four": i64(4), "front": i64(1, 2, 0, 1), "pairs": i64(-1, 2), "m1": i64(-1),
                                 "low": i64(-2**62), "a0": i64(0)})
case("expand_like", [
    n("Shape", ["x"], ["s"]), n("Expand", ["x", "s"], ["y"]),
], {"x": f(2, 3)}, symbolic="x")
case("slice_shape", [
    n("Shape", ["x"], ["s"]), n("Slice", ["s", "a0", "a1"], ["head"]), n("Concat", ["head", "m1"], ["t"], axis=0), n("Reshape", ["x", "t"], ["y"]),
], {"x": f(2, 3, 4)}, consts={"a0": i64(0), "a1": i64(1), "m1": i64(-1)}, symbolic="x")
case("qdq_conv", [
    n("QuantizeLinear", ["x", "xs", "xz"], ["xq"]), n("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
    n("DequantizeLinear", ["w", "ws"], ["wd"], axis=0), n("DequantizeLinear", ["b", "bs"], ["bd"], axis=0),
    n("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]), n("Relu", ["c"], ["r"]),
    n("QuantizeLinear", ["r", "ys", "yz"], ["yq"]), n("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
], {"x": f(1, 2, 5, 5)}, consts={
    "xs": np.float32(0.03), "xz": np.uint8(120), "ys": np.float32(0.02), "yz": np.uint8(0),
    "w": rng.integers(-127, 128, (3, 2, 3, 3)).astype(np.int8), "ws": np.array([0.004, 0.003, 0.005], np.float32),
    "b": rng.integers(-900, 900, 3).astype(np.int32), "bs": np.array([0.004, 0.003, 0.005], np.float32) * np.float32(0.03)})
case("whole_slice", [n("Slice", ["x", "zero", "end"], ["s"]), n("Relu", ["s"], ["y"])], {"x": f(3, 2)},
     consts={"zero": i64(0), "end": i64(2**31 - 1)}, symbolic="x")
case("half_weights", [n("Cast", ["h"], ["c"], to=TensorProto.FLOAT), n("Add", ["x", "c"], ["y"])], {"x": f(3)},
     consts={"h": np.array([0.5, -2.25, 1 / 3], np.float16)})

write(sys.argv[1])
