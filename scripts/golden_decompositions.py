#!/usr/bin/env python3
"""What exporters make of activations, normalisations and attention: small ONNX models, each with the operators that must come of it.

    pip install torch==2.8.0 onnx onnxscript numpy
    scripts/golden_decompositions.py crates/rewrite/tests/golden

Every module of PyTorch is exported by the TorchScript exporter for several opsets and by the newer one (`dynamo=True`); what other exporters
and hand-written models use is written out here (`variant`). Models that differ in nothing but their opset are stored once, with all their
sources. Names are shortened and metadata dropped. `decompositions.json` has for each model its `name`, `operators` (what the canonical graph
must hold), `moves` (whether operators that only move elements may stand between them), `sources`, `before` (the operators of the file), and
where its bytes are in `decompositions.bin` (`offset`, `length`).
"""
import argparse
import collections
import io
import json
import logging
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

LEGACY_OPSETS = (9, 11, 13, 14, 17, 18, 20)
DYNAMO_OPSETS = (18, 20)
# Cases whose heads are split and joined, or whose shapes are computed.
MOVING = ("multi_head", "transformer", "attention_of_any_size", "attention_with_mask_of_any_size")
# name -> {"operators", "models": {key: {"sources", "model"}}}
CASES = collections.OrderedDict()


# ---- storing ---------------------------------------------------------------------------------------------------------------


def shorten(model):
    """The model without metadata, its values renamed in order of appearance."""
    graph = model.graph
    names = {}

    def short(name):
        if name and name not in names:
            names[name] = f"v{len(names)}"
        return names.get(name, "")

    for value in graph.input:
        short(value.name)
    for node in graph.node:
        node.input[:] = [short(n) for n in node.input]
        node.output[:] = [short(n) for n in node.output]
        node.ClearField("name")
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.ClearField("overload")
    for value in [*graph.input, *graph.output]:
        value.name = short(value.name)
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    used = {n for node in graph.node for n in node.input}
    kept = []
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
        if tensor.name in used:
            kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    graph.name = "g"
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    opsets = [o for o in model.opset_import if o.domain == ""]
    out = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="")
    out.ClearField("producer_name")
    return out


def add(name, operators, source, model):
    if any(o.domain not in ("", "pkg.onnxscript.torch_lib") for o in model.opset_import) or model.functions:
        model = onnx.inliner.inline_local_functions(model)
    model = shorten(model)
    # Shapes of constants that differ only in how they are stored must not make two variants of one.
    key = model.graph.SerializeToString()
    case = CASES.setdefault(name, {"operators": operators, "models": collections.OrderedDict()})
    assert case["operators"] == operators, name
    case["models"].setdefault(key, {"sources": [], "model": model})["sources"].append(source)


# ---- PyTorch ---------------------------------------------------------------------------------------------------------------


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def quiet_export(module, args, dynamic, **options):
    buffer = io.BytesIO()
    names = [f"x{i}" for i in range(len(args))]
    if options.get("dynamo"):
        if dynamic:
            shapes = tuple({d: torch.export.Dim(n, min=2) for d, n in axes.items()} for axes in dynamic)
            options["dynamic_shapes"] = (shapes,) if isinstance(module, Function) else shapes
        program = torch.onnx.export(module, args, verbose=False, **options)
        program.save(buffer)
    else:
        if dynamic:
            options["dynamic_axes"] = {n: axes for n, axes in zip(names, dynamic) if axes}
        torch.onnx.export(module, args, buffer, input_names=names, dynamo=False, **options)
    return onnx.load_from_string(buffer.getvalue())


def export(name, operators, make, args, dynamic=None, legacy=LEGACY_OPSETS, dynamo=DYNAMO_OPSETS):
    """Exports a module by both exporters. `dynamic`: for each input, which dimensions are symbols."""
    if callable(make) and not isinstance(make, type) and not hasattr(make, "build"):
        module = Function(make)
    else:
        module = make.build()
    module.eval()
    # Parameters that are not their initial ones and zeros.
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    for exporter, opsets in (("torchscript", legacy), ("dynamo", dynamo)):
        for opset in opsets:
            source = f"torch {torch.__version__.split('+')[0]} {exporter}, opset {opset}"
            options = {"dynamo": True} if exporter == "dynamo" else {}
            try:
                model = quiet_export(module, args, dynamic, opset_version=opset, **options)
            except Exception as error:  # What an exporter can't express in an opset is no variant.
                print(f"{name}: {source}: {type(error).__name__}: {str(error).splitlines()[0][:100]}", flush=True)
                continue
            got = next((o.version for o in model.opset_import if o.domain == ""), None)
            if got != opset:
                print(f"{name}: {source}: exported as opset {got}")
                continue
            add(name, operators, source, model)


