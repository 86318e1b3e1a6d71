#!/usr/bin/env python3
"""Golden values for the operators: small random cases computed by PyTorch and ONNX Runtime.

    pip install torch onnxruntime onnx numpy
    scripts/golden_ops.py crates/ops/tests/golden/ops.json

Writes a list of {op, attrs, inputs, outputs}; a tensor is {dtype, shape, data} (an absent input is null).
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper

rng = np.random.default_rng(7)
torch.manual_seed(7)
cases = []
NAMES = {"float32": "f32", "int64": "i64", "int32": "i32", "bool": "bool", "uint8": "u8", "int8": "i8"}


def r(*shape, lo=-2.0, hi=2.0):
    return (rng.random(shape) * (hi - lo) + lo).astype(np.float32).round(3)


def tensor(a):
    if a is None:
        return None
    a = np.asarray(a)
    data = [float(str(v)) if a.dtype == np.float32 else v.item() for v in a.ravel()]
    data = [str(v) if isinstance(v, float) and not np.isfinite(v) else v for v in data]
    return {"dtype": NAMES[str(a.dtype)], "shape": list(a.shape), "data": data}


def case(op, inputs, outputs, **attrs):
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    outputs = [o.numpy() if isinstance(o, torch.Tensor) else o for o in outputs]
    cases.append({"op": op, "attrs": attrs, "inputs": [tensor(i) for i in inputs], "outputs": [tensor(o) for o in outputs]})


def t(a):
    return None if a is None else torch.from_numpy(np.asarray(a))


def onnx_case(onnx_op, op, inputs, attrs, onnx_attrs=None, outputs=1, opset=17, onnx_inputs=None):
    """One ONNX node run by ONNX Runtime; `inputs` are those of our operator, `onnx_inputs` (default: the same) the node's."""
    feed, names = {}, []
    for i, a in enumerate(inputs if onnx_inputs is None else onnx_inputs):
        names.append("" if a is None else f"i{i}")
        if a is not None:
            feed[f"i{i}"] = np.asarray(a)
    outs = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(onnx_op, names, outs, **(attrs if onnx_attrs is None else onnx_attrs))
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feed.items()]
    graph = helper.make_graph([node], "g", infos, [helper.make_empty_tensor_value_info(o) for o in outs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    case(op, inputs, session.run(None, feed), **attrs)


# Convolutions
def conv(fn, op, x, w, b, **kw):
    torch_kw = {k: v for k, v in kw.items()}
    case(op, [x, w, b], fn(t(x), t(w), t(b), **torch_kw), **{k: (v if isinstance(v, int) else list(v)) for k, v in kw.items()})


conv(F.conv1d, "conv1d", r(2, 3, 11), r(4, 3, 3), r(4), stride=[2], padding=[1], dilation=[2])
conv(F.conv2d, "conv2d", r(2, 3, 7, 8), r(4, 3, 3, 3), r(4), stride=[2, 1], padding=[1, 2])
conv(F.conv2d, "conv2d", r(1, 6, 5, 5), r(4, 3, 3, 2), None, groups=2, dilation=[1, 2])
conv(F.conv2d, "conv2d", r(2, 4, 6, 5), r(8, 1, 3, 3), r(8), groups=4, stride=[2, 2], padding=[1, 1])
conv(F.conv2d, "conv2d", r(1, 5, 3, 4), r(6, 5, 1, 1), r(6))
conv(F.conv2d, "conv2d", r(1, 5, 5, 4), r(6, 5, 1, 1), None, stride=[2, 2])
conv(F.conv3d, "conv3d", r(1, 2, 4, 5, 6), r(3, 2, 2, 3, 3), r(3), stride=[1, 2, 1], padding=[1, 0, 1])
x, w, b = r(1, 2, 5, 5), r(3, 2, 3, 3), r(3)
onnx_case("Conv", "conv2d", [x, w, b], {"padding": [0, 1, 2, 1]}, {"pads": [0, 1, 2, 1]})
for op, fn, shape, wshape, kw in [
    ("conv_transpose1d", F.conv_transpose1d, (2, 3, 5), (3, 2, 3), dict(stride=[2], padding=[1], output_padding=[1])),
    ("conv_transpose2d", F.conv_transpose2d, (2, 4, 4, 5), (4, 3, 3, 2), dict(stride=[2, 3], padding=[1, 0], dilation=[1, 2])),
    ("conv_transpose2d", F.conv_transpose2d, (1, 4, 3, 3), (4, 2, 2, 2), dict(stride=[2, 2], groups=2)),
]:
    conv(fn, op, r(*shape), r(*wshape), r(wshape[1] * kw.get("groups", 1)), **kw)
x, w, b = r(2, 3, 5), r(4, 5), r(4)
case("linear", [x, w, b], F.linear(t(x), t(w), t(b)))
for a, b in [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (4, 3)), ((2, 3, 4), (4,)), ((4,), (4,))]:
    a, b = r(*a), r(*b)
    case("matmul", [a, b], torch.matmul(t(a), t(b)))

# Pooling
x = r(2, 3, 7, 9)
for kw in [dict(kernel_size=[3, 2]), dict(kernel_size=[3, 3], stride=[2, 2], padding=[1, 1]), dict(kernel_size=[2, 2], stride=[2, 2], ceil_mode=True),
           dict(kernel_size=[3, 3], stride=[2, 2], padding=[1, 1], ceil_mode=True)]:
    case("max_pool2d", [x], F.max_pool2d(t(x), **kw), **kw)
    case("avg_pool2d", [x], F.avg_pool2d(t(x), **kw), **kw)
    case("avg_pool2d", [x], F.avg_pool2d(t(x), count_include_pad=False, **kw), count_include_pad=False, **kw)
case("max_pool2d", [x], F.max_pool2d(t(x), [2, 2], [1, 2], [0, 1], [2, 3]), kernel_size=[2, 2], stride=[1, 2], padding=[0, 1], dilation=[2, 3])
x1, x3 = r(2, 3, 9), r(1, 2, 4, 5, 6)
case("max_pool1d", [x1], F.max_pool1d(t(x1), 3, 2, 1), kernel_size=[3], stride=[2], padding=[1])
case("avg_pool1d", [x1], F.avg_pool1d(t(x1), 3, 2, 1), kernel_size=[3], stride=[2], padding=[1])
case("max_pool3d", [x3], F.max_pool3d(t(x3), 2, 2), kernel_size=[2, 2, 2], stride=[2, 2, 2])
case("avg_pool3d", [x3], F.avg_pool3d(t(x3), 2, 2), kernel_size=[2, 2, 2], stride=[2, 2, 2])
case("adaptive_avg_pool1d", [x1], F.adaptive_avg_pool1d(t(x1), 4), output_size=[4])
case("adaptive_avg_pool2d", [x], F.adaptive_avg_pool2d(t(x), [1, 1]), output_size=[1, 1])
case("adaptive_avg_pool2d", [x], F.adaptive_avg_pool2d(t(x), [3, 5]), output_size=[3, 5])
case("adaptive_avg_pool3d", [x3], F.adaptive_avg_pool3d(t(x3), [3, 2, 4]), output_size=[3, 2, 4])

# Functions of one element
x = np.concatenate([r(40, lo=-6, hi=6), np.float32([0.0, -3.0, 3.0, 0.5, -0.5, 1.5, 2.5])])
p = np.abs(x) + np.float32(0.01)
for op, fn, v, kw in [
    ("relu", F.relu, x, {}), ("relu6", F.relu6, x, {}), ("leaky_relu", F.leaky_relu, x, {"negative_slope": 0.2}), ("elu", F.elu, x, {"alpha": 0.7}),
    ("sigmoid", torch.sigmoid, x, {}), ("tanh", torch.tanh, x, {}), ("hardswish", F.hardswish, x, {}), ("hardsigmoid", F.hardsigmoid, x, {}),
    ("gelu", F.gelu, x, {}), ("gelu", F.gelu, x, {"approximate": "tanh"}), ("silu", F.silu, x, {}), ("mish", F.mish, x, {}), ("softplus", F.softplus, x, {}),
    ("erf", torch.erf, x, {}), ("exp", torch.exp, x, {}), ("log", torch.log, p, {}), ("sqrt", torch.sqrt, p, {}), ("rsqrt", torch.rsqrt, p, {}),
    ("reciprocal", torch.reciprocal, p, {}), ("neg", torch.neg, x, {}), ("abs", torch.abs, x, {}), ("floor", torch.floor, x, {}), ("ceil", torch.ceil, x, {}),
    ("round", torch.round, x, {}), ("sign", torch.sign, x, {}), ("sin", torch.sin, x, {}), ("cos", torch.cos, x, {}),
]:
    case(op, [v], fn(t(v), **kw), **kw)
case("clamp", [x], torch.clamp(t(x), -1.5, 2.0), min=-1.5, max=2.0)
onnx_case("HardSigmoid", "hardsigmoid", [x], {"alpha": 0.25, "beta": 0.4})
i = rng.integers(-5, 6, (2, 3)).astype(np.int64)
case("neg", [i], torch.neg(t(i)))
case("abs", [i], torch.abs(t(i)))
case("sign", [i], torch.sign(t(i)))

# Functions of two elements
a, b = r(2, 3, 1, 4), r(3, 5, 1)
for op, fn in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div), ("maximum", torch.maximum), ("minimum", torch.minimum),
               ("remainder", torch.remainder), ("fmod", torch.fmod), ("less", torch.lt), ("less_equal", torch.le), ("greater", torch.gt),
               ("greater_equal", torch.ge), ("equal", torch.eq), ("not_equal", torch.ne)]:
    case(op, [a, b], fn(t(a), t(b)))
