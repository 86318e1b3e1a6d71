#!/usr/bin/env python3
"""Write crates/quant/tests/golden/presets.json: the arguments of PyTorch's presets. golden_presets.py [OUT.json]

    pip install torch==2.8.0 numpy==2.4.6

`observers`, `fake_quants` and `qconfigs`: name in torch.ao.quantization -> what it builds; a QConfig is {"activation", "weight"}.
`backends`: [function, backend, version, QConfig]. What is built is {"class"} and those of its attributes that matter: floats as the
bits of an f32, `state` the names of its buffers, `quant_min` and `quant_max` as computed from dtype and reduce_range, `observer` of a fake-quantize module.
"""
import json
import struct
import sys
import warnings
from pathlib import Path

import torch
from torch.ao.quantization import fake_quantize, observer, qconfig

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")


def bits(x) -> str:
    return struct.pack(">f", float(x)).hex()


def short(x) -> str:
    return str(x).removeprefix("torch.")


def describe(built):
    """The attributes of an observer, a fake-quantize module or Identity."""
    out = {"class": type(built).__name__, "state": sorted(built.state_dict())}
    if isinstance(built, fake_quantize.FakeQuantizeBase):
        return out | {"observer": describe(built.activation_post_process)}
    if isinstance(built, torch.nn.Identity):
        return out
    out |= {"dtype": short(built.dtype), "is_dynamic": built.is_dynamic}
    if hasattr(built, "qscheme"):
        out["qscheme"] = short(built.qscheme)
    for name in ("quant_min", "quant_max", "reduce_range", "has_customized_qrange", "ch_axis"):
        if hasattr(built, name):
            out[name] = getattr(built, name)
    for name in ("eps", "averaging_constant", "scale"):
        if hasattr(built, name):
            out[name] = bits(getattr(built, name))
    if hasattr(built, "zero_point"):
        out["zero_point"] = int(built.zero_point)
    return out


def describe_qconfig(q):
    return {"activation": describe(q.activation()), "weight": describe(q.weight())}


def main():
    observers = [n for n in observer.__all__ if n.startswith("default_") or "neg_127" in n]
    fake_quants = [n for n in fake_quantize.__all__ if n.startswith("default_") or "neg_127" in n]
    qconfigs = [n for n in qconfig.__all__ if n.endswith(("qconfig", "qconfig_v2", "qconfig_4bit")) and not n.startswith("get_")]
    backends = []
    for backend in ("fbgemm", "x86", "qnnpack", "onednn"):
        backends.append(["get_default_qconfig", backend, 0, describe_qconfig(qconfig.get_default_qconfig(backend, 0))])
        for version in (0, 1):
            q = qconfig.get_default_qat_qconfig(backend, version)
            backends.append(["get_default_qat_qconfig", backend, version, describe_qconfig(q)])
    golden = {
        "torch": "2.8.0",
        "observers": {n: describe(getattr(observer, n)()) for n in observers},
        "fake_quants": {n: describe(getattr(fake_quantize, n)()) for n in fake_quants},
        "qconfigs": {n: describe_qconfig(getattr(qconfig, n)) for n in qconfigs},
        "backends": backends,
    }
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "crates/quant/tests/golden/presets.json"
    out.write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{out}: {len(observers)} observers, {len(fake_quants)} fake-quantize modules, {len(qconfigs)} QConfigs, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
