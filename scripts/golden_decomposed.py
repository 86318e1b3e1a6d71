#!/usr/bin/env python3
"""Write crates/ops/tests/golden/decomposed.json: torch.ops.quantized_decomposed, bit for bit. golden_decomposed.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

A list of {op, attrs, inputs, outputs}: our operator's name and attributes (f32 as bits), its inputs and PyTorch's outputs; a tensor is
{dtype, shape, bits} with the elements' bits as unsigned integers.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch.ao.quantization.fx._decomposed import quantized_decomposed_lib  # noqa: F401  registers the ops

if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
Q = torch.ops.quantized_decomposed
rng = np.random.default_rng(11)
NAMES = {torch.float32: "f32", torch.float64: "f64", torch.int64: "i64", torch.int32: "i32", torch.int8: "i8", torch.uint8: "u8"}
BITS = {torch.float32: np.uint32, torch.float64: np.uint64, torch.int64: np.uint64, torch.int32: np.uint32, torch.int8: np.uint8, torch.uint8: np.uint8}
EPS = 2.0**-23
cases = []


def tensor(t):
    bits = t.contiguous().numpy().view(BITS[t.dtype]).ravel()
    return {"dtype": NAMES[t.dtype], "shape": list(t.shape), "bits": [int(b) for b in bits]}


def case(op, inputs, outputs, **attrs):
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    attrs = {k: {"f32": int(np.float32(v).view(np.uint32))} if isinstance(v, float) else v for k, v in attrs.items()}
    cases.append({"op": op, "attrs": attrs, "inputs": [tensor(i) for i in inputs], "outputs": [tensor(o) for o in outputs]})


def real(*shape, scale=1.0, shift=0.0):
    return torch.from_numpy((rng.standard_normal(shape) * scale + shift).astype(np.float32))


def halves(*shape):
    """Multiples of 1/4: ties everywhere for scales that are powers of two."""
    return torch.from_numpy((rng.integers(-600, 600, shape) / 4).astype(np.float32))


TENSORS = [
    real(3, 5), real(2, 3, 4, scale=1e-9), real(7, shift=3.0), real(4, 4, scale=1e4), -real(9).abs(), torch.zeros(3), torch.full((2, 2), 3.0),
    halves(4, 6), real(12, 8), torch.tensor([1e38, -1e38]), torch.tensor([1e-38, 0.0]),
]
RANGES = [(-128, 127, torch.int8), (-127, 127, torch.int8), (0, 255, torch.uint8), (0, 127, torch.uint8), (-8, 7, torch.int8)]
for x in TENSORS:
    for lo, hi, dtype in RANGES:
        for eps in (EPS, 2.0**-12):
            attrs = dict(quant_min=lo, quant_max=hi, eps=eps, dtype=NAMES[dtype])
            case("choose_qparams", [x], Q.choose_qparams.tensor(x, lo, hi, eps, dtype), **attrs)
            case("choose_qparams_symmetric", [x], Q.choose_qparams_symmetric.tensor(x, lo, hi, eps, dtype), **attrs)
        scale, zero = Q.choose_qparams.tensor(x, lo, hi, EPS, dtype)
        attrs = dict(quant_min=lo, quant_max=hi, dtype=NAMES[dtype])
        q = Q.quantize_per_tensor.tensor(x, scale, zero, lo, hi, dtype)
        case("quantize_per_tensor.tensor", [x, scale, zero], q, **attrs)
        case("dequantize_per_tensor.tensor", [q, scale, zero], Q.dequantize_per_tensor.tensor(q, scale, zero, lo, hi, dtype))
for x in TENSORS + [real(2, 3, 1), real(1, 16), torch.cat([real(3, 8), torch.zeros(1, 8)])]:
    chosen = Q.choose_qparams_per_token(x, torch.int8)
    case("choose_qparams_per_token", [x], chosen, dtype="i8")
    asymmetric = Q._choose_qparams_per_token_asymmetric_impl(x, torch.int8)
    case("choose_qparams_per_token_asymmetric", [x], asymmetric, dtype="i8")
    shape = list(x.shape[:-1]) + [1]
    powers = torch.full(shape, 0.5), torch.from_numpy(rng.integers(-9, 9, shape).astype(np.int32))
    for scales, zeros in (chosen, asymmetric, powers, (powers[0].double(), powers[1].long())):
        for lo, hi, dtype in ((-128, 127, torch.int8), (0, 255, torch.uint8), (-8, 7, torch.int8)):
            q = Q.quantize_per_token(x, scales, zeros, lo, hi, dtype)
            case("quantize_per_token", [x, scales, zeros], q, quant_min=lo, quant_max=hi, dtype=NAMES[dtype])
            d = Q.dequantize_per_token(q, scales, zeros, lo, hi, dtype, torch.float32)
            case("dequantize_per_token", [q, scales, zeros], d)
for x, size in [(real(3, 8), 4), (real(2, 12), 3), (halves(4, 16), 8), (real(2, 1), 128), (real(5, 6, scale=1e3), 6), (halves(3, 4), 2)]:
    effective = min(size, x.shape[1])
    groups = (x.shape[0], x.shape[1] // effective)
    for scales in (torch.from_numpy(rng.uniform(0.01, 2, groups).astype(np.float32)), torch.full(groups, 0.5)):
        zeros = torch.from_numpy(rng.integers(-6, 6, groups).astype(np.int32))
        for lo, hi, dtype in ((-8, 7, torch.int8), (-128, 127, torch.int8), (0, 15, torch.uint8)):
            q = Q.quantize_per_channel_group(x, scales, zeros, lo, hi, dtype, size)
            case("quantize_per_channel_group", [x, scales, zeros], q, quant_min=lo, quant_max=hi, dtype=NAMES[dtype], group_size=size)
            d = Q.dequantize_per_channel_group(q, scales, zeros, lo, hi, dtype, size, torch.float32)
            case("dequantize_per_channel_group", [q, scales, zeros], d, group_size=size)
            d = Q.dequantize_per_channel_group(q, scales, None, lo, hi, dtype, size, torch.float32)
            case("dequantize_per_channel_group", [q, scales], d, group_size=size)

out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "crates/ops/tests/golden/decomposed.json"
lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
out.write_text(f'{{"torch": "2.8.0", "cases": [\n{lines}\n]}}\n')
print(len(cases), out.stat().st_size)