for e in [2.0, 3.0, 0.5, -1.5, 1.0, 0.0]:
    case("pow", [p, np.float32(e)], torch.pow(t(p), e))
i, j = rng.integers(-9, 10, (4, 3)).astype(np.int64), np.int64([3, -4, 2])
for op, fn in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("remainder", torch.remainder), ("fmod", torch.fmod), ("maximum", torch.maximum), ("equal", torch.eq)]:
    case(op, [i, j], fn(t(i), t(j)))
case("div", [i, j], torch.div(t(i), t(j), rounding_mode="trunc"))
m, n = rng.random((3, 4)) > 0.5, rng.random((4,)) > 0.5
for op, fn in [("logical_and", torch.logical_and), ("logical_or", torch.logical_or), ("logical_xor", torch.logical_xor)]:
    case(op, [m, n], fn(t(m), t(n)))
case("not", [m], torch.logical_not(t(m)))
a, b = r(2, 1, 4), r(3, 1)
case("where", [m, a, b], torch.where(t(m), t(a), t(b)))
x, s = r(2, 3, 2, 2), r(3, 1, 1)
onnx_case("PRelu", "prelu", [x, s], {})

# Movement
x = r(2, 3, 4)
case("permute", [x], t(x).permute(2, 0, 1).contiguous(), dims=[2, 0, 1])
case("permute", [x], t(x).permute(2, 1, 0).contiguous())
onnx_case("Reshape", "reshape", [x, np.int64([0, -1, 2])], {})
case("flatten", [x], torch.flatten(t(x), 1), start_dim=1)
onnx_case("Flatten", "flatten2d", [x], {"axis": 2})
onnx_case("Expand", "expand", [r(3, 1), np.int64([2, 1, 4])], {})
onnx_case("Tile", "repeat", [x, np.int64([2, 1, 3])], {})
y, z = r(2, 1, 4), r(2, 2, 4)
case("cat", [x, y, z], torch.cat([t(x), t(y), t(z)], 1), dim=1)
case("split", [x], [s.contiguous() for s in torch.split(t(x), [1, 2], 1)], sizes=[1, 2], dim=1)
onnx_case("Slice", "slice", [x, np.int64([-1, 0]), np.int64([-10, 9]), np.int64([2, 0]), np.int64([-2, 1])], {})
onnx_case("Slice", "slice", [x, np.int64([1]), np.int64([2 ** 40]), np.int64([1])], {})
for mode in ["constant", "reflect", "edge"]:
    pads = np.int64([0, 1, 2, 0, 2, 1])
    onnx_case("Pad", "pad", [x, pads] + ([np.float32(1.5)] if mode == "constant" else []), {"mode": mode})
