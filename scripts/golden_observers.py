#!/usr/bin/env python3
"""Write crates/quant/tests/golden/observers.json: what PyTorch's observers compute, bit for bit. golden_observers.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

The file (`golden_observers.rs` beside it reads it):

- `inputs`: name -> {"ch_axis", "batches"}; a batch is {"shape", "bits"} (one f32 as 8 hex digits after the other) or {"shape",
  "generator", "seed", "scale_log2", "checksum"} for the larger ones (`generate` below; the checksum is the wrapping u32 sum of the bits).
- `configs`: dtype, qscheme (`affine` / `symmetric` / `affine_float_qparams`), reduce_range, quant_min / quant_max (null: the dtype's), eps (bits).
- `results`: [observer, averaging_constant or bins, config index, input name, min bits, max bits, scale bits, zero points (as bits where
  they are floats)]. Left out where a 32-bit zero point overflows in PyTorch. min and max are
  the range that the qparams were computed from: for HistogramObserver what its search chose. Empty if nothing was observed, null
  where PyTorch's search underflows f32 (any range gives the smallest scale there).
- `errors`: [observer, averaging_constant, is_dynamic, config] that the constructor must refuse.
- `quantized`: [config index, input name, per_channel, int values, dequantized bits] of the input's last batch (at most its first 64
  values) with the parameters of MinMaxObserver or PerChannelMinMaxObserver.
"""
import json
import math
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.ao.quantization import observer as obs
from torch.ao.quantization.fx._decomposed import quantized_decomposed_lib  # noqa: F401  registers the ops

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")

MASK = (1 << 64) - 1


def uniform24(seed: int, n: int) -> np.ndarray:
    """n integers in [-2^23, 2^23): the top 24 bits of a 64-bit linear congruential generator, minus 2^23."""
    out, state = np.empty(n, np.int64), (seed * 0x9E3779B97F4A7C15 + 1) & MASK
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        out[i] = (state >> 40) - (1 << 23)
    return out


def generate(kind: str, seed: int, n: int, scale_log2: int) -> np.ndarray:
    """f32 values that any language with IEEE arithmetic makes identically."""
    unit = np.float32(2.0**-23)
    if kind == "uniform":
        x = uniform24(seed, n).astype(np.float32) * unit
    elif kind in ("bell", "relu"):
        x = uniform24(seed, n * 8).reshape(n, 8).sum(1).astype(np.float32) * unit
        x = np.maximum(x, np.float32(0)) if kind == "relu" else x
    elif kind == "heavy":
        u = uniform24(seed, n).astype(np.float32) * unit
        x = u * u * u * u * u
    elif kind in ("above", "below"):
        x = np.abs(uniform24(seed, n).astype(np.float32) * unit) + np.float32(0.75)
        x = -x if kind == "below" else x
    else:
        raise ValueError(kind)
    return (x * np.float32(2.0**scale_log2)).astype(np.float32)


def bits(x) -> str:
    return "".join(f"{v:08x}" for v in np.atleast_1d(np.asarray(x, np.float32)).ravel().view(np.uint32))


def inline(values, shape=None):
    a = np.asarray(values, np.float32)
    a = a.reshape(shape) if shape is not None else a
    return a, {"shape": list(a.shape), "bits": bits(a)}


def generated(kind, seed, shape, scale_log2=0):
    a = generate(kind, seed, math.prod(shape), scale_log2).reshape(shape)
    checksum = int(a.ravel().view(np.uint32).astype(np.uint64).sum() & 0xFFFFFFFF)
    return a, {"shape": list(shape), "generator": kind, "seed": seed, "scale_log2": scale_log2, "checksum": checksum}


