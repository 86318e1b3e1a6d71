#!/usr/bin/env python3
"""Write crates/ops/tests/golden/quantized_ops.json: PyTorch's quantized kernels, code by code. golden_quantized_ops.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

The file (`golden_quantized_ops.rs` beside it reads it) has

- `tensors`: [dtype, shape, data]; data are the elements' bytes, little endian, in base64 without padding.
- `kernels`: what PyTorch runs -> cases: [numbers of the tensors that are inputs, [[operator, values, attributes]], number of the result].
  Steps compute the same with our operators: the values are the inputs, then the result of each step; the last result is the output's.

All scales are f32 numbers. Weights are in -64..=64, so that no kernel can saturate 16-bit sums: the file does not depend on the machine's VNNI.
Vector loops and what they leave over compute differently in PyTorch; the sizes are such that both run (32 or 64 codes, 8 or 16 channels).

Left out: divisor_override of the average pools and the scales of the generalised ELU (our operators have neither), qint32, and what torch 2.8.0
computes wrongly, against its own float functions: transposed convolutions of engine onednn with unlike numbers of channels, three-dimensional ones of
engine qnnpack. Slopes of prelu have scales of which 1 is a whole number of steps: PyTorch multiplies what is positive by the code nearest to 1.
"""
import base64
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.ao.nn.quantized.functional as QF
import torch.nn.functional as F

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
torch.set_num_threads(1)
torch.backends.quantized.engine = "fbgemm"
Q = torch.ops.quantized
rng = np.random.default_rng(28)
tensors, numbers, kernels = [], {}, {}
NAMES = {"uint8": "u8", "int8": "i8", "float32": "f32"}
RANGE = {"u8": (0, 255), "i8": (-128, 127)}
TORCH = {"u8": torch.quint8, "i8": torch.qint8}
INF = float("inf")


def f32(v):
    return float(np.float32(v))


def shortest(v):
    """The shortest decimal that reads back as this f32."""
    return float(str(np.float32(v)))


def number(a):
    """The number of this tensor in the file."""
    a = np.asarray(a, order="C")
    entry = [NAMES[str(a.dtype)], list(a.shape), base64.b64encode(a.tobytes()).decode().rstrip("=")]
    key = json.dumps(entry)
    if key not in numbers:
        numbers[key] = len(tensors)
        tensors.append(entry)
    return numbers[key]


class Quantized:
    """Codes with a scale and a zero point."""

    def __init__(self, codes, dtype, scale, zero_point):
        self.codes, self.dtype, self.scale, self.zero_point = codes, dtype, f32(scale), zero_point

    def torch(self, layout=torch.contiguous_format):
        q = torch._make_per_tensor_quantized_tensor(torch.from_numpy(self.codes.copy()), self.scale, self.zero_point)
        return q.contiguous(memory_format=layout)

    def x(self, prefix="x_"):
        return {prefix + "scale": self.scale, prefix + "zero_point": self.zero_point}


def codes(shape, dtype="u8", lo=None, hi=None):
    low, high = RANGE[dtype]
    low, high = low if lo is None else lo, high if hi is None else hi
    return rng.integers(low, high + 1, shape).astype({"u8": np.uint8, "i8": np.int8}[dtype])


def q(shape, qparams, **limits):
    return Quantized(codes(shape, qparams[0], **limits), *qparams)


def reals(*shape, lo=-1.0, hi=1.0):
    return (rng.random(shape) * (hi - lo) + lo).astype(np.float32)


def of(result):
    """The attributes that quantize to a result's parameters."""
    dtype = {torch.quint8: "u8", torch.qint8: "i8"}[result.dtype]
    return {"scale": f32(result.q_scale()), "zero_point": result.q_zero_point(), **({} if dtype == "u8" else {"dtype": dtype})}


def attributes(attrs):
    of_value = lambda v: shortest(v) if isinstance(v, float) and abs(v) != INF else v
    value = lambda v: [of_value(e) for e in v] if isinstance(v, (list, tuple)) else of_value(v)
    return {k: value(v) for k, v in attrs.items()}


