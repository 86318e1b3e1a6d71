#!/usr/bin/env python3
"""Golden values of PyTorch's quantized modules: dynamic LSTM, GRU and cells, Embedding and EmbeddingBag.

usage: golden_quantized_modules.py OUT.json    (torch 2.8.0; CPU; deterministic)

Each dynamic case: the module's hyper-parameters, its float weights, inputs and float outputs, the integer weights and scales that
torch.ao.quantization.quantize_dynamic gives them, and the outputs of the quantized module (engine in the file: its reduce_range halves the
activations' range). Each embedding case: the float table, codes, scales and zero points, outputs of the quantized module (fbgemm's kernel) and of
the float module on the dequantized table. Floats are their shortest decimal that reads back as the same f32.
"""
import json
import sys

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import (
    default_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
    per_channel_dynamic_qconfig,
    quantize_dynamic,
)

torch.set_num_threads(1)


def tensor(t):
    t = t.detach()
    if t.dtype == torch.float32:
        data = [float(str(v)) for v in t.numpy().ravel()]
        return {"dtype": "f32", "shape": list(t.shape), "data": data}
    name = {torch.int64: "i64", torch.int8: "i8", torch.uint8: "u8"}[t.dtype]
    return {"dtype": name, "shape": list(t.shape), "data": t.numpy().ravel().tolist()}


def flat(out):
    if isinstance(out, torch.Tensor):
        return [out]
    return [t for part in out for t in flat(part)]


class Holder(nn.Module):
    """quantize_dynamic swaps submodules."""

    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, *args):
        return self.m(*args)


def qweight(w):
    if w.qscheme() == torch.per_channel_affine:
        assert int(w.q_per_channel_zero_points().abs().max()) == 0
        return {"ints": tensor(w.int_repr()), "scales": tensor(w.q_per_channel_scales().float())}
    assert w.q_zero_point() == 0
    return {"ints": tensor(w.int_repr()), "scales": tensor(torch.tensor([w.q_scale()], dtype=torch.float32))}


def dynamic(module, inputs, scheme, **params):
    torch.manual_seed(1)
    module = Holder(module).eval()
    qconfig = {"per_tensor": default_dynamic_qconfig, "per_channel": per_channel_dynamic_qconfig}[scheme]
    quantized = quantize_dynamic(module, {type(module.m): qconfig})
    with torch.no_grad():
        expected, got = flat(module(*inputs)), flat(quantized(*inputs))
    return {
        "module": type(module.m).__name__,
        "params": params,
        "scheme": scheme,
        "inputs": [tensor(t) for t in flat(inputs)],
        "weights": {k: tensor(v) for k, v in module.m.state_dict().items()},
        "quantized_weights": {k: qweight(w) for k, w in quantized.m.get_weight().items()},
        "float": [tensor(t) for t in expected],
        "quantized": [tensor(t) for t in got],
    }


def float16(module, inputs, **params):
    """Weights rounded to float16 (quantize_dynamic, dtype float16)."""
    module = Holder(module).eval()
    quantized = quantize_dynamic(module, {type(module.m)}, dtype=torch.float16)
    with torch.no_grad():
        expected, got = flat(module(*inputs)), flat(quantized(*inputs))
    return {
        "module": type(module.m).__name__,
        "params": params,
        "inputs": [tensor(t) for t in flat(inputs)],
        "weights": {k: tensor(v) for k, v in module.m.state_dict().items()},
        "float": [tensor(t) for t in expected],
        "quantized": [tensor(t) for t in got],
    }


def embedding(module, inputs, bits, **params):
    qconfig = float_qparams_weight_only_qconfig if bits == 8 else float_qparams_weight_only_qconfig_4bit
    module = Holder(module).eval()
    quantized = quantize_dynamic(module, {type(module.m): qconfig}, dtype=torch.quint8 if bits == 8 else torch.quint4x2)
    # The observer's codes and parameters, before the kernel packs them.
    weight = module.m.weight.detach()
    observer = qconfig.weight()
    observer(weight)
    scales, zero_points = observer.calculate_qparams()
    dtype = torch.quint8 if bits == 8 else torch.quint4x2
    codes = torch.quantize_per_channel(weight, scales.float(), zero_points.float(), 0, dtype)
    with torch.no_grad():
        table = codes.dequantize()
        if isinstance(module.m, nn.EmbeddingBag):
            m = module.m
            reference = nn.functional.embedding_bag(
                inputs[0], table, inputs[1] if len(inputs) > 1 else None, mode=m.mode,
                per_sample_weights=inputs[2] if len(inputs) > 2 else None, include_last_offset=m.include_last_offset,
                padding_idx=m.padding_idx,
            )
        else:
            reference = nn.functional.embedding(inputs[0], table)
        case = {
            "module": type(module.m).__name__,
            "params": params,
            "bits": bits,
            "inputs": [tensor(t) for t in inputs],
            "weight": tensor(weight),
            "codes": tensor(codes.int_repr()),
            "scales": tensor(scales.float()),
            "zero_points": tensor(zero_points.float()),
            "reference": tensor(reference),
        }
        # PyTorch's kernel sums, whatever the mode.
        if not isinstance(module.m, nn.EmbeddingBag) or module.m.mode == "sum":
            case["quantized"] = tensor(quantized(*inputs))
        return case