def make_inputs():
    rng = np.random.default_rng(2)
    normal = lambda *shape, s=1.0: (rng.normal(0, s, shape)).astype(np.float32)
    weights = normal(5, 3, 3, 3, s=0.3)
    weights[1] = 0.0
    weights[2] = -0.25
    weights[3] *= 1e-12
    return {
        "constant_3": (0, [inline([3.0] * 5)]),
        "constant_minus_3": (0, [inline([-3.0] * 5)]),
        "zeros": (0, [inline([0.0] * 6)]),
        "negative": (0, [inline(-np.abs(normal(24)) - 0.5)]),
        "positive_offset": (0, [inline(np.abs(normal(24)) + 5.0)]),
        "outlier": (0, [inline(np.append(normal(40), np.float32(1000.0)))]),
        "tiny": (0, [inline([1e-30, -2e-30, 3.5e-30, 0.0])]),
        "subnormal": (0, [inline([1e-42, -1e-44, 3e-40])]),
        "near_eps": (0, [inline([1e-5, -2e-5, 1.2e-5])]),
        "huge": (0, [inline([1e30, -3e29, 5.0])]),
        "empty": (0, [inline([], (0, 4))]),
        "empty_between": (0, [inline([1.0, -1.5, 0.25]), inline([], (0,)), inline([0.5, -2.5, 4.0])]),
        "growing": (0, [inline(normal(16, s=s)) for s in (0.1, 0.5, 2.0, 7.0)]),
        "shrinking": (0, [inline(normal(16, s=s)) for s in (7.0, 2.0, 0.5, 0.1)]),
        "constant_then_range": (0, [inline([1.5] * 4), inline([1.5] * 3), inline(normal(16)), inline(normal(16))]),
        "range_then_constant": (0, [inline(normal(16)), inline([2.75] * 4)]),
        "weights": (0, [inline(weights)]),
        "weights_axis1": (1, [inline(normal(3, 4, 2, 2))]),
        "activations_axis1": (1, [inline(normal(2, 3, 2, 2, s=s)) for s in (0.5, 1.0, 4.0)]),
        "linear_weights": (0, [inline(normal(6, 9, s=0.05))]),
        "bell_20k": (0, [generated("bell", 1, [20000])]),
        "relu_batches": (0, [generated("relu", s, [2, 8, 16, 16], s % 3) for s in range(10, 16)]),
        "bell_growing": (0, [generated("bell", s, [4000], s - 20) for s in range(20, 24)]),
        "heavy_tail": (0, [generated("heavy", 30, [30000], 5)]),
        "infinite_between": (0, [inline(normal(32)), inline(np.array([np.inf, 1.0, -np.inf, -3.0])), inline([np.inf] * 2), inline(normal(9))]),
        "uniform_batches": (0, [generated("uniform", s, [3000]) for s in range(40, 45)]),
        **sequences(),
    }


def sequences():
    """Sequences of random batches: of one kind or of several, growing, shrinking or wandering, near 0 or far from it."""
    rng = np.random.default_rng(7)
    out = {}
    for i in range(SEQUENCES):
        kinds = rng.choice(["uniform", "bell", "relu", "heavy", "above", "below"], 1 + i % 2, replace=False)
        channels, first = int(rng.integers(2, 6)), int(rng.integers(-30, 30))
        step = int(rng.choice([-2, -1, 0, 0, 1, 2]))
        batches = []
        for b in range(int(rng.integers(1, 7))):
            wander = int(rng.integers(-1, 2)) if i % 3 == 0 else 0
            shape = [channels, int(rng.choice([1, 7, 64, 400]))]
            batches.append(generated(str(rng.choice(kinds)), 1000 + 10 * i + b, shape, first + step * b + wander))
        out[f"sequence_{i}"] = (0, batches)
    return out


def configs_for(name, ci):
    """Every configuration for the inputs with a name of their own, a few for each of the random sequences."""
    return not name.startswith("sequence_") or (ci * 5 + int(name[9:])) % 4 == 0


SEQUENCES = 60


def config(dtype, qscheme, reduce_range=False, quant_range=None, eps=2.0**-23):
    lo, hi = quant_range or (None, None)
    return {"dtype": dtype, "qscheme": qscheme, "reduce_range": reduce_range, "quant_min": lo, "quant_max": hi, "eps": bits(eps)}