class Module:
    """A module that is built when it is exported."""

    def __init__(self, build):
        self.build = lambda: (torch.manual_seed(3), build())[1]


def x(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


def torch_modules():
    row = (x(2, 3, 8),)
    for name, operators, module in [
        ("gelu", ["gelu"], nn.GELU()),
        ("gelu_tanh", ["gelu"], nn.GELU(approximate="tanh")),
        ("silu", ["silu"], nn.SiLU()),
        ("hardswish", ["hardswish"], nn.Hardswish()),
        ("hardsigmoid", ["hardsigmoid"], nn.Hardsigmoid()),
        ("mish", ["mish"], nn.Mish()),
        ("elu", ["elu"], nn.ELU(0.7)),
        ("relu", ["relu"], nn.ReLU()),
        ("relu6", ["relu6"], nn.ReLU6()),
        ("hardtanh", ["clamp"], nn.Hardtanh(-0.5, 0.75)),
        ("leaky_relu", ["leaky_relu"], nn.LeakyReLU(0.2)),
        ("softplus", ["softplus"], nn.Softplus()),
        ("sigmoid", ["sigmoid"], nn.Sigmoid()),
        ("tanh", ["tanh"], nn.Tanh()),
        ("softmax", ["softmax"], nn.Softmax(-1)),
        ("softmax_of_dim_1", ["softmax"], nn.Softmax(1)),
        ("log_softmax", ["log_softmax"], nn.LogSoftmax(-1)),
        ("layer_norm", ["layer_norm"], nn.LayerNorm(8)),
        ("layer_norm_without_affine", ["layer_norm"], nn.LayerNorm(8, eps=1e-3, elementwise_affine=False)),
        ("layer_norm_without_bias", ["layer_norm"], nn.LayerNorm(8, bias=False)),
        ("layer_norm_of_two_dims", ["layer_norm"], nn.LayerNorm((3, 8))),
        ("rms_norm", ["rms_norm"], nn.RMSNorm(8, eps=1e-5)),
        ("rms_norm_without_affine", ["rms_norm"], nn.RMSNorm(8, eps=1e-5, elementwise_affine=False)),
        ("rms_norm_of_default_eps", ["rms_norm"], nn.RMSNorm(8)),
    ]:
        export(name, operators, Module(lambda: module), row)
    image, line = (x(2, 4, 3, 5),), (x(2, 4, 6),)
    for name, operators, module, args in [
        ("group_norm", ["group_norm"], nn.GroupNorm(2, 4), image),
        ("group_norm_without_affine", ["group_norm"], nn.GroupNorm(2, 4, affine=False), image),
        ("group_norm_of_one_group", ["group_norm"], nn.GroupNorm(1, 4), image),
        ("group_norm_of_lines", ["group_norm"], nn.GroupNorm(2, 4), line),
        ("instance_norm_1d", ["instance_norm"], nn.InstanceNorm1d(4, affine=True), line),
        ("instance_norm_1d_without_affine", ["instance_norm"], nn.InstanceNorm1d(4), line),
        ("instance_norm_2d", ["instance_norm"], nn.InstanceNorm2d(4, affine=True), image),
        ("instance_norm_2d_without_affine", ["instance_norm"], nn.InstanceNorm2d(4), image),
        ("batch_norm_after_conv", ["conv2d"], nn.Sequential(nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3)), image),
        ("batch_norm_after_linear", ["linear"], nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), (x(4, 6),)),
    ]:
        export(name, operators, Module(lambda: module), args)
    batch = [{0: "N"}]
    export("layer_norm_of_any_batch", ["layer_norm"], Module(lambda: nn.LayerNorm(8)), row, [{0: "N", 1: "S"}])
    export("group_norm_of_any_batch", ["group_norm"], Module(lambda: nn.GroupNorm(2, 4)), image, batch)
    export("instance_norm_of_any_batch", ["instance_norm"], Module(lambda: nn.InstanceNorm2d(4, affine=True)), image, batch)
    export("functional_gelu", ["gelu"], lambda v: F.gelu(v), row)
    export("softmax_by_hand", ["softmax"], lambda v: (v - v.amax(-1, keepdim=True)).exp() / (v - v.amax(-1, keepdim=True)).exp().sum(-1, keepdim=True), row)
    attention()