onnx_case("Unsqueeze", "unsqueeze", [x, np.int64([0, -1])], {})
onnx_case("Squeeze", "squeeze", [r(1, 3, 1, 2), np.int64([0, -2])], {})
onnx_case("Gather", "gather", [x, np.int64([[0, -1], [2, 1]])], {"dim": 1}, {"axis": 1})
onnx_case("GatherElements", "gather_elements", [x, rng.integers(-3, 3, (2, 2, 4)).astype(np.int64)], {"dim": 1}, {"axis": 1})
x = r(1, 8, 2, 3)
case("pixel_shuffle", [x], F.pixel_shuffle(t(x), 2), upscale_factor=2)
onnx_case("DepthToSpace", "depth_to_space", [x], {"block_size": 2}, {"blocksize": 2})
x = r(1, 2, 4, 5)
case("interpolate", [x], F.interpolate(t(x), size=(7, 3)), size=[7, 3])
case("interpolate", [x], F.interpolate(t(x), scale_factor=(2.0, 2.0)), scale_factor=[2.0, 2.0])
case("interpolate", [x], F.interpolate(t(x), size=(7, 3), mode="bilinear"), size=[7, 3], mode="bilinear")
case("interpolate", [x], F.interpolate(t(x), size=(7, 3), mode="bilinear", align_corners=True), size=[7, 3], mode="bilinear", coordinates="align_corners")

