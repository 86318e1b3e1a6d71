#!/usr/bin/env python3
"""Golden values of PyTorch's dynamically quantized convolutions (torch.ao.nn.quantized.dynamic.Conv1d to ConvTranspose3d).

usage: golden_dynamic_conv.py OUT.json    (torch 2.8.0; CPU; deterministic)

They are in no default mapping: torch.ao.quantization.quantize_dynamic is given one. Each case: the module's hyper-parameters, its float weights,
input and float output, the integer weight and scales, and for each range of the activations (forward halves it) the input's scale and zero
point and the output of the quantized module. The engine is fbgemm; with x86 and onednn the transposed modules of torch 2.8.0 give something
else altogether (-3 to 0 dB), the others the same as with fbgemm. Floats are their shortest decimal that reads back as the same f32.
"""
import json
import sys
import warnings

import torch
import torch.ao.nn.quantized.dynamic as nnqd
from torch import nn
from torch.ao.quantization import default_dynamic_qconfig, per_channel_dynamic_qconfig, quantize_dynamic

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
TYPES = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]
MAPPING = {getattr(nn, name): getattr(nnqd, name) for name in TYPES}
QCONFIGS = {"per_tensor": default_dynamic_qconfig, "per_channel": per_channel_dynamic_qconfig}


def tensor(t):
    t = t.detach()
    data = [float(str(v)) for v in t.numpy().ravel()] if t.dtype == torch.float32 else t.numpy().ravel().tolist()
    return {"dtype": {torch.float32: "f32", torch.int8: "i8"}[t.dtype], "shape": list(t.shape), "data": data}


def qweight(w):
    if w.qscheme() == torch.per_channel_affine:
        assert int(w.q_per_channel_zero_points().abs().max()) == 0
        return tensor(w.int_repr()), tensor(w.q_per_channel_scales().float())
    assert w.q_zero_point() == 0
    return tensor(w.int_repr()), tensor(torch.tensor([w.q_scale()], dtype=torch.float32))


def case(module, x, scheme):
    model = nn.Sequential(module).eval()
    quantized = quantize_dynamic(model, {type(module): QCONFIGS[scheme]}, mapping=MAPPING)
    assert type(quantized[0]) is MAPPING[type(module)]
    weight, scales = qweight(quantized[0].weight())
    fields = ["stride", "padding", "dilation", "output_padding"]
    ranges = []
    with torch.no_grad():
        expected = model(x)
        for reduce_range in [True, False]:
            scale, zero_point = torch._choose_qparams_per_tensor(x, reduce_range)
            y = quantized[0](x, reduce_range=reduce_range)
            assert not reduce_range or y.equal(quantized(x))
            ranges.append({"reduce_range": reduce_range, "scale": tensor(torch.tensor([scale])), "zero_point": zero_point,
                           "quantized": tensor(y)})
    return {
        "module": type(module).__name__,
        "scheme": scheme,
        "params": {name: list(getattr(module, name)) for name in fields} | {"groups": module.groups},
        "weight": tensor(module.weight),
        "bias": None if module.bias is None else tensor(module.bias),
        "ints": weight,
        "scales": scales,
        "input": tensor(x),
        "float": tensor(expected),
        "ranges": ranges,
    }


def main(path):
    torch.manual_seed(11)
    torch.backends.quantized.engine = "fbgemm"
    cases = []
    for scheme in QCONFIGS:
        modules = [
            (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
            (nn.Conv1d(4, 6, 3, groups=2, dilation=2, bias=False), (2, 4, 9)),
            (nn.Conv2d(4, 8, 3, padding=1), (2, 4, 6, 5)),
            (nn.Conv2d(4, 8, (3, 2), stride=(2, 1), padding=(1, 0), groups=4), (2, 4, 6, 5)),
            (nn.Conv3d(4, 6, (2, 3, 3), padding=(1, 1, 0)), (2, 4, 4, 5, 4)),
            (nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 6)),
            (nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), padding=1), (2, 4, 5, 4)),
            (nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2, bias=False), (2, 4, 5, 4)),
            (nn.ConvTranspose3d(4, 6, 2, stride=(2, 1, 2)), (2, 4, 3, 3, 3)),
        ]
        for module, shape in modules:
            if scheme == "per_channel" and isinstance(module, nn.modules.conv._ConvTransposeNd):
                continue  # PyTorch refuses it
            # One input is of numbers from 0 on: its zero point is 0.
            cases.append(case(module, torch.randn(shape) + (3.5 if isinstance(module, nn.Conv3d) else 0.4), scheme))
    with open(path, "w") as f:
        json.dump({"torch": torch.__version__.split("+")[0], "engine": torch.backends.quantized.engine, "cases": cases}, f, separators=(",", ":"))
        f.write("\n")


main(sys.argv[1])