def attention():
    q, k, v = x(2, 2, 5, 4), x(2, 2, 6, 4).neg(), x(2, 2, 6, 3).abs()
    mask = x(2, 1, 5, 6)
    allowed = torch.ones(5, 6, dtype=torch.bool).tril(1)
    sdpa = ["scaled_dot_product_attention"]
    export("attention", sdpa, lambda q, k, v: F.scaled_dot_product_attention(q, k, v), (q, k, v))
    export("attention_with_scale", sdpa, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3), (q, k, v))
    export("attention_with_mask", sdpa, lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), (q, k, v, mask))
    export("attention_with_bool_mask", sdpa, lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), (q, k, v, allowed))
    export("attention_causal", sdpa, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (q, q.neg(), q.abs()))
    export("attention_of_three_dims", sdpa, lambda q, k, v: F.scaled_dot_product_attention(q, k, v), (q[0], k[0], v[0]))
    any_size = [{0: "N", 2: "L"}, {0: "N", 2: "S"}, {0: "N", 2: "S"}]
    export("attention_of_any_size", sdpa, lambda q, k, v: F.scaled_dot_product_attention(q, k, v), (q, k, v), any_size)
    export("attention_with_mask_of_any_size", sdpa, lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), (q, k, v, mask), [*any_size, {0: "N", 2: "L", 3: "S"}])

    # As transformers writes it.
    def eager(q, k, v, m):
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1]) + m
        return torch.matmul(scores.softmax(-1), v)

    export("attention_eager", sdpa, eager, (q, k, v, mask))

    def eager_where(q, k, v, m):
        scores = torch.matmul(q, k.transpose(-1, -2)) * 0.5
        return torch.matmul(torch.where(m, scores, torch.tensor(-3.4028234663852886e38)).softmax(-1), v)

    export("attention_eager_where", sdpa, eager_where, (q, k, v, allowed))

    def eager_fill(q, k, v, m):
        scores = torch.matmul(q, k.transpose(-1, -2)) / 2
        return torch.matmul(scores.masked_fill(m, float("-inf")).softmax(-1), v)

    export("attention_eager_masked_fill", ["not", *sdpa], eager_fill, (q, k, v, ~allowed))

    rows = x(2, 5, 8)

    class SelfAttention(nn.Module):
        def __init__(self, weights=False, **options):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
            self.weights = weights

        def forward(self, x, **given):
            return self.attention(x, x, x, need_weights=self.weights, **given)[0]

    class Masked(SelfAttention):
        def forward(self, x, mask):
            return super().forward(x, attn_mask=mask)

    class Padded(SelfAttention):
        def forward(self, x, mask):
            return super().forward(x, key_padding_mask=mask)

    one = ["linear", *sdpa, "linear"]
    export("multi_head_attention", one, Module(SelfAttention), (rows,))
    export("multi_head_attention_without_bias", one, Module(lambda: SelfAttention(bias=False)), (rows,))
    export("multi_head_attention_by_weights", one, Module(lambda: SelfAttention(weights=True)), (rows,))
    export("multi_head_attention_with_mask", one, Module(Masked), (rows, x(5, 5)))
    export("multi_head_attention_with_padding", ["where", *one], Module(Padded), (rows, torch.tensor([[False] * 5, [False] * 3 + [True] * 2])))
    export("multi_head_attention_of_any_batch", one, Module(SelfAttention), (rows,), [{0: "N"}])

    class Layer(nn.Module):
        """Only the tensor is an input; the TorchScript exporter makes inputs of the flags, too."""

        def __init__(self, **options):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)

        def forward(self, x):
            return self.layer(x)

    encoder = ["linear", *sdpa, "linear", "add", "layer_norm", "linear", "relu", "linear", "add", "layer_norm"]
    first = ["layer_norm", "linear", *sdpa, "linear", "add", "layer_norm", "linear", "gelu", "linear", "add"]
    layer = lambda **options: Module(lambda: Layer(**options))
    export("transformer_encoder_layer", encoder, layer(), (rows,))
    export("transformer_encoder_layer_norm_first", first, layer(activation="gelu", norm_first=True), (rows,))
    export("transformer_encoder_layer_of_any_batch", encoder, layer(), (rows,), [{0: "N"}])


# ---- other exporters, written out ------------------------------------------------------------------------------------------