CONFIGS = [
    config("quint8", "affine"),
    config("quint8", "affine", True),
    config("quint8", "symmetric"),
    config("qint8", "affine"),
    config("qint8", "affine", True),
    config("qint8", "symmetric"),
    config("qint8", "symmetric", True),
    config("qint8", "symmetric", quant_range=(-127, 127), eps=2.0**-12),
    config("qint8", "affine", True, (-127, 127)),
    config("quint8", "affine", quant_range=(0, 127), eps=2.0**-12),
    config("quint8", "symmetric", quant_range=(0, 127)),
    config("quint8", "affine", quant_range=(0, 15)),
    config("qint8", "affine", quant_range=(-8, 7)),
    config("int16", "affine"),
    config("int16", "affine", True),
    config("int16", "symmetric"),
    config("int16", "symmetric", True, (-32768, 32767)),
    config("uint16", "affine"),
    config("uint16", "symmetric"),
    config("qint32", "affine"),
    config("qint32", "symmetric"),
    config("qint32", "affine", quant_range=(-1000, 1000)),
    config("quint4x2", "affine"),
    config("quint4x2", "symmetric", True),
    config("quint8", "affine_float_qparams"),
    config("quint4x2", "affine_float_qparams", eps=2.0**-12),
]
# The first so many configurations are 8-bit and quantize too.
QUANTIZED = 12
REFUSED = config("quint8", "symmetric", True)

OBSERVERS = {
    "MinMaxObserver": (obs.MinMaxObserver, False, [{}]),
    "MovingAverageMinMaxObserver": (obs.MovingAverageMinMaxObserver, False, [{"averaging_constant": 0.01}, {"averaging_constant": 0.3}]),
    "PerChannelMinMaxObserver": (obs.PerChannelMinMaxObserver, True, [{}]),
    "MovingAveragePerChannelMinMaxObserver": (obs.MovingAveragePerChannelMinMaxObserver, True, [{"averaging_constant": 0.01}]),
    "HistogramObserver": (obs.HistogramObserver, False, [{"bins": 2048}]),
}
MULTI_CHANNEL = ("weights", "weights_axis1", "activations_axis1", "linear_weights", "empty", "relu_batches")
# PyTorch's search overflows f32 here and its result is an accident: ours is compared on finite arithmetic only.
NOT_FOR_HISTOGRAM = ("huge",)
SEARCH_UNDERFLOWS = ("tiny", "subnormal")
# Only the histogram drops infinities in PyTorch.
ONLY_FOR_HISTOGRAM = ("infinite_between",)


def build(cls, c, per_channel, **kwargs):
    return cls(
        dtype=getattr(torch, c["dtype"]),
        qscheme=getattr(torch, ("per_channel_" if per_channel else "per_tensor_") + c["qscheme"]),
        reduce_range=c["reduce_range"],
        quant_min=c["quant_min"],
        quant_max=c["quant_max"],
        eps=struct.unpack(">f", bytes.fromhex(c["eps"]))[0],
        **kwargs,
    )


def zero_point_overflows(c, o, lo, hi):
    """Whether `lo / scale` does not fit into the i32 that PyTorch takes it through."""
    if c["dtype"] != "qint32" or c["qscheme"] != "affine" or not bool(torch.isfinite(lo).all()):
        return False
    lo, hi = torch.clamp(lo, max=0).double(), torch.clamp(hi, min=0).double()
    scale = torch.maximum((hi - lo) / (o.quant_max - o.quant_min), o.eps.double())
    return bool((lo / scale < -(2**31) + 1024).any())


def refused():
    """Arguments that a constructor of PyTorch's refuses."""
    dynamic = [("MovingAverageMinMaxObserver", 0.01), ("MovingAverageMinMaxObserver", 0.5), ("PerChannelMinMaxObserver", None)]
    dynamic += [("MovingAveragePerChannelMinMaxObserver", 1.0), ("HistogramObserver", None)]
    rows = [(n, None, False, REFUSED) for n in OBSERVERS if n != "HistogramObserver"]
    rows += [(n, c, True, CONFIGS[0]) for n, c in dynamic]
    for name, constant, is_dynamic, c in rows:
        cls, per_channel, _ = OBSERVERS[name]
        more = {"averaging_constant": constant} if constant is not None else {}
        try:
            build(cls, c, per_channel, is_dynamic=is_dynamic, **more)
        except NotImplementedError:
            continue
        raise SystemExit(f"{name} took {c}")
    build(obs.MovingAverageMinMaxObserver, CONFIGS[0], False, is_dynamic=True, averaging_constant=1)
    return rows