def steps_case(kernel, inputs, steps, result):
    arrays = [i.codes if isinstance(i, Quantized) else np.asarray(i, np.float32) for i in inputs]
    steps = [[op, values, attributes(attrs)] for op, values, attrs in steps]
    kernels.setdefault(kernel, []).append([[number(a) for a in arrays], steps, number(result.int_repr().contiguous().numpy())])


def case(kernel, op, inputs, result, **attrs):
    """One operator that quantizes its result."""
    steps_case(kernel, inputs, [[op, list(range(len(inputs))), {**attrs, **of(result)}]], result)


def between(kernel, inputs, steps, result, constants=()):
    """Float operators between dequantize and quantize: the values of `steps` count the dequantized inputs, then constants."""
    n, k = len(inputs), len(constants)
    first = [["dequantize_per_tensor", [i], x.x("")] for i, x in enumerate(inputs)]
    # Values: inputs, constants, dequantized inputs, results.
    place = lambda v: n + k + v if v < n else v if v < n + k else n + v
    middle = [[op, [place(v) for v in values], attrs] for op, values, attrs in steps]
    last = n + k + n + len(steps) - 1
    steps_case(kernel, [*inputs, *constants], first + middle + [["quantize_per_tensor", [last], of(result)]], result)


U = [("u8", 0.05, 128), ("u8", 0.0173, 3), ("u8", 0.125, 77), ("u8", 0.031, 0)]
I = [("i8", 0.043, -8), ("i8", 0.0625, 0), ("i8", 0.0137, 101)]
SOME = [U[1], U[2], I[0], I[2]]
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layouts(x):
    """A tensor in the layouts for which PyTorch has kernels of their own."""
    last = LAST.get(x.codes.ndim)
    return [("contiguous", x.torch())] + ([("channels last", x.torch(last))] if last else [])


# Functions of one element: every code in the vector loop, and a few that it leaves over.
ALL = {"u8": np.arange(256, dtype=np.uint8), "i8": np.arange(-128, 128, dtype=np.int8)}
ALL = {d: np.concatenate([a, codes(37, d)]) for d, a in ALL.items()}


def each(kernel, f, op="quantized.lookup", **more):
    for dtype, scale, zero_point in [*U, I[0], I[2]]:
        x = Quantized(ALL[dtype], dtype, scale, zero_point)
        case(kernel, op, [x], f(x.torch()), **x.x(), **more)


def out(dtype, scale=0.0371, zero_point=70):
    return f32(scale), zero_point if dtype == torch.quint8 else zero_point - 128


each("celu", lambda x: QF.celu(x, *out(x.dtype), alpha=0.75), function="celu", alpha=0.75)
each("elu", lambda x: QF.elu(x, *out(x.dtype), alpha=0.7), function="elu", alpha=0.7)
each("leaky_relu", lambda x: QF.leaky_relu(x, 0.1), function="leaky_relu", alpha=0.1)
each("leaky_relu", lambda x: QF.leaky_relu(x, 0.03, scale=out(x.dtype)[0], zero_point=out(x.dtype)[1]), function="leaky_relu", alpha=0.03)
each("hardswish", lambda x: QF.hardswish(x, *out(x.dtype)), function="hardswish")
each("hardsigmoid", QF.hardsigmoid, function="hardsigmoid", alpha=1 / 6, beta=0.5)
each("sigmoid", torch.sigmoid, function="sigmoid")
each("sigmoid", lambda x: Q.sigmoid(x, *out(x.dtype, 0.0043, 9)), function="sigmoid")
each("tanh", torch.tanh, function="tanh")
each("gelu", F.gelu, function="gelu")
each("gelu", lambda x: F.gelu(x, approximate="tanh"), function="gelu", approximate="tanh")
each("threshold", lambda x: QF.threshold(x, 0.1, -0.3), function="threshold", alpha=0.1, beta=-0.3)
each("relu, relu6", F.relu, op="quantized.requantize", activation_min=0.0)
each("relu, relu6", Q.relu6, op="quantized.requantize", activation_min=0.0, activation_max=6.0)
each("hardtanh, clamp", lambda x: QF.hardtanh(x, -0.6, 1.1), op="quantized.requantize", activation_min=-0.6, activation_max=1.1)
each("hardtanh, clamp", lambda x: QF.clamp(x, -1.3, 0.45), op="quantized.requantize", activation_min=-1.3, activation_max=0.45)

