#!/usr/bin/env python3
"""Write crates/tensor/tests/golden/quantized_tensor.json: PyTorch's quantized tensors, bit for bit. golden_quantized_tensor.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

The file (`golden_quantized_tensor.rs` beside it reads it). f32 values are their bits, 8 hex digits one after the other; f64 scales 16.

- `quantize`: {"dtype", "shape", "x", "scales", "zero_points", "float_zero_points", "axis" (null: per tensor), "ints" (unpacked),
  "int_repr", "int_repr_shape", "dequantized"}.
- `refused`: the same without results: what PyTorch refuses.
- `methods`: {"source": as in `quantize`, "calls": [[method, arguments, result]]}. A result is {"error"}, {"bool", "shape"}, {"flag"},
  or {"shape", "ints", "scales", "zero_points", "axis"} with, for functions that give them, "indices" (null where ties leave them open).
- `decomposed`: [dtype, quant_min, quant_max, x, scale, zero_point, ints, dequantized] of the plain integer types.
- `choose_qparams`: [lo, hi, reduce_range, scale bits, zero_point].

Left out: what PyTorch computes wrongly or not at all (views of sub-byte tensors; NaN and values of 2^31 steps and more, whose integers
depend on the place of the element; infinities with float zero points; differences q - z that do not fit 32 bits, which wrap; float zero
points with qint32, which end the process), and means over outer dimensions that are nearly ties.
"""
import json
import math
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.ao.quantization.fx._decomposed import quantized_decomposed_lib  # noqa: F401  registers the ops

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")

RANGES = {"qint8": (-128, 127), "quint8": (0, 255), "qint32": (-(2**31), 2**31 - 1), "quint4x2": (0, 15), "quint2x4": (0, 3)}
PER_BYTE = {"quint4x2": 2, "quint2x4": 4}
rng = np.random.default_rng(8)


def bits32(x) -> str:
    return "".join(f"{v:08x}" for v in np.asarray(x, np.float32).ravel().view(np.uint32))


def bits64(values) -> str:
    return "".join(struct.pack(">d", float(v)).hex() for v in values)


def unpacked(q: torch.Tensor, name: str) -> list:
    ints = q.int_repr().numpy()
    if name not in PER_BYTE:
        return ints.ravel().tolist()
    bits = 8 // PER_BYTE[name]
    fields = np.stack([(ints >> (bits * k)) & ((1 << bits) - 1) for k in range(PER_BYTE[name])], -1)
    return fields.ravel()[: q.numel()].tolist()


def make(x, dtype, scales, zero_points, axis):
    """The quantized tensor; `zero_points` are floats for float parameters."""
    x = torch.from_numpy(np.asarray(x, np.float32))
    if axis is None:
        return torch.quantize_per_tensor(x, scales[0], zero_points[0], getattr(torch, dtype))
    real = isinstance(zero_points[0], float) if zero_points else False
    zero_points = torch.tensor(zero_points, dtype=torch.float32 if real else torch.int64)
    return torch.quantize_per_channel(x, torch.tensor(scales, dtype=torch.float64), zero_points, axis, getattr(torch, dtype))


def source(x, dtype, scales, zero_points, axis):
    real = bool(zero_points) and isinstance(zero_points[0], float)
    return {
        "dtype": dtype,
        "shape": list(np.shape(x)),
        "x": bits32(x),
        "scales": bits64(scales),
        "zero_points": bits32(zero_points) if real else zero_points,
        "float_zero_points": real,
        "axis": axis,
    }


def quantize_case(x, dtype, scales, zero_points, axis=None):
    q = make(x, dtype, scales, zero_points, axis)
    return {
        **source(x, dtype, scales, zero_points, axis),
        "ints": unpacked(q, dtype),
        "int_repr": q.int_repr().flatten().tolist(),
        "int_repr_shape": list(q.int_repr().shape),
        "dequantized": bits32(q.dequantize().numpy()),
    }