class Graph:
    """Nodes by method call: `g.Mul(a, 0.5)`; numbers and arrays become initializers."""

    def __init__(self, inputs):
        self.inputs = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
        self.nodes, self.constants = [], []

    def value(self, v):
        if isinstance(v, str):
            return v
        array = np.asarray(v)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def __getattr__(self, op):
        def node(*inputs, **attrs):
            out = f"n{len(self.nodes)}"
            self.nodes.append(helper.make_node(op, [self.value(i) for i in inputs], [out], **attrs))
            return out

        return node


def variant(name, operators, source, build, inputs=None, opset=13):
    """`build(g, *names of inputs)` returns the name of the result."""
    inputs = inputs or {"x": (TensorProto.FLOAT, [2, 3, 8])}
    g = Graph(inputs)
    y = build(g, *inputs)
    graph = helper.make_graph(g.nodes, "g", g.inputs, [onnx.ValueInfoProto(name=y)], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model))
    add(name, operators, source, model)


def activations():
    one_sqrt2, c = 1 / math.sqrt(2), math.sqrt(2 / math.pi)
    cubic = lambda g, x: g.Add(x, g.Mul(0.044715, g.Pow(x, 3.0)))
    for source, build in [
        ("tf2onnx, Keras gelu", lambda g, x: g.Mul(g.Mul(0.5, x), g.Add(1.0, g.Erf(g.Div(x, math.sqrt(2)))))),
        ("tf2onnx, BERT gelu", lambda g, x: g.Mul(x, g.Mul(0.5, g.Add(1.0, g.Erf(g.Mul(x, one_sqrt2)))))),
        ("half of it first, by product", lambda g, x: g.Mul(g.Mul(x, 0.5), g.Add(g.Erf(g.Mul(x, one_sqrt2)), 1.0))),
        ("constant in four digits", lambda g, x: g.Mul(0.5, g.Mul(x, g.Add(1.0, g.Erf(g.Mul(x, 0.7071)))))),
        ("half outside", lambda g, x: g.Mul(g.Mul(x, g.Add(1.0, g.Erf(g.Div(x, math.sqrt(2))))), 0.5)),
        ("division by two", lambda g, x: g.Div(g.Mul(x, g.Add(1.0, g.Erf(g.Div(x, math.sqrt(2))))), 2.0)),
        ("half of each summand", lambda g, x: g.Mul(x, g.Add(0.5, g.Mul(0.5, g.Erf(g.Mul(x, one_sqrt2)))))),
        ("normal distribution function first", lambda g, x: g.Mul(g.Mul(g.Add(1.0, g.Erf(g.Div(x, g.Sqrt(2.0)))), 0.5), x)),
    ]:
        variant("gelu", ["gelu"], source, build)
    for source, build in [
        ("transformers NewGELU", lambda g, x: g.Mul(g.Mul(0.5, x), g.Add(1.0, g.Tanh(g.Mul(c, cubic(g, x)))))),
        ("transformers FastGELU", lambda g, x: g.Mul(g.Mul(x, 0.5), g.Add(g.Tanh(g.Mul(g.Mul(x, c), g.Add(g.Mul(g.Mul(x, 0.044715), x), 1.0))), 1.0))),
        ("tf2onnx, Keras approximate gelu", lambda g, x: g.Mul(g.Mul(0.5, x), g.Add(1.0, g.Tanh(g.Mul(c, g.Add(x, g.Mul(0.044715, g.Pow(x, 3.0)))))))),
        ("tf2onnx, BERT gelu", lambda g, x: g.Mul(x, g.Mul(0.5, g.Add(1.0, g.Tanh(g.Mul(c, cubic(g, x))))))),
        ("cube by products", lambda g, x: g.Mul(g.Mul(x, g.Add(g.Tanh(g.Mul(g.Add(x, g.Mul(g.Mul(x, g.Mul(x, x)), 0.044715)), c)), 1.0)), 0.5)),
        ("cube of the scaled square", lambda g, x: g.Mul(0.5, g.Mul(x, g.Add(1.0, g.Tanh(g.Mul(g.Mul(c, x), g.Add(1.0, g.Mul(0.044715, g.Mul(x, x)))))))))
    ]:
        variant("gelu_tanh", ["gelu"], source, build)
    for source, build in [
        ("tf2onnx, swish", lambda g, x: g.Mul(x, g.Sigmoid(x))),
        ("sigmoid first", lambda g, x: g.Mul(g.Sigmoid(x), x)),
        ("division by 1 + e^-x", lambda g, x: g.Div(x, g.Add(1.0, g.Exp(g.Neg(x))))),
    ]:
        variant("silu", ["silu"], source, build)
    variant("sigmoid", ["sigmoid"], "reciprocal of 1 + e^-x", lambda g, x: g.Reciprocal(g.Add(g.Exp(g.Neg(x)), 1.0)))
    variant("sigmoid", ["sigmoid"], "division by 1 + e^-x", lambda g, x: g.Div(1.0, g.Add(1.0, g.Exp(g.Neg(x)))))
    variant("softplus", ["softplus"], "logarithm of 1 + e^x", lambda g, x: g.Log(g.Add(g.Exp(x), 1.0)))
    variant("mish", ["mish"], "logarithm of 1 + e^x", lambda g, x: g.Mul(x, g.Tanh(g.Log(g.Add(1.0, g.Exp(x))))))
    relu6 = {
        "Clip": lambda g, x: g.Clip(x, 0.0, 6.0),
        "Min(Max)": lambda g, x: g.Min(g.Max(x, 0.0), 6.0),
        "Max(Min)": lambda g, x: g.Max(g.Min(x, 6.0), 0.0),
        "Min(Relu)": lambda g, x: g.Min(g.Relu(x), 6.0),
        "Clip(Relu)": lambda g, x: g.Clip(g.Relu(x), 0.0, 6.0),
    }
    for source, build in relu6.items():
        variant("relu6", ["relu6"], source, build)
    variant("relu", ["relu"], "Max with 0", lambda g, x: g.Max(x, 0.0))
    variant("relu", ["relu"], "Max, 0 first", lambda g, x: g.Max(0.0, x))
    variant("relu", ["relu"], "Clip from 0", lambda g, x: g.Clip(x, 0.0))
    for how in ("Clip", "Min(Max)"):
        six = relu6[how]
        for source, build in [
            ("relu6(x + 3) / 6", lambda g, x: g.Div(six(g, g.Add(x, 3.0)), 6.0)),
            ("relu6(x + 3) * 1/6", lambda g, x: g.Mul(six(g, g.Add(x, 3.0)), 1 / 6)),
            ("relu6(x + 3) * 0.1667", lambda g, x: g.Mul(0.16666667, six(g, g.Add(3.0, x)))),
        ]:
            variant("hardsigmoid", ["hardsigmoid"], f"{source}, {how}", build)
        for source, build in [
            ("x * relu6(x + 3) / 6", lambda g, x: g.Div(g.Mul(x, six(g, g.Add(x, 3.0))), 6.0)),
            ("relu6(x + 3) / 6 * x", lambda g, x: g.Mul(g.Div(six(g, g.Add(x, 3.0)), 6.0), x)),
            ("Keras: x * (relu6(x + 3) * 1/6)", lambda g, x: g.Mul(x, g.Mul(six(g, g.Add(x, 3.0)), 1 / 6))),
            ("relu6(x + 3) * x * 1/6", lambda g, x: g.Mul(g.Mul(six(g, g.Add(x, 3.0)), x), 1 / 6)),
            ("x / 6 * relu6(x + 3)", lambda g, x: g.Mul(g.Mul(x, 1 / 6), six(g, g.Add(x, 3.0)))),
            ("x * 1/6 * relu6(x + 3), divided", lambda g, x: g.Mul(g.Div(x, 6.0), six(g, g.Add(x, 3.0)))),
        ]:
            variant("hardswish", ["hardswish"], f"{source}, {how}", build)
    variant("hardswish", ["hardswish"], "x * HardSigmoid(x)", lambda g, x: g.Mul(x, g.HardSigmoid(x, alpha=1 / 6, beta=0.5)))
    variant("hardsigmoid", ["hardsigmoid"], "tf2onnx, Keras: clip(0.2 x + 0.5)", lambda g, x: g.Clip(g.Add(g.Mul(x, 0.2), 0.5), 0.0, 1.0))
    variant("hardsigmoid", ["hardsigmoid"], "Min(Max) of 0.2 x + 0.5", lambda g, x: g.Max(g.Min(g.Add(g.Mul(0.2, x), 0.5), 1.0), 0.0))
    variant("leaky_relu", ["leaky_relu"], "Max(x, 0.2 x)", lambda g, x: g.Max(x, g.Mul(x, 0.2)))
    variant("leaky_relu", ["leaky_relu"], "tf2onnx: Max(0.2 x, x)", lambda g, x: g.Max(g.Mul(0.2, x), x))
    variant("leaky_relu", ["leaky_relu"], "PRelu of one slope", lambda g, x: g.PRelu(x, 0.2))
    variant("leaky_relu", ["leaky_relu"], "Relu(x) - 0.2 Relu(-x)", lambda g, x: g.Sub(g.Relu(x), g.Mul(g.Relu(g.Neg(x)), 0.2)))
    variant("leaky_relu", ["leaky_relu"], "where x > 0", lambda g, x: g.Where(g.Greater(x, 0.0), x, g.Mul(x, 0.2)))
    variant("elu", ["elu"], "where x > 0, e^x - 1", lambda g, x: g.Where(g.Greater(x, 0.0), x, g.Sub(g.Exp(x), 1.0)))
    variant("tanh", ["tanh"], "2 sigmoid(2 x) - 1", lambda g, x: g.Sub(g.Mul(2.0, g.Sigmoid(g.Mul(x, 2.0))), 1.0))
    last = dict(axis=-1)
    reduce = dict(axes=[-1], keepdims=1)
    exp = lambda g, x: g.Exp(g.Sub(x, g.ReduceMax(x, **reduce)))
    for source, build in [
        ("e^x over its sum", lambda g, x: g.Div(g.Exp(x), g.ReduceSum(g.Exp(x), np.array([-1]), keepdims=1))),
        ("tf2onnx, less the maximum", lambda g, x: g.Div(exp(g, x), g.ReduceSum(exp(g, x), np.array([-1]), keepdims=1))),
        ("times the reciprocal", lambda g, x: g.Mul(exp(g, x), g.Reciprocal(g.ReduceSum(exp(g, x), np.array([2]), keepdims=1)))),
        ("e^log_softmax", lambda g, x: g.Exp(g.LogSoftmax(x, **last))),
    ]:
        variant("softmax", ["softmax"], source, build)
    variant("log_softmax", ["log_softmax"], "logarithm of softmax", lambda g, x: g.Log(g.Softmax(x, **last)))
    variant("log_softmax", ["log_softmax"], "x - max - log of the sum", lambda g, x: g.Sub(g.Sub(x, g.ReduceMax(x, **reduce)), g.Log(g.ReduceSum(exp(g, x), np.array([-1]), keepdims=1))))
    variant("softmax_of_dim_1", ["softmax"], "between transpositions", lambda g, x: g.Transpose(g.Softmax(g.Transpose(x, perm=[0, 2, 1]), **last), perm=[0, 2, 1]))