for i, p in enumerate(SOME):
    x, w = q((2, 5, 4, 7), p), q((1 if i % 2 else 5,), (p[0], 1 / 128, p[2] // 3 - 40 * (p[0] == "i8")))
    slope = Quantized(w.codes.reshape(-1, 1, 1), w.dtype, w.scale, w.zero_point)
    between("prelu", [x, slope], [["prelu", [0, 1], {}]], Q.prelu(x.torch(), w.torch(), *out(TORCH[p[0]])))
    x = q((3, 5, 11), p)
    for dim in (-1, 1):
        zero_point = RANGE[p[0]][0]
        between("softmax", [x], [["softmax", [0], {"dim": dim}]], Q.softmax(x.torch(), dim, 1 / 256, zero_point))

# Pools
for p in SOME:
    x1, x2, x3 = q((2, 3, 19), p), q((1, 5, 7, 9), p), q((1, 2, 4, 5, 6), p)
    wide = q((1, 19, 4, 5), p)
    for x, f, dims, kernel, kw in [
        (x1, QF.max_pool1d, 1, [3], dict(stride=[2], padding=[1])),
        (x1, QF.max_pool1d, 1, [2], dict(dilation=[3], ceil_mode=True)),
        (x2, QF.max_pool2d, 2, [3, 2], dict(stride=[2, 1], padding=[1, 1])),
        (x2, QF.max_pool2d, 2, [3, 3], dict(stride=[2, 2], dilation=[1, 2], ceil_mode=True)),
        (wide, QF.max_pool2d, 2, [2, 2], dict(padding=[1, 0])),
        (x3, F.max_pool3d, 3, [2, 3, 2], dict(stride=[1, 2, 2], padding=[0, 1, 1])),
    ]:
        # PyTorch's parameters in the order that all three functions have.
        layout = LAST[4] if x is x2 else torch.contiguous_format
        result = f(x.torch(layout), kernel, kw.get("stride", kernel), kw.get("padding", 0), kw.get("dilation", 1), kw.get("ceil_mode", False))
        steps_case("max_pool1d, 2d, 3d", [x], [[f"max_pool{dims}d", [0], {"kernel_size": kernel, **kw}]], result)
    for x, f, dims, kernel, kw in [
        (x1, F.avg_pool1d, 1, [3], dict(stride=[2], padding=[1])),
        (x2, QF.avg_pool2d, 2, [3, 2], dict(stride=[2, 1], padding=[1, 1])),
        (x2, QF.avg_pool2d, 2, [3, 2], dict(stride=[2, 1], padding=[1, 1], count_include_pad=False)),
        (x2, QF.avg_pool2d, 2, [3, 3], dict(stride=[2, 2], padding=[1, 1], ceil_mode=True, count_include_pad=False)),
        (x2, QF.avg_pool2d, 2, [2, 4], dict(stride=[3, 3], ceil_mode=True)),
        (wide, QF.avg_pool2d, 2, [2, 2], dict(stride=[1, 1])),
        (wide, QF.avg_pool2d, 2, [3, 2], dict(stride=[2, 2], padding=[1, 0], count_include_pad=False)),
        (x3, QF.avg_pool3d, 3, [2, 3, 2], dict(stride=[1, 2, 2], padding=[0, 1, 1])),
        (x3, QF.avg_pool3d, 3, [2, 2, 2], dict(stride=[2, 2, 2], padding=[1, 1, 1], count_include_pad=False, ceil_mode=True)),
    ]:
        # In three dimensions there is one kernel.
        for name, xs in layouts(x)[-1:] if dims == 3 else layouts(x):
            name = "avg_pool1d, avg_pool2d" if name == "contiguous" else "avg_pool2d (channels last), avg_pool3d"
            case(name, f"quantized.avg_pool{dims}d", [x], f(xs, kernel, **kw), kernel_size=kernel, **kw, **x.x())
    for x, f, size in [
        (x1, F.adaptive_avg_pool1d, [4]),
        (x2, QF.adaptive_avg_pool2d, [1, 1]),
        (x2, QF.adaptive_avg_pool2d, [3, 5]),
        (wide, QF.adaptive_avg_pool2d, [2, 4]),
        (x3, QF.adaptive_avg_pool3d, [3, 2, 4]),
        (x3, QF.adaptive_avg_pool3d, [1, 1, 1]),
    ]:
        for name, xs in layouts(x):
            op = f"quantized.adaptive_avg_pool{len(size)}d"
            case("adaptive_avg_pool1d, 2d, 3d" + (f" ({name})" if name != "contiguous" else ""), op, [x], f(xs, size), output_size=size, **x.x())

    # Resampling
    for x, kw in [(x2, dict(size=[9, 5])), (x2, dict(scale_factor=[1.7, 0.6])), (x3, dict(size=[7, 3, 9])), (x3, dict(scale_factor=[2.0, 2.0, 2.0]))]:
        if p is not SOME[0]:
            continue  # Codes are moved as they are.
        for mode, coordinates in [("nearest", "asymmetric"), ("nearest-exact", "tf_half_pixel_for_nn")]:
            result = F.interpolate(x.torch(), mode=mode, **kw)
            name = "interpolate (nearest, nearest-exact), upsample_nearest"
            steps_case(name, [x], [["interpolate", [0], {"mode": "nearest", "coordinates": coordinates, **kw}]], result)
    for x, layout, kw in [
        (x2, torch.contiguous_format, dict(size=[9, 5])),
        (x2, torch.channels_last, dict(size=[4, 17])),
        (wide, torch.channels_last, dict(scale_factor=[1.7, 0.6])),
    ]:
        for align in (False, True):
            result = F.interpolate(x.torch(layout), mode="bilinear", align_corners=align, **kw)
            # With aligned corners PyTorch goes by the sizes alone.
            ours = {"size": list(result.shape[2:])} if align else kw
            coordinates = "align_corners" if align else "half_pixel"
            name = "interpolate (bilinear), upsample_bilinear"
            case(name, "quantized.interpolate", [x], result, mode="bilinear", coordinates=coordinates, **ours, **x.x())

    # Means
    for x, dims in [(x2, [2, 3]), (x2, [3]), (x1, [0, 1, 2]), (wide, [2, 3]), (x3, [3, 4])]:
        case("mean (innermost dimensions)", "quantized.mean", [x], torch.mean(x.torch(), dims), dims=dims, **x.x())
    for x, dims in [(x2, [1]), (x2, [0, 2]), (wide, [1, 2])]:
        case("mean (other dimensions)", "quantized.mean", [x], torch.mean(x.torch(), dims, keepdim=True), dims=dims, keepdim=True, **x.x())

    # Normalisations
    affine = lambda n: (reals(n, lo=0.3, hi=1.7), reals(n))
    t = lambda a: None if a is None else torch.from_numpy(a)
    o = out(TORCH[p[0]], 0.0313, 120)
    for shape in [(3, 4, 13), (2, 3, 83)]:
        x, (w, b) = q(shape, p), affine(shape[-1])
        case("layer_norm", "quantized.layer_norm", [x, w, b], Q.layer_norm(x.torch(), [shape[-1]], t(w), t(b), 1e-5, *o), eps=1e-5, **x.x())
    x, (w, b) = q((2, 3, 4, 5), p), affine(20)
    args = [x, w.reshape(4, 5), b.reshape(4, 5)]
    case("layer_norm", "quantized.layer_norm", args, Q.layer_norm(x.torch(), [4, 5], t(args[1]), t(args[2]), 1e-3, *o), axis=-2, eps=1e-3, **x.x())
    x, (w, b) = q((2, 6, 5, 7), p), affine(6)
    case("group_norm", "quantized.group_norm", [x, w, b], Q.group_norm(x.torch(), 3, t(w), t(b), 1e-5, *o), num_groups=3, eps=1e-5, **x.x())
    case("group_norm", "quantized.group_norm", [x], Q.group_norm(x.torch(), 2, None, None, 1e-5, *o), num_groups=2, eps=1e-5, **x.x())
    for x in (x1, x2, x3):
        w, b = affine(x.codes.shape[1])
        case("instance_norm", "quantized.instance_norm", [x, w, b], Q.instance_norm(x.torch(), t(w), t(b), 1e-5, *o), eps=1e-5, **x.x())
        case("instance_norm", "quantized.instance_norm", [x], Q.instance_norm(x.torch(), None, None, 1e-4, *o), eps=1e-4, **x.x())
    for x in (x1, x2, wide, x3):
        channels, rank = x.codes.shape[1], x.codes.ndim - 2
        (w, b), mean, var = affine(channels), reals(channels, lo=-0.5, hi=0.5), reals(channels, lo=0.1, hi=2.0)
        f = lambda name: getattr(Q, name)(x.torch(), t(w), t(b), t(mean), t(var), 1e-5, *o)
        name = "batch_norm1d, 2d, 3d, and with relu"
        case(name, "quantized.batch_norm", [x, w, b, mean, var], f(f"batch_norm{rank}d"), eps=1e-5, **x.x())
        if rank > 1 and x is not wide:
            steps = [["batch_norm", [0, 1, 2, 3, 4], {"eps": 1e-5}], ["relu", [5], {}]]
            between(name, [x], steps, f(f"batch_norm{rank}d_relu"), [w, b, mean, var])

    # Arithmetic
    other = (p[0], p[1] * 0.7, p[2] // 3)
    a, b, row = q((3, 5, 13), p), q((3, 5, 13), other), q((5, 1), other)
    product = out(TORCH[p[0]], p[1] * other[1] * 61, 120)
    total = out(TORCH[p[0]], p[1] * 1.9, 100)
    for y in (b, row):
        for relu in ("", "_relu"):
            bounds = {"activation_min": 0.0} if relu else {}
            for name, o in (("add", total), ("mul", product)):
                result = getattr(Q, name + relu)(a.torch(), y.torch(), *o)
                case(f"{name}, {name}_relu", f"quantized.{name}", [a, y], result, **a.x("a_"), **y.x("b_"), **bounds)
    x = q((37,), p)
    for name in ("add", "mul"):
        for c, kind in ((0.3, "any"), (-0.77, "any"), (290.3, "any"), (-29, "whole"), (290, "whole")):
            kind = f"{name}_scalar, {name}_scalar_relu" + (f" ({kind} steps)" if name == "add" else "")
            # Whole and other numbers of steps; those above 200 do not fit beside the zero point, so PyTorch changes the scale.
            c = f32(np.float32(c) * np.float32(x.scale)) if abs(c) > 1 else c
            for relu in ("", "_relu"):
                result = getattr(Q, f"{name}_scalar{relu}")(x.torch(), c)
                steps = [[name, [0, 1], {}]] + ([["relu", [2], {}]] if relu else [])
                between(kind, [x], steps, result, [np.float32(c)])
    left, right = q((2, 3, 4, 13), p), q((2, 3, 13, 5), other)
    case("matmul", "quantized.matmul", [left, right], Q.matmul(left.torch(), right.torch(), *out(TORCH[p[0]], p[1] * other[1] * 181, 120)),
         **left.x("a_"), **right.x("b_"))

    # Joins
    same = q((1, 2, 7, 9), p)
    parts = [x2, same]
    steps_case("cat (equal parameters)", parts, [["cat", [0, 1], {"dim": 1}]], torch.cat([y.torch() for y in parts], 1))
    result = Q.cat([y.torch() for y in parts], 1, p[1], p[2])
    steps_case("cat (equal parameters)", parts, [["cat", [0, 1], {"dim": 1}]], result)
    for layout in LAST[4], torch.contiguous_format:
        if layout is torch.contiguous_format and p is not SOME[0]:
            continue
        parts = [wide, q((1, 3, 4, 5), other), q((1, 5, 4, 5), (p[0], p[1] * 1.3, 50))]
        xs, o = [y.torch(layout) for y in parts], out(TORCH[p[0]], p[1] * 1.1, 110)
        attrs = {"dim": 1, "scales": [y.scale for y in parts], "zero_points": [y.zero_point for y in parts]}
        case("cat, cat_relu (other parameters)", "quantized.cat", parts, Q.cat(xs, 1, *o), **attrs)
        steps = [["cat", [0, 1, 2], {"dim": 1}], ["relu", [3], {}]]
        between("cat, cat_relu (other parameters)", parts, steps, Q.cat_relu(xs, 1, *o))


# Layers
def layer(engine, op, x, shape, bias, per_channel=False, relu=False, then=None, **kw):
    """`bias`: None, "whole" (a whole number of units of s_x * s_w, exact in f32) or "real". `then`: what else the kernel does."""
    torch.backends.quantized.engine = engine
    transposed, dims = "transpose" in op, 0 if op == "linear" else int(op[-2])
    axis = 1 if transposed else 0
    channels = shape[1] * kw.get("groups", 1) if transposed else shape[0]
    weight = codes(shape, "i8", -64, 64)
    power = bias == "whole"
    scale = lambda n: reals(n, lo=0.004, hi=0.012) if not power else np.float32(2.0) ** rng.integers(-8, -5, n).astype(np.float32)
    scales = scale(shape[axis] if per_channel else 1)
    if power:
        x = Quantized(x.codes, x.dtype, 2.0**-5, x.zero_point)
    w = torch.from_numpy(weight.astype(np.float32))
    if per_channel:
        sizes = [-1 if d == axis else 1 for d in range(len(shape))]
        w = torch.quantize_per_channel(w * torch.from_numpy(scales).reshape(sizes), torch.from_numpy(scales).double(),
                                       torch.zeros(len(scales), dtype=torch.long), axis, torch.qint8)
    else:
        w = torch.quantize_per_tensor(w * float(scales[0]), float(scales[0]), 0, torch.qint8)
    assert np.array_equal(w.int_repr().numpy(), weight)
    unit = np.float32(x.scale) * scales
    units = {None: None, "whole": rng.integers(-3000, 3000, channels), "real": reals(channels, lo=-3000, hi=3000)}[bias]
    b = None if units is None else (units * (unit if len(unit) == channels else unit[0])).astype(np.float32)
    tb = None if b is None else torch.from_numpy(b)
    if op == "linear":
        real, packed = F.linear(x.torch().dequantize(), w.dequantize(), tb), Q.linear_prepack(w, tb)
    else:
        ones = [1] * dims
        get = lambda k, default: kw.get(k, default)
        stride, padding, dilation = get("stride", ones), get("padding", [0] * dims), get("dilation", ones)
        more = [get("output_padding", [0] * dims)] if transposed else []
        real = getattr(F, op)(x.torch().dequantize(), w.dequantize(), tb, stride, padding, *more, *(
            [kw.get("groups", 1), dilation] if transposed else [dilation, kw.get("groups", 1)]))
        packed = getattr(Q, op + "_prepack")(w, tb, stride, padding, *more, dilation, kw.get("groups", 1))
    o = f32(real.abs().max().item() * 1.7 / 255), (120 if x.dtype == "u8" else -6)
    inputs = [x, Weight(weight), scales] + ([] if b is None else [b])
    names = {None: "no bias", "whole": "bias of whole units", "real": "any bias"}
    kernel = f"linear, conv{', conv_transpose' if engine != 'onednn' else ''}: {engine}, {names[bias]}"
    args, more = [x.torch(), packed, *o], {}
    if then == "leaky_relu":
        args, more = [*args, 0.1], {"function": then, "negative_slope": 0.1}
    elif then == "tanh":
        args, more = [*args[:2], 1 / 128, 128], {"function": then}
    elif then == "add":
        residual = Quantized(codes(real.shape), "u8", o[0] * 0.8, 99)
        args, more = [args[0], residual.torch(), *args[1:]], residual.x("residual_")
        inputs.append(residual)
    if then:
        kernel = {"add": "conv2d_add, conv2d_add_relu (onednn)"}.get(then, "linear_leaky_relu, linear_tanh (onednn)")
    result = getattr(Q, "_".join([op] + [then] * bool(then) + ["relu"] * relu))(*args)
    case(kernel, f"quantized.{op}", inputs, result, **kw, **x.x(), **({"activation_min": 0.0} if relu else {}), **more)
    torch.backends.quantized.engine = "fbgemm"


class Weight(Quantized):
    def __init__(self, codes):
        self.codes = codes


def layers(engine, dtype, only=None):
    transposed_channels = engine == "qnnpack" and dtype == "u8"
    p = dict(u8=U, i8=I)[dtype]
    global rng
    for i, bias in enumerate((None, "whole", "real")):
        rng = np.random.default_rng([28, i])
        x0, x1, x2, x3 = q((7, 13), p[i]), q((1, 6, 12), p[i]), q((1, 6, 6, 7), p[i]), q((1, 4, 3, 4, 5), p[i])
        for j, (op, x, shape, kw) in enumerate([
            ("linear", x0, (9, 13), {}),
            ("linear", x0, (9, 13), dict(relu=True)),
            ("linear", x0, (9, 13), dict(per_channel=True)),
            ("conv1d", x1, (5, 6, 3), dict(stride=[2], padding=[1])),
            ("conv1d", x1, (5, 6, 3), dict(per_channel=True, relu=True, dilation=[2])),
            ("conv2d", x2, (5, 6, 3, 2), dict(padding=[1, 1], per_channel=True)),
            ("conv2d", x2, (4, 3, 3, 3), dict(stride=[2, 1], groups=2, per_channel=True, relu=True)),
            ("conv2d", x2, (6, 1, 3, 3), dict(padding=[1, 1], groups=6)),
            ("conv3d", x3, (5, 4, 2, 3, 2), dict(padding=[0, 1, 1], per_channel=True)),
            ("conv3d", x3, (5, 4, 2, 2, 2), dict(relu=True)),
            ("conv_transpose1d", x1, (6, 4, 3), dict(stride=[2], padding=[1], output_padding=[1])),
            ("conv_transpose2d", x2, (6, 4, 2, 3), dict(stride=[1, 2], per_channel=transposed_channels)),
            ("conv_transpose3d", x3, (4, 3, 2, 1, 2), dict(stride=[1, 2, 1])),
        ]):
            rng = np.random.default_rng([29, i, j])  # The same for every engine.
            # XNNPACK, which takes qint8, lacks some.
            lacks = engine == "qnnpack" and dtype == "i8" and ("3d" in op or op == "linear" and kw.get("per_channel"))
            lacks = lacks or (engine, op) == ("qnnpack", "conv_transpose3d") or engine == "onednn" and "transpose" in op
            if not lacks and (only is None or op in only):
                layer(engine, op, x, shape, bias, **kw)


layers("fbgemm", "u8")
layers("qnnpack", "u8")
layers("onednn", "u8")
layers("qnnpack", "i8")
layers("onednn", "i8", ["linear"])
for p in U[:2]:
    for then in ("leaky_relu", "tanh"):
        layer("onednn", "linear", q((11, 13), p), (17, 13), None, per_channel=p is U[0], then=then)
    for relu in (False, True):
        layer("onednn", "conv2d", q((1, 5, 6, 7), p), (6, 5, 3, 2), "whole", per_channel=p is U[1], relu=relu, then="add", padding=[1, 1])

path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "crates/ops/tests/golden/quantized_ops.json"
text = json.dumps({"torch": torch.__version__.split("+")[0], "tensors": tensors, "kernels": kernels}, separators=(",", ":"))
path.write_text(text + "\n")
print(sum(map(len, kernels.values())), "cases,", len(text), "bytes")