def halves(scale, n):
    """Multiples of half a step and their neighbours, which decide how ties are rounded."""
    ticks = (np.arange(n) - n // 3).astype(np.float32) * np.float32(0.5) * np.float32(scale)
    return np.concatenate([ticks, np.nextafter(ticks, np.float32(np.inf)), np.nextafter(ticks, np.float32(-np.inf))])


def quantize_cases():
    out = []
    for dtype, (lo, hi) in RANGES.items():
        small = (max(lo, -1000), min(hi, 1000))
        for scale in (0.1, 0.25, float(np.float32(0.0123)), 1.0, 37.5):
            for zero_point in sorted({small[0], (small[0] + small[1]) // 2, small[1], min(3, hi)}):
                x = np.concatenate([halves(scale, 23), rng.normal(0, scale * min(hi, 300) / 2, 18), [0.0, -0.0, 1e8 * scale, -1e8 * scale]])
                out.append(quantize_case(x.astype(np.float32), dtype, [scale], [zero_point]))
        big = (rng.normal(0, 1, 200) * 10.0 ** rng.uniform(0, 8, 200)).astype(np.float32)
        out.append(quantize_case(big, dtype, [0.37], [min(2, hi)]))
        for shape in ((), (1,), (0,), (2, 0, 3), (3, 5), (7,), (2, 3, 4), (1, 9)):
            out.append(quantize_case(rng.normal(0, 1, shape), dtype, [0.125], [1]))
    for dtype in ("qint8", "quint8", "qint32"):
        hi = min(RANGES[dtype][1], 100)
        for shape, axis in (((3, 5), 0), ((3, 5), 1), ((2, 3, 4), 1), ((4, 2, 3, 3), 0), ((2, 2, 2, 5), 3), ((5,), 0), ((3, 0), 0), ((0, 3), 1)):
            n = shape[axis]
            x = rng.normal(0, 4, shape).astype(np.float32)
            out.append(quantize_case(x, dtype, rng.uniform(0.01, 0.9, n).astype(np.float32).tolist(), rng.integers(0, hi, n).tolist(), axis))
        x = np.stack([halves(0.25, 21), halves(0.5, 21)])
        out.append(quantize_case(x, dtype, [0.25, 0.5], [1, hi], 0))
        out.append(quantize_case(np.float32([[np.inf, -np.inf, 1e30, -1e30, 0, 1]]), dtype, [0.25], [1], 0))
    for dtype in ("qint8", "quint8", "quint4x2", "quint2x4"):
        hi = RANGES[dtype][1]
        for shape, axis in (((3, 5), 0), ((3, 5), 1), ((2, 3, 4), 1), ((5, 7), 0), ((5, 8), 0), ((4, 2, 3, 3), 0), ((9,), 0), ((0, 3), 1)):
            n = shape[axis]
            x = rng.uniform(-2, 4, shape).astype(np.float32)
            scales = (rng.uniform(2, 9, n) / (hi + 1)).astype(np.float32).tolist()
            out.append(quantize_case(x, dtype, scales, rng.uniform(-0.5, hi, n).astype(np.float32).tolist(), axis))
        x = np.stack([halves(0.25, 21), halves(0.5, 21)])
        out.append(quantize_case(x, dtype, [0.25, 0.5], [0.5, 300.0], 0))
        out.append(quantize_case(x, dtype, [0.25, 0.5], [1.25, -3.0], 0))
    return out


def refused_cases():
    x = np.float32([[1, 2], [3, 4], [5, 6]])
    cases = [
        (x, "quint8", [0.1], [-1], None),
        (x, "quint8", [0.1], [256], None),
        (x, "qint8", [0.1], [128], None),
        (x, "qint8", [0.1], [-129], None),
        (x, "qint32", [0.1], [2**31], None),
        (x, "quint4x2", [0.1], [-1], None),
        (x, "quint8", [0.1] * 2, [0] * 2, 0),
        (x, "quint8", [0.1] * 3, [0] * 2, 0),
        (x, "quint8", [0.1] * 3, [0, 300, 0], 0),
        (x, "quint8", [0.1] * 3, [0] * 3, 2),
        (x, "quint4x2", [0.1] * 3, [0.5] * 3, 1),
        (np.float32(1.0), "quint8", [0.1], [0], 0),
    ]
    for case in cases:
        try:
            make(*case)
        except (RuntimeError, IndexError):
            continue
        raise SystemExit(f"torch takes {case}")
    return [source(*case) for case in cases]


def described(q):
    out = {"shape": list(q.shape), "ints": q.int_repr().flatten().tolist()}
    if q.qscheme() == torch.per_tensor_affine:
        return {**out, "scales": bits64([q.q_scale()]), "zero_points": [q.q_zero_point()], "axis": None}
    real = q.qscheme() == torch.per_channel_affine_float_qparams
    zero_points = q.q_per_channel_zero_points()
    zero_points = bits32(zero_points.numpy()) if real else zero_points.tolist()
    return {**out, "scales": bits64(q.q_per_channel_scales().tolist()), "zero_points": zero_points, "axis": q.q_per_channel_axis()}


def result(f, args):
    try:
        r = f()
        if isinstance(r, torch.Tensor) and r.is_quantized:
            r.dequantize()  # PyTorch sees some errors only here
            return described(r)
        if isinstance(r, bool):
            return {"flag": r}
        if isinstance(r, torch.Tensor):
            return {"bool": r.flatten().tolist(), "shape": list(r.shape)}
        values, indices = r
        told = args.get("distinct", True)
        return {**described(values), "indices": indices.flatten().tolist() if told else None}
    except (RuntimeError, IndexError) as e:
        return {"error": str(e).splitlines()[0][:40]}



def calls_of(q, x):
    """[name, arguments, function]: what is called on one tensor."""
    rank = q.dim()
    numel = q.numel()
    dims = [*range(-rank - 1, rank + 1)] if rank else [-2, -1, 0, 1]
    calls = []
    add = lambda name, args, f: calls.append([name, args, f])
    views = [[numel], [-1], [1, numel], [2, -1], [-1, 1], list(q.shape), [-1, -1], [numel + 1], [-2, 3], [-1, 0]]
    if numel and numel % 6 == 0:
        views += [[6, numel // 6], [numel // 6, 2, 3], [3, -1, 2]]
    per_tensor = q.qscheme() == torch.per_tensor_affine
    for v in views:
        if per_tensor:
            add("view", {"shape": v}, lambda v=v: q.view(v))
    for a in dims:
        for b in dims[:: max(1, rank - 1)]:
            # PyTorch keeps the number of the channel axis, whatever becomes of the channels.
            if per_tensor:
                add("flatten", {"start": a, "end": b}, lambda a=a, b=b: q.flatten(a, b))
    for d in dims:
        size = q.shape[d] if rank and -rank <= d < rank else 1
        axis = None if per_tensor else q.q_per_channel_axis()
        at = d if d >= 0 else d + rank
        keeps_meaning = per_tensor or at <= axis or not 0 <= at < rank
        if keeps_meaning and q.qscheme() != torch.per_channel_affine_float_qparams:
            for i in {0, -1, size - 1, size, -size - 1}:
                add("select", {"dim": d, "index": i}, lambda d=d, i=i: q.select(d, i))
        for name in ("max", "min"):
            for keep in (False, True):
                add(name + "_dim", {"dim": d, "keepdim": keep}, lambda name=name, d=d, keep=keep: getattr(q, name)(d, keep))
        for descending in (False, True):
            add("sort", {"dim": d, "descending": descending}, lambda d=d, o=descending: q.sort(dim=d, descending=o, stable=True))
            for k in {0, 1, size, size + 1} if rank else {1, 2}:
                lines = q.int_repr().movedim(at, -1).reshape(-1, size).tolist() if rank and 0 <= at < rank and numel else []
                distinct = all(len(set(line)) == len(line) for line in lines)
                args = {"k": k, "dim": d, "largest": descending, "distinct": distinct}
                add("topk", args, lambda k=k, d=d, o=descending: q.topk(k, d, o))
    for name in ("max", "min"):
        add(name, {}, lambda name=name: getattr(q, name)())
    for reduced in [[], *[[d] for d in dims], list(range(rank)), [-1, -2], [0, 0]]:
        for keep in (False, True):
            if numel and (not per_tensor or clear_mean(q, reduced)):
                add("mean", {"dims": reduced, "keepdim": keep}, lambda r=reduced, keep=keep: q.mean(r, keep))
    wide = [2, *q.shape]
    for sizes in (list(q.shape), wide, [-1] * rank, [-1, *q.shape], [3, *[-1] * rank], [*q.shape, 2], list(q.shape)[1:], [-2] * rank, [4] * rank):
        add("expand", {"sizes": sizes}, lambda s=sizes: q.expand(s))
    for sizes, strides, offset in (([2, 2], [1, 1], 0), ([2, 3], [3, 1], 0), ([2, 2], [1, 2], 1), ([numel], [1], 0), ([numel], [1], 1), ([2], [1, 1], 0), ([0, 2], [9, 1], 99), ([3, 2], [0, 1], 0), ([2, 2], [10**6, 1], 0)):
        add("as_strided", {"sizes": sizes, "strides": strides, "offset": offset}, lambda a=sizes, b=strides, c=offset: q.as_strided(a, b, c))
    small = [1, max(1, numel // 2)]
    if numel:
        add("resize_", {"shape": small}, lambda: q.clone().resize_(small))
    y = np.asarray(x * np.float32(0.5), np.float32)
    real = torch.from_numpy(y)
    other = torch.quantize_per_tensor(real, 0.2, 2, torch.quint8)
    first = real.reshape(-1)[:1]
    for name in ("eq", "ne", "ge", "le", "gt", "lt"):
        for scalar in (0.25, float(np.float32(0.3))):
            add(name, {"scalar": scalar}, lambda name=name, s=scalar: getattr(q, name)(s))
        for label, t in (("f32", real), ("f64", real.double())):
            args = {"dense": label, "x": bits32(t.float().numpy()), "shape": list(t.shape)}
            add(name, args, lambda name=name, t=t: getattr(q, name)(t))
        if numel:
            args = {"dense": "f32", "x": bits32(first.numpy()), "shape": [1]}
            add(name, args, lambda name=name: getattr(q, name)(first))
        bad = torch.zeros(2, 7)
        add(name, {"dense": "f32", "x": bits32(bad.numpy()), "shape": [2, 7]}, lambda name=name: getattr(q, name)(bad))
        args = {"quantized": source(y, "quint8", [0.2], [2], None)}
        add(name, args, lambda name=name: getattr(q, name)(other))
        add(name, {"self": True}, lambda name=name: getattr(q, name)(q))
    return calls


def clear_mean(q, dims):
    """Whether PyTorch's mean over these dimensions is what exact arithmetic gives: over the innermost, or nowhere nearly a tie."""
    rank = q.dim()
    if any(not -max(rank, 1) <= d < max(rank, 1) for d in dims) or rank == 0:
        return True
    at = sorted({d % rank for d in dims}) if dims else list(range(rank))
    if at == list(range(rank - len(at), rank)):
        return True
    means = q.int_repr().double().mean(at).numpy()
    return bool((np.abs(means - np.floor(means) - 0.5) > 1e-3).all())


def copies_of(q, dtype, x):
    """copy_ and equal."""
    x = np.asarray(x)
    calls = []
    add = lambda name, args, f: calls.append([name, args, f])
    doubled = np.asarray(x * np.float32(2), np.float32)
    t = torch.from_numpy(doubled)
    if q.qscheme() != torch.per_channel_affine_float_qparams:
        add("copy_from_float_", {"x": bits32(doubled), "shape": list(doubled.shape)}, lambda: q.clone().copy_(t))
        if x.ndim > 1:
            flat = t.reshape(-1)
            add("copy_from_float_", {"x": bits32(flat.numpy()), "shape": list(flat.shape)}, lambda: q.clone().copy_(flat))
        per_tensor = source(doubled, dtype, [0.3], [1], None)
        add("copy_", {"quantized": per_tensor}, lambda: q.clone().copy_(make(doubled, dtype, [0.3], [1], None)))
        other = "quint8" if dtype != "quint8" else "qint8"
        add("copy_", {"quantized": source(doubled, other, [0.3], [1], None)}, lambda: q.clone().copy_(make(doubled, other, [0.3], [1], None)))
        if x.ndim:
            n = x.shape[0]
            channels = (doubled, dtype, [0.25 + 0.125 * i for i in range(n)], list(range(n)), 0)
            if n:
                add("copy_", {"quantized": source(*channels)}, lambda: q.clone().copy_(make(*channels)))
                row = doubled[:1]
                add("copy_", {"quantized": source(row, dtype, [0.3], [1], None)}, lambda: q.clone().copy_(make(row, dtype, [0.3], [1], None)))
    for scales, zero_points, axis in (([0.3], [1], None), ([0.1], [3], None)):
        args = source(x, dtype, scales, zero_points, axis)
        add("equal", {"quantized": args}, lambda s=scales, z=zero_points, a=axis: q.equal(make(x, dtype, s, z, a)))
    add("equal", {"self": True}, lambda: q.equal(q))
    return calls


def method_cases():
    out = []
    sources = []
    for dtype in ("qint8", "quint8", "qint32"):
        for shape in ((3, 4), (2, 3, 2), (5,), (), (0, 3), (1, 6)) if dtype == "qint8" else ((3, 4),):
            x = rng.normal(0, 1, shape).astype(np.float32)
            sources.append((x, dtype, [0.1], [3], None))
        ties = (rng.integers(0, 4, (3, 6)) / 4).astype(np.float32)
        sources.append((ties, dtype, [0.25], [0], None))
    for shape, axis in (((3, 4), 0), ((3, 4), 1), ((2, 3, 2), 1), ((4, 2, 3), 0)):
        n = shape[axis]
        x = rng.normal(0, 1, shape).astype(np.float32)
        sources.append((x, "qint8", [0.125 * (i + 1) for i in range(n)], list(range(n)), axis))
        sources.append((x, "quint8", [0.0625 * (i + 1) for i in range(n)], [0.5 + 7.0 * i for i in range(n)], axis))
    for x, dtype, scales, zero_points, axis in sources:
        q = make(x, dtype, scales, zero_points, axis)
        calls = [[name, args, result(f, args)] for name, args, f in calls_of(q, x) + copies_of(q, dtype, x)]
        out.append({"source": source(x, dtype, scales, zero_points, axis), "calls": calls})
    return out


def decomposed_cases():
    out = []
    ops = torch.ops.quantized_decomposed
    types = ((torch.uint8, 0, 255), (torch.int8, -128, 127), (torch.int8, -127, 127), (torch.int16, -32768, 32767), (torch.int16, -100, 100))
    for dtype, lo, hi in types:
        for scale in (0.25, float(np.float32(0.0123)), 0.1):
            for zero_point in (max(lo, 0), min(hi, 77)):
                x = np.concatenate([halves(scale, 21), rng.normal(0, scale * hi / 2, 20), [1e30, -1e30]]).astype(np.float32)
                q = ops.quantize_per_tensor(torch.from_numpy(x), scale, zero_point, lo, hi, dtype)
                back = ops.dequantize_per_tensor(q, scale, zero_point, lo, hi, dtype)
                name = {torch.uint8: "u8", torch.int8: "i8", torch.int16: "i16"}[dtype]
                out.append([name, lo, hi, bits32(x), bits32([scale]), zero_point, q.tolist(), bits32(back.numpy())])
    return out


def choose_cases():
    out = []
    for i in range(400):
        kind = i % 8
        scale = 10.0 ** rng.uniform(-45 if kind == 7 else -7, 6)
        lo, hi = sorted((rng.normal(size=2) * scale).astype(np.float32))
        if kind == 1:
            hi = lo
        if kind == 2:
            lo, hi = np.float32(0), abs(hi)
        if kind == 3:
            lo, hi = -abs(lo), np.float32(0)
        if kind == 4:
            lo, hi = -abs(hi), abs(hi)
        if kind == 5:
            lo, hi = np.float32(-1e-5 * rng.uniform()), np.float32(1e-5 * rng.uniform())
        if kind == 6 and i < 8:
            lo, hi = np.float32(0), np.float32(0)
        for reduce_range in (False, True):
            s, z = torch._choose_qparams_per_tensor(torch.tensor([lo, hi]), reduce_range)
            out.append([bits32([lo]), bits32([hi]), reduce_range, bits64([s]), z])
    return out


def main():
    golden = {
        "torch": "2.8.0",
        "quantize": quantize_cases(),
        "refused": refused_cases(),
        "methods": method_cases(),
        "decomposed": decomposed_cases(),
        "choose_qparams": choose_cases(),
    }
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "crates/tensor/tests/golden/quantized_tensor.json"
    rows = lambda items: "[\n" + ",\n".join(json.dumps(i, separators=(",", ":")) for i in items) + "\n]"
    body = ",\n".join(f"{json.dumps(k)}: " + (rows(v) if isinstance(v, list) else json.dumps(v)) for k, v in golden.items())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("{\n" + body + "\n}\n")
    calls = sum(len(m["calls"]) for m in golden["methods"])
    print(f"{out}: {len(golden['quantize'])} quantized, {calls} calls, {out.stat().st_size} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
