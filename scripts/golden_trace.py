#!/usr/bin/env python3
"""Golden values of traced descriptions: a PyTorch model of the layouts that differ from ours (LSTM, GRU, attention), its weights as
safetensors, and what PyTorch computes; and leaf modules one by one, with hashed parameters and inputs (descriptions.py).

usage: golden_trace.py OUT_DIR    (needs torch==2.8.0; writes trace.json, trace.safetensors and modules.json)
"""
import json
import struct
import sys

import torch
from torch import nn

import descriptions

if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
# Sizes of the input, type, hyper-parameters.
MODULES = [
    ([2, 4, 7], "ConvTranspose1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    ([2, 3, 4, 5], "ConvTranspose2d", {"in_channels": 3, "out_channels": 2, "kernel_size": [3, 2], "stride": [2, 3], "dilation": [1, 2], "bias": False}),
    ([1, 2, 3, 3, 2], "ConvTranspose3d", {"in_channels": 2, "out_channels": 3, "kernel_size": 2, "stride": 2, "padding": [0, 1, 0]}),
    ([2, 6, 3, 4], "GroupNorm", {"num_groups": 3, "num_channels": 6, "eps": 1e-3}),
    ([2, 4], "GroupNorm", {"num_groups": 2, "num_channels": 4, "affine": False}),
    ([2, 3, 9], "InstanceNorm1d", {"num_features": 3}),
    ([2, 3, 4, 5], "InstanceNorm2d", {"num_features": 3, "affine": True}),
    ([2, 2, 3, 2, 4], "InstanceNorm3d", {"num_features": 2, "affine": True, "eps": 0.1}),
    ([2, 3, 4], "LayerNorm", {"normalized_shape": [3, 4], "elementwise_affine": False}),
    ([2, 3, 4], "LayerNorm", {"normalized_shape": 4, "bias": False}),
    ([2, 2, 3, 4, 5], "BatchNorm3d", {"num_features": 2}),
    ([2, 2, 9], "MaxPool1d", {"kernel_size": 3, "stride": 2, "dilation": 2}),
    ([1, 2, 5, 6, 7], "MaxPool3d", {"kernel_size": [2, 3, 2], "stride": 2, "padding": [0, 1, 1], "ceil_mode": True}),
    ([1, 2, 5, 6, 7], "AvgPool3d", {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ([2, 2, 9], "AvgPool1d", {"kernel_size": 4, "padding": 2, "ceil_mode": True}),
    ([1, 2, 5, 6, 7], "AdaptiveAvgPool3d", {"output_size": [2, 3, 4]}),
    ([2, 2, 9], "AdaptiveAvgPool1d", {"output_size": 4}),
    ([1, 2, 3, 4], "Upsample", {"scale_factor": 2}),
    ([1, 2, 3, 4], "Upsample", {"size": [5, 7]}),
    ([1, 2, 5], "Upsample", {"scale_factor": 2.5, "mode": "linear"}),
    ([1, 2, 3, 4], "Upsample", {"scale_factor": [1.5, 2], "mode": "bilinear"}),
    ([1, 2, 3, 4], "Upsample", {"size": [7, 2], "mode": "bilinear", "align_corners": True}),
    ([1, 2, 3, 4], "Upsample", {"size": [7, 3], "mode": "nearest-exact"}),
    ([1, 2, 3, 2, 4], "Upsample", {"size": 5, "mode": "trilinear"}),
    ([1, 2, 3, 4], "UpsamplingNearest2d", {"scale_factor": 3}),
    ([1, 2, 3, 4], "UpsamplingBilinear2d", {"size": 6}),
    ([2, 8, 2, 3], "PixelShuffle", {"upscale_factor": 2}),
    ([2, 2, 4, 6], "PixelUnshuffle", {"downscale_factor": 2}),
    ([2, 3, 4], "CELU", {"alpha": 0.3}),
    ([2, 3, 4], "Threshold", {"threshold": 0.1, "value": -2.0}),
    ([2, 3, 4], "Hardtanh", {"min_val": -0.4, "max_val": 0.7}),
    ([2, 3, 4], "PReLU", {}),
    ([2, 3, 4, 2], "PReLU", {"num_parameters": 3}),
]


def module(shape, name, arguments):
    """A description of the module alone, and what PyTorch computes."""
    dims = ",".join(str(d) for d in shape)
    description = {
        "name": name, "inputs": {"x": f"f32[{dims}]"}, "outputs": ["y"],
        "modules": {"m": {"type": name, **arguments}}, "forward": ["return m(x)"],
    }
    y = descriptions.build(description)(*descriptions.example(description, {}, "c"))
    return {"description": description, "shape": list(y.shape), "data": [float(str(v)) for v in y.detach().numpy().ravel()]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 4, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 6, batch_first=True)
        self.self_attn = nn.MultiheadAttention(6, 2, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(6, 3, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.bn = nn.BatchNorm1d(5)
        self.conv = nn.Conv1d(5, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(3, 2)

    def forward(self, ids):
        e = self.embedding(ids)
        y, (h, c) = self.lstm(e)
        z, s = self.gru(y)
        a = self.self_attn(z, z, z)[0]
        b = self.norm(self.cross_attn(a, z, e)[0] + z)
        return self.fc(self.conv(self.bn(b))), h, c, s


torch.manual_seed(3)
net = Net().eval()
with torch.no_grad():
    for name, buffer in list(net.named_parameters()) + list(net.named_buffers()):
        if buffer.dtype == torch.float32:
            buffer.copy_(torch.rand_like(buffer) + 0.2 if name.endswith("var") else torch.randn_like(buffer) * 0.5)
    ids = torch.randint(0, 11, (2, 5))
    outputs = net(ids)
header, blob = {}, b""
for name, t in net.state_dict().items():
    data = t.numpy().tobytes()
    kind = {torch.float32: "F32", torch.int64: "I64"}[t.dtype]
    header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
    blob += data
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(f"{sys.argv[1]}/trace.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + blob)
json.dump({"ids": ids.flatten().tolist(), "outputs": [{"shape": list(o.shape), "data": [float(str(v)) for v in o.numpy().ravel()]} for o in outputs]},
          open(f"{sys.argv[1]}/trace.json", "w"), indent=1)
golden = [json.dumps(module(*m)) for m in MODULES]
open(f"{sys.argv[1]}/modules.json", "w").write("[\n" + ",\n".join(golden) + "\n]\n")
