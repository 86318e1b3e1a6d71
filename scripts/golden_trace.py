#!/usr/bin/env python3
"""Golden values of traced descriptions: a PyTorch model of the layouts that differ from ours (LSTM, GRU, attention), its weights as
safetensors, and what PyTorch computes.

usage: golden_trace.py OUT_DIR    (needs torch; writes trace.json and trace.safetensors)
"""
import json
import struct
import sys

import torch
from torch import nn


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