# Reductions and normalisations
x = r(2, 3, 4, 5)
for op, fn in [("mean", torch.mean), ("sum", torch.sum), ("amax", torch.amax), ("amin", torch.amin)]:
    case(op, [x], fn(t(x), (1, 3)), dims=[1, 3])
    case(op, [x], fn(t(x), (-1,), keepdim=True), dims=[-1], keepdim=True)
case("prod", [x], torch.prod(t(x), 2), dims=[2])
case("sum", [x], torch.sum(t(x)))
case("argmax", [x], torch.argmax(t(x), 2), dim=2)
case("cumsum", [x], torch.cumsum(t(x), 1), dim=1)
case("softmax", [x], torch.softmax(t(x), 1), dim=1)
case("softmax", [x], torch.softmax(t(x), -1))
case("log_softmax", [x], torch.log_softmax(t(x), 2), dim=2)
w, b = r(4, 5), r(4, 5)
case("layer_norm", [x, w, b], F.layer_norm(t(x), (4, 5), t(w), t(b)), axis=-2)
case("layer_norm", [x], F.layer_norm(t(x), (5,), eps=0.1), eps=0.1)
w = r(5)
case("rms_norm", [x, w], F.rms_norm(t(x), (5,), t(w), 1e-5))
w, b, mean, var = r(3), r(3), r(3), np.abs(r(3)) + np.float32(0.1)
case("batch_norm", [x, w, b, mean, var], F.batch_norm(t(x), t(mean), t(var), t(w), t(b), eps=1e-3), eps=1e-3)
case("instance_norm", [x, w, b], F.instance_norm(t(x), weight=t(w), bias=t(b)))
x6, w, b = r(2, 6, 3, 2), r(6), r(6)
case("group_norm", [x6, w, b], F.group_norm(t(x6), 3, t(w), t(b)), num_groups=3)

# Recurrent
seq, batch, size, hidden = 4, 2, 3, 5
for direction, dirs in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
    for op, onnx_op, gates in [("lstm", "LSTM", 4), ("gru", "GRU", 3)]:
        w, rr, b = r(dirs, gates * hidden, size, lo=-1, hi=1), r(dirs, gates * hidden, hidden, lo=-1, hi=1), r(dirs, 2 * gates * hidden, lo=-1, hi=1)
        h, c = r(dirs, batch, hidden), r(dirs, batch, hidden)
        base = [r(seq, batch, size), w, rr]
        attrs = {"hidden_size": hidden, "direction": direction}
        onnx_case(onnx_op, op, base, attrs, outputs=gates - 1)
        lens = np.int32([3, 4])
        full = base + [b, lens, h] + ([c, r(dirs, 3 * hidden, lo=-1, hi=1)] if op == "lstm" else [])
        if op == "gru":
            onnx_case(onnx_op, op, full, {**attrs, "linear_before_reset": True}, {**attrs, "linear_before_reset": 1}, outputs=2)
        onnx_case(onnx_op, op, full, attrs, outputs=gates - 1)

# Shapes
x = r(2, 3, 4)
onnx_case("Shape", "shape", [x], {"start": -2})
onnx_case("ConstantOfShape", "full", [np.int64([2, 2])], {"value": 3.0, "dtype": "i64"}, {"value": helper.make_tensor("v", TensorProto.INT64, [1], [3])})
onnx_case("Range", "arange", [np.int64(3), np.int64(-4), np.int64(-2)], {})
onnx_case("Cast", "to", [np.float32([1.9, -1.9, 0.0])], {"dtype": "i64"}, {"to": TensorProto.INT64})

# Quantization
x = r(3, 4, 5)
for dtype, name in [(torch.quint8, "u8"), (torch.qint8, "i8")]:
    q = torch.quantize_per_tensor(t(x), 0.0131, 7, dtype)
    case("quantize_per_tensor", [x], q.int_repr(), scale=0.0131, zero_point=7, dtype=name)
s, z = np.float32([0.01, 0.02, 0.005, 0.03]), np.int64([0, 3, -5, 1])
q = torch.quantize_per_channel(t(x), t(s).double(), t(z), 1, torch.qint8)
case("quantize_per_channel", [x, s, z], q.int_repr(), axis=1)
case("dequantize_per_channel", [q.int_repr().numpy(), s, z], q.dequantize(), axis=1)

with open(sys.argv[1], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
print(len(cases), "cases of", len({c["op"] for c in cases}), "operators")