def main():
    inputs = make_inputs()
    results, quantized = [], []
    for name, (cls, per_channel, variants) in OBSERVERS.items():
        for variant in variants:
            for ci, c in enumerate(CONFIGS):
                for input_name, (ch_axis, batches) in inputs.items():
                    many = input_name in MULTI_CHANNEL or input_name.startswith("sequence_")
                    if (per_channel and not many) or not configs_for(input_name, ci):
                        continue
                    if "float_qparams" in c["qscheme"] and not per_channel:
                        continue
                    if name != "HistogramObserver" and input_name in ONLY_FOR_HISTOGRAM:
                        continue
                    if name == "HistogramObserver" and input_name in NOT_FOR_HISTOGRAM:
                        continue
                    axis = {"ch_axis": ch_axis} if per_channel else {}
                    o = build(cls, c, per_channel, **axis, **variant)
                    for values, _ in batches:
                        o(torch.from_numpy(values))
                    scale, zero_point = o.calculate_qparams()
                    lo, hi = o.min_val, o.max_val
                    if name == "HistogramObserver" and torch.isfinite(lo):
                        lo, hi = o._non_linear_param_search()
                    observed = lo.numel() > 0 and bool(torch.isfinite(lo).all())
                    chosen = [bits(lo), bits(hi)] if observed else ["", ""]
                    if name == "HistogramObserver" and input_name in SEARCH_UNDERFLOWS:
                        chosen = [None, None]
                    if zero_point_overflows(c, o, lo, hi):
                        continue
                    zeros = bits(zero_point) if "float_qparams" in c["qscheme"] else zero_point.tolist()
                    results.append([name, next(iter(variant.values()), None), ci, input_name, *chosen, bits(scale), zeros])
                    if name in ("MinMaxObserver", "PerChannelMinMaxObserver") and observed and ci < QUANTIZED and not input_name.startswith("sequence_"):
                        x = torch.from_numpy(batches[-1][0])
                        dtype = torch.int8 if c["dtype"] == "qint8" else torch.uint8
                        ops = torch.ops.quantized_decomposed
                        if per_channel:
                            args = (scale, zero_point, ch_axis, o.quant_min, o.quant_max, dtype)
                            q, qd = ops.quantize_per_channel, ops.dequantize_per_channel
                            native = torch.quantize_per_channel(x, scale, zero_point, ch_axis, o.dtype)
                        else:
                            args = (scale.item(), int(zero_point), o.quant_min, o.quant_max, dtype)
                            q, qd = ops.quantize_per_tensor, ops.dequantize_per_tensor
                            native = torch.quantize_per_tensor(x, scale.item(), int(zero_point), o.dtype)
                        values = q(x, *args)
                        back = qd(values, *args[:2], *((ch_axis,) if per_channel else ()), *args[-3:])
                        full = torch.iinfo(o.dtype)
                        if (o.quant_min, o.quant_max) == (full.min, full.max):
                            assert torch.equal(native.int_repr(), values), "torch's own two quantize functions disagree"
                        quantized.append([ci, input_name, per_channel, values.flatten()[:64].tolist(), bits(back.flatten()[:64].numpy())])
    golden = {
        "torch": "2.8.0",
        "inputs": {n: {"ch_axis": axis, "batches": [spec for _, spec in batches]} for n, (axis, batches) in inputs.items()},
        "configs": CONFIGS,
        "results": results,
        "errors": refused(),
        "quantized": quantized,
    }
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "crates/quant/tests/golden/observers.json"
    rows = lambda items: "[\n" + ",\n".join(json.dumps(i, separators=(",", ":")) for i in items) + "\n]"
    body = ",\n".join(
        f"{json.dumps(k)}: " + (rows(v) if isinstance(v, list) else json.dumps(v, separators=(",", ":"))) for k, v in golden.items()
    )
    out.write_text("{\n" + body + "\n}\n")
    print(f"{out}: {len(results)} results, {len(quantized)} quantized tensors, {out.stat().st_size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
