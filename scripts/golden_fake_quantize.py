#!/usr/bin/env python3
"""Write crates/quant/tests/golden/fake_quantize.json: PyTorch's fake quantization and its gradient, bit for bit.
golden_fake_quantize.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

Floats are the bits of an f32 as 8 hex digits, one after the other.

- `functions`: {"x", "shape", "scale", "zero_point" (integers, or bits of floats), "axis" (null: per tensor), "quant_min", "quant_max", "out",
  "gradient" of the result, "x_gradient"}. No value is so large that PyTorch's conversion to i64 overflows.
- `modules`: {"preset"} or {"spec"} (the JSON form of an ObserverSpec), and `steps`: what is turned on, the input, the result, gradients,
  and the parameters in use afterwards, if there are any.

Float zero points are added with one rounding, as PyTorch's vectorised kernels do: run it on a machine with AVX2 or AVX-512.
"""
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.ao.quantization import fake_quantize as fq
from torch.ao.quantization import observer as obs

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
    sys.exit("float zero points need a machine with AVX2")

RNG = np.random.default_rng(11)


def bits(x) -> str:
    if isinstance(x, torch.Tensor):
        x = x.detach().numpy()
    return "".join(f"{v:08x}" for v in np.atleast_1d(np.asarray(x, np.float32)).ravel().view(np.uint32))


def values(*shape, scale=1.0, offset=0.0):
    return (RNG.normal(offset, scale, shape)).astype(np.float32)


def zeros_json(z):
    return bits(z) if z.is_floating_point() else z.tolist()


def run(function, x):
    """Result, gradient of the result, gradient of x."""
    x = torch.from_numpy(x).requires_grad_(True)
    out = function(x)
    gradient = torch.from_numpy(values(*out.shape))
    out.backward(gradient)
    return {"x": bits(x), "shape": list(x.shape), "out": bits(out), "gradient": bits(gradient), "x_gradient": bits(x.grad)}


def functions():
    rows = []
    ranges = [(0, 255), (-128, 127), (-127, 127), (0, 127), (0, 15), (-8, 7), (-32768, 32767)]
    special = np.array([0.0, -0.0, 1e-45, -1e-45, -3e38, -np.inf, np.nan], np.float32)
    for i, (lo, hi) in enumerate(ranges * 3):
        scale = np.float32(2.0 ** RNG.integers(-9, 3)) if i % 3 == 0 else np.float32(RNG.uniform(0.001, 2))
        zero = int(RNG.integers(lo, hi + 1))
        # Across the whole range and beyond, and the ties between integers.
        x = values(40, scale=float(scale) * (hi - lo) / 2)
        ties = ((RNG.integers(lo - 3, hi + 3, 12) - zero + 0.5) * scale).astype(np.float32)
        x = np.concatenate([x, ties, special])
        row = run(lambda x: torch.fake_quantize_per_tensor_affine(x, float(scale), zero, lo, hi), x)
        rows.append(row | {"scale": bits(scale), "zero_point": [zero], "axis": None, "quant_min": lo, "quant_max": hi})
    shapes = [((3, 8), 0), ((8, 3), 1), ((2, 3, 5), 1), ((2, 2, 3, 2), 2), ((4,), 0), ((1, 24), 0), ((2, 5, 3), 2)]
    for i, (lo, hi) in enumerate(ranges * 4):
        shape, axis = shapes[i % len(shapes)]
        n = shape[axis]
        scale = RNG.uniform(0.001, 2, n).astype(np.float32)
        if i % 3 == 0:
            scale = (2.0 ** RNG.integers(-9, 3, n)).astype(np.float32)
        along = scale.reshape([-1 if d == axis else 1 for d in range(len(shape))])
        x = (values(*shape) * along * ((hi - lo) / 2)).astype(np.float32)
        x = np.where(RNG.random(shape) < 0.3, np.round(x / along * 2) / 2 * along, x).astype(np.float32)
        if i % 2:
            zero = torch.from_numpy(RNG.uniform(lo, hi, n).astype(np.float32))
        else:
            zero = torch.from_numpy(RNG.integers(lo, hi + 1, n).astype(np.int32))
        s = torch.from_numpy(scale)
        row = run(lambda x: torch.fake_quantize_per_channel_affine(x, s, zero, axis, lo, hi), x)
        rows.append(row | {"scale": bits(scale), "zero_point": zeros_json(zero), "axis": axis, "quant_min": lo, "quant_max": hi})
    return rows


def spec(observer, dtype, qscheme, kind, **more):
    return {"observer": observer, "dtype": dtype, "qscheme": qscheme, "fake_quantize": kind} | more


def moving(c):
    return {"moving_average_min_max": {"averaging_constant": c}}