def normalisations():
    rng = np.random.default_rng(17)
    gamma, beta = (rng.standard_normal(8).astype(np.float32) for _ in range(2))
    mean = lambda g, x, axes=(-1,): g.ReduceMean(x, axes=list(axes), keepdims=1)
    square = {
        "Pow": lambda g, d: g.Pow(d, 2.0),
        "Mul": lambda g, d: g.Mul(d, d),
    }
    for how, sq in square.items():
        centred = lambda g, x: g.Sub(x, mean(g, x))
        variance = lambda g, x: mean(g, sq(g, centred(g, x)))
        std = lambda g, x: g.Sqrt(g.Add(variance(g, x), 1e-5))
        affine = lambda g, y: g.Add(g.Mul(y, gamma), beta)

        def folded(g, x, inverse):
            """tf.nn.batch_normalization: x * (g / std) + (b - mean * (g / std))."""
            scale = g.Mul(inverse, gamma)
            return g.Add(g.Mul(x, scale), g.Sub(beta, g.Mul(mean(g, x), scale)))

        def shared(g, x):
            d = centred(g, x)
            return affine(g, g.Div(d, g.Sqrt(g.Add(mean(g, sq(g, d)), 1e-5))))

        for source, build in [
            ("(x - mean) / sqrt", lambda g, x: affine(g, g.Div(centred(g, x), std(g, x)))),
            ("(x - mean) / sqrt, difference shared", shared),
            ("(x - mean) * 1/sqrt", lambda g, x: affine(g, g.Mul(centred(g, x), g.Div(1.0, std(g, x))))),
            ("(x - mean) * reciprocal of sqrt", lambda g, x: affine(g, g.Mul(centred(g, x), g.Reciprocal(std(g, x))))),
            ("(x - mean) * (variance + eps)^-0.5", lambda g, x: affine(g, g.Mul(centred(g, x), g.Pow(g.Add(variance(g, x), 1e-5), -0.5)))),
            ("(x - mean) / (variance + eps)^0.5", lambda g, x: affine(g, g.Div(centred(g, x), g.Pow(g.Add(1e-5, variance(g, x)), 0.5)))),
            ("weight first: gamma * (x - mean) / sqrt", lambda g, x: g.Add(g.Div(g.Mul(gamma, centred(g, x)), std(g, x)), beta)),
            ("tf2onnx, Keras: rsqrt folded into the weight", lambda g, x: folded(g, x, g.Reciprocal(std(g, x)))),
            ("tf2onnx: 1/sqrt folded into the weight", lambda g, x: folded(g, x, g.Div(1.0, std(g, x)))),
        ]:
            variant("layer_norm", ["layer_norm"], f"{source}; square by {how}", build)
        variant("layer_norm_without_affine", ["layer_norm"], f"axis 2 counted from the front; square by {how}", lambda g, x: g.Div(g.Sub(x, mean(g, x, [2])), g.Sqrt(g.Add(mean(g, sq(g, g.Sub(x, mean(g, x, [2]))), [2]), 1e-3))))
        inverse_rms = lambda g, x: g.Reciprocal(g.Sqrt(g.Add(mean(g, sq(g, x)), 1e-5)))
        for source, build in [
            ("transformers Llama: weight * (x * rsqrt)", lambda g, x: g.Mul(gamma, g.Mul(x, g.Div(1.0, g.Sqrt(g.Add(mean(g, sq(g, x)), 1e-5)))))),
            ("x * reciprocal of sqrt * weight", lambda g, x: g.Mul(g.Mul(x, inverse_rms(g, x)), gamma)),
            ("x / sqrt * weight", lambda g, x: g.Mul(g.Div(x, g.Sqrt(g.Add(mean(g, sq(g, x)), 1e-5))), gamma)),
            ("x * (1/sqrt * weight)", lambda g, x: g.Mul(x, g.Mul(inverse_rms(g, x), gamma))),
            ("x * (mean + eps)^-0.5 * weight", lambda g, x: g.Mul(g.Mul(x, g.Pow(g.Add(mean(g, sq(g, x)), 1e-5), -0.5)), gamma)),
        ]:
            variant("rms_norm", ["rms_norm"], f"{source}; square by {how}", build)
    image = {"x": (TensorProto.FLOAT, [2, 4, 3, 5])}
    weight, bias = (rng.standard_normal((1, 4, 1, 1)).astype(np.float32) for _ in range(2))
    ones, zeros = np.ones(2, np.float32), np.zeros(2, np.float32)

    def groups(g, x):
        y = g.Reshape(x, np.array([0, 2, -1]))
        return g.Reshape(g.InstanceNormalization(y, ones, zeros, epsilon=1e-5), np.array([2, 4, 3, 5]))

    variant("group_norm", ["group_norm"], "instance norm of reshaped groups", lambda g, x: g.Add(g.Mul(groups(g, x), weight), bias), image)

    def instance(g, x, inverse):
        d = g.Sub(x, mean(g, x, [2, 3]))
        y = inverse(g, d, g.Sqrt(g.Add(mean(g, g.Mul(d, d), [2, 3]), 1e-5)))
        return g.Add(g.Mul(y, weight), bias)

    variant("instance_norm_2d", ["instance_norm"], "(x - mean) / sqrt over the image", lambda g, x: instance(g, x, lambda g, d, s: g.Div(d, s)), image)
    variant("instance_norm_2d", ["instance_norm"], "(x - mean) * 1/sqrt over the image", lambda g, x: instance(g, x, lambda g, d, s: g.Mul(d, g.Div(1.0, s))), image)

    def group_by_hand(g, x):
        y = g.Reshape(x, np.array([2, 2, 2, 3, 5]))
        d = g.Sub(y, mean(g, y, [2, 3, 4]))
        y = g.Div(d, g.Sqrt(g.Add(mean(g, g.Pow(d, 2.0), [2, 3, 4]), 1e-5)))
        return g.Add(g.Mul(g.Reshape(y, np.array([2, 4, 3, 5])), weight), bias)

    variant("group_norm", ["group_norm"], "(x - mean) / sqrt over groups", group_by_hand, image)