class Stubs(nn.Module):
    """A module between quantize and dequantize."""

    def __init__(self, m):
        super().__init__()
        self.quant, self.m, self.dequant = torch.ao.quantization.QuantStub(), m, torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        x = self.quant(x)
        out = self.m(x, x, x)[0] if isinstance(self.m, MHA) else self.m(x)[0]
        return self.dequant(out)


MHA = (nn.MultiheadAttention, torch.ao.nn.quantizable.MultiheadAttention, torch.ao.nn.quantized.MultiheadAttention)


def static(module, x, **params):
    """torch.ao.nn.quantizable's module, calibrated on its own input."""
    weights = {k: tensor(v) for k, v in module.state_dict().items()}
    model = Stubs(module).eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("onednn")  # full range
    with torch.no_grad():
        expected = model(x)
        prepared = torch.ao.quantization.prepare(model)
        prepared(x)
        got = torch.ao.quantization.convert(prepared)(x)
    return {
        "module": type(module).__name__,
        "params": params,
        "inputs": [tensor(x)],
        "weights": weights,
        "float": [tensor(expected)],
        "quantized": [tensor(got)],
    }


def main(path):
    torch.manual_seed(7)
    cases = []
    for scheme in ["per_tensor", "per_channel"]:
        x, b = torch.randn(6, 3, 12), torch.randn(3, 12)
        h, c = torch.randn(3, 16) * 0.5, torch.randn(3, 16) * 0.5
        h2, c2 = torch.randn(4, 3, 16) * 0.5, torch.randn(4, 3, 16) * 0.5
        cases.append(dynamic(nn.LSTM(12, 16), (x,), scheme, input_size=12, hidden_size=16))
        cases.append(dynamic(nn.LSTM(12, 16, num_layers=2, bidirectional=True), (x, (h2, c2)), scheme, input_size=12,
                             hidden_size=16, num_layers=2, bidirectional=True))
        cases.append(dynamic(nn.GRU(12, 16, bidirectional=True), (x,), scheme, input_size=12, hidden_size=16,
                             bidirectional=True))
        cases.append(dynamic(nn.LSTMCell(12, 16), (b, (h, c)), scheme, input_size=12, hidden_size=16))
        cases.append(dynamic(nn.GRUCell(12, 16), (b, h), scheme, input_size=12, hidden_size=16))
        cases.append(dynamic(nn.RNNCell(12, 16), (b, h), scheme, input_size=12, hidden_size=16))
        cases.append(dynamic(nn.RNNCell(12, 16, nonlinearity="relu"), (b, h), scheme, input_size=12, hidden_size=16,
                             nonlinearity="relu"))
    tables = []
    for bits in [8, 4]:
        ids, offsets = torch.tensor([3, 9, 0, 0, 5, 7, 9, 2, 1]), torch.tensor([0, 2, 2, 6])
        weights = torch.randn(9)
        if bits == 8:  # PyTorch has no 4-bit Embedding module.
            tables.append(embedding(nn.Embedding(10, 12), (ids,), bits, num_embeddings=10, embedding_dim=12))
        for mode in ["sum", "mean", "max"]:
            tables.append(embedding(nn.EmbeddingBag(10, 12, mode=mode), (ids, offsets), bits, num_embeddings=10,
                                    embedding_dim=12, mode=mode))
        tables.append(embedding(nn.EmbeddingBag(10, 12, mode="sum"), (ids, offsets, weights), bits, num_embeddings=10,
                                embedding_dim=12, mode="sum"))
        tables.append(embedding(nn.EmbeddingBag(10, 12, mode="sum", include_last_offset=True),
                                (ids, torch.tensor([0, 2, 2, 6, 9])), bits, num_embeddings=10, embedding_dim=12, mode="sum",
                                include_last_offset=True))
    statics = [
        static(nn.LSTM(12, 16), torch.randn(6, 3, 12), input_size=12, hidden_size=16),
        static(nn.LSTM(12, 16, bidirectional=True), torch.randn(6, 3, 12), input_size=12, hidden_size=16, bidirectional=True),
        # Time first: with batch_first the quantizable module gives another result than the float one (SQNR -1.6 dB).
        static(nn.MultiheadAttention(16, 4), torch.randn(5, 3, 16), embed_dim=16, num_heads=4),
    ]
    b, h, c = torch.randn(3, 12), torch.randn(3, 16) * 0.5, torch.randn(3, 16) * 0.5
    halves = [
        float16(nn.LSTM(12, 16), (torch.randn(6, 3, 12),), input_size=12, hidden_size=16),
        float16(nn.GRU(12, 16), (torch.randn(6, 3, 12),), input_size=12, hidden_size=16),
        float16(nn.LSTMCell(12, 16), (b, (h, c)), input_size=12, hidden_size=16),
        float16(nn.RNNCell(12, 16), (b, h), input_size=12, hidden_size=16),
    ]
    out = {"torch": torch.__version__.split("+")[0], "engine": torch.backends.quantized.engine, "dynamic": cases,
           "embedding": tables, "static": statics, "float16": halves}
    with open(path, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


main(sys.argv[1])