FQ, FUSED = "fake_quantize", "fused_moving_avg_obs_fake_quantize"
SPECS = [
    spec("min_max", "quint8", "per_tensor_affine", FQ),
    spec("min_max", "qint8", "per_tensor_symmetric", FQ, quant_min=-127, quant_max=127),
    spec("min_max", "quint8", "per_tensor_symmetric", FQ),
    spec("min_max", "int16", "per_tensor_affine", FQ),
    spec("min_max", "qint8", "per_channel_affine", FQ, ch_axis=1),
    spec("min_max", "quint8", "per_channel_affine_float_qparams", FQ),
    spec(moving(0.3), "qint8", "per_tensor_affine", FQ, eps=2.0**-12),
    spec(moving(0.3), "quint8", "per_channel_symmetric", FQ, ch_axis=1),
    spec(moving(1.0), "quint8", "per_tensor_affine", FQ, is_dynamic=True),
    spec("histogram", "qint8", "per_tensor_symmetric", FQ),
    spec(moving(0.3), "quint8", "per_tensor_affine", FUSED, quant_min=0, quant_max=127),
    spec(moving(0.3), "quint8", "per_tensor_symmetric", FUSED, quant_min=0, quant_max=255),
    spec(moving(0.3), "qint8", "per_tensor_symmetric", FUSED, quant_min=-127, quant_max=127, eps=2.0**-12),
    spec(moving(0.3), "qint8", "per_tensor_affine", FUSED, quant_min=-8, quant_max=7),
    spec(moving(0.01), "qint8", "per_channel_affine", FUSED, quant_min=-128, quant_max=127),
    spec(moving(1.0), "qint8", "per_channel_symmetric", FUSED, quant_min=-127, quant_max=127),
]
PRESETS = [n for n in fq.__all__ if n.startswith("default_") or "neg_127" in n]


def build(s):
    per_channel = s["qscheme"].startswith("per_channel")
    kwargs = {"dtype": getattr(torch, s["dtype"]), "qscheme": getattr(torch, s["qscheme"])}
    kwargs |= {k: s[k] for k in ("quant_min", "quant_max", "eps", "is_dynamic") if k in s}
    if per_channel:
        kwargs["ch_axis"] = s.get("ch_axis", 0)
    kind = s["observer"]
    if isinstance(kind, dict):
        kwargs["averaging_constant"] = kind["moving_average_min_max"]["averaging_constant"]
        kind = "moving"
    classes = {
        "min_max": (obs.MinMaxObserver, obs.PerChannelMinMaxObserver),
        "moving": (obs.MovingAverageMinMaxObserver, obs.MovingAveragePerChannelMinMaxObserver),
        "histogram": (obs.HistogramObserver, None),
    }
    module = fq.FusedMovingAvgObsFakeQuantize if s["fake_quantize"] == FUSED else fq.FakeQuantize
    return module(observer=classes[kind][per_channel], **kwargs)


def steps(module):
    rows = []
    # (fake quantization, observer, width of the values, their middle); the first tensors are observed, for the channels' sake.
    plan = [(True, True, 1.0, 0.0), (True, True, 3.0, 1.0), (False, True, 0.5, -2.0), (True, False, 4.0, 0.0)]
    plan += [(False, False, 1.0, 0.0), (True, True, 1.0, 2.0), (True, False, 0.01, 0.0), (True, True, 8.0, -5.0)]
    if not module.is_per_channel and not isinstance(module, fq.FusedMovingAvgObsFakeQuantize):
        plan = [(True, False, 4.0, 0.0)] + plan
    if isinstance(module, fq.FusedMovingAvgObsFakeQuantize):
        plan = [(False, True, 1e-4, 0.0)] + plan + [(True, True, 1e-6, 0.0)]
    for quantize, observe, width, middle in plan:
        module.apply(fq.enable_fake_quant if quantize else fq.disable_fake_quant)
        module.apply(fq.enable_observer if observe else fq.disable_observer)
        x = values(3, 4, scale=width, offset=middle)
        row = {"fake_quant": quantize, "observer": observe} | run(module, x)
        # A fused module's parameters are uninitialized memory until it quantizes for the first time.
        if not (isinstance(module, fq.FusedMovingAvgObsFakeQuantize) and not any(r["fake_quant"] for r in rows + [row])):
            row |= {"scale": bits(module.scale), "zero_point": zeros_json(module.zero_point)}
        rows.append(row)
    return rows


def main():
    modules = [{"preset": n, "steps": steps(getattr(fq, n)())} for n in PRESETS]
    modules += [{"spec": s, "steps": steps(build(s))} for s in SPECS]
    calls = functions()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "crates/quant/tests/golden/fake_quantize.json"
    rows = lambda items: "[\n" + ",\n".join(json.dumps(i, separators=(",", ":")) for i in items) + "\n]"
    out.write_text(f'{{\n"torch": "2.8.0",\n"functions": {rows(calls)},\n"modules": {rows(modules)}\n}}\n')
    print(f"{out}: {len(calls)} calls, {len(modules)} modules, {out.stat().st_size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