def attentions():
    sdpa = ["scaled_dot_product_attention"]
    f32 = TensorProto.FLOAT
    sizes = {"q": (f32, [2, 2, 5, 4]), "k": (f32, [2, 2, 6, 4]), "v": (f32, [2, 2, 6, 3])}
    masked = {**sizes, "m": (f32, [2, 1, 5, 6])}
    allowed = {**sizes, "m": (TensorProto.BOOL, [5, 6])}
    turn = lambda g, k: g.Transpose(k, perm=[0, 1, 3, 2])
    scores = lambda g, q, k: g.MatMul(q, turn(g, k))
    out = lambda g, s, v: g.MatMul(g.Softmax(s, axis=-1), v)
    for source, build in [
        ("(q k^T) / sqrt(d)", lambda g, q, k, v: out(g, g.Div(scores(g, q, k), 2.0), v)),
        ("(q k^T) * scale", lambda g, q, k, v: out(g, g.Mul(scores(g, q, k), 0.5), v)),
        ("(q * scale) k^T", lambda g, q, k, v: out(g, scores(g, g.Mul(q, 0.5), k), v)),
        ("(q / sqrt(d)) k^T", lambda g, q, k, v: out(g, scores(g, g.Div(q, 2.0), k), v)),
        ("q (k * scale)^T", lambda g, q, k, v: out(g, scores(g, q, g.Mul(k, 0.5)), v)),
        ("root of the scale on both sides", lambda g, q, k, v: out(g, g.MatMul(g.Mul(q, math.sqrt(0.5)), g.Mul(turn(g, k), math.sqrt(0.5))), v)),
        ("root of the scale on both sides, divided", lambda g, q, k, v: out(g, g.MatMul(g.Div(q, math.sqrt(2)), turn(g, g.Div(k, math.sqrt(2)))), v)),
        ("scale written out", lambda g, q, k, v: out(g, g.Mul(scores(g, q, k), g.Div(1.0, g.Sqrt(4.0))), v)),
    ]:
        variant("attention", sdpa, source, build, sizes)
    for source, build in [
        ("(q k^T) / sqrt(d) + mask", lambda g, q, k, v, m: out(g, g.Add(g.Div(scores(g, q, k), 2.0), m), v)),
        ("mask + (q k^T) * scale", lambda g, q, k, v, m: out(g, g.Add(m, g.Mul(scores(g, q, k), 0.5)), v)),
        ("(q * scale) k^T + mask", lambda g, q, k, v, m: out(g, g.Add(scores(g, g.Mul(q, 0.5), k), m), v)),
        ("mask from 0 and 1, as BERT", lambda g, q, k, v, m: out(g, g.Add(g.Mul(scores(g, q, k), 0.5), m), v)),
    ]:
        variant("attention_with_mask", sdpa, source, build, masked)
    for source, build in [
        ("where allowed, scores, else the lowest number", lambda g, q, k, v, m: out(g, g.Where(m, g.Div(scores(g, q, k), 2.0), np.float32(-3.4028234663852886e38)), v)),
        ("where allowed, scores, else -inf", lambda g, q, k, v, m: out(g, g.Where(m, g.Mul(scores(g, q, k), 0.5), -np.inf), v)),
        ("scores + where(allowed, 0, -inf)", lambda g, q, k, v, m: out(g, g.Add(g.Mul(scores(g, q, k), 0.5), g.Where(m, 0.0, -np.inf)), v)),
    ]:
        variant("attention_with_bool_mask", sdpa, source, build, allowed)
    # Scores can outweigh this number, so it is no boolean mask.
    finite = lambda g, q, k, v, m: out(g, g.Add(g.Div(scores(g, q, k), 2.0), g.Where(m, 0.0, -10000.0)), v)
    variant("attention_with_finite_mask", ["where", *sdpa], "scores + where(allowed, 0, -10000), GPT-2", finite, allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder")
    out = parser.parse_args().out
    warnings.filterwarnings("ignore")
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    torch_modules()
    activations()
    normalisations()
    attentions()
    cases, blob = [], b""
    for name, case in CASES.items():
        for entry in case["models"].values():
            model = entry["model"].SerializeToString()
            before = " ".join(n.op_type for n in entry["model"].graph.node if n.op_type != "Constant")
            moves = name.startswith(MOVING)
            cases.append({"name": name, "operators": case["operators"], "moves": moves, "sources": entry["sources"], "before": before, "offset": len(blob), "length": len(model)})
            blob += model
    (out / "decompositions.bin").write_bytes(blob)
    (out / "decompositions.json").write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(cases), "models of", len(CASES), "cases,", len(blob), "bytes")


if __name__ == "__main__":
    main()
