#!/usr/bin/env python3
"""Write resnet50.onnx and mobilenet_v2.onnx with seeded random weights, for timing: make_graphs.py OUTDIR [--batch N]

    pip install torch==2.8.0 torchvision==0.23.0 onnx==1.23.2

The graphs are torchvision's, at 1x3x224x224 with batch norm folded by the exporter. The last batch norm of each residual branch is damped, so
that the activations stay in range through the depth of the network: the outputs then say something about quantization error, if nothing
about images.
"""
import argparse
import warnings
from pathlib import Path

import torch
import torchvision
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck

DAMPING = 0.25


def damp(model):
    for module in model.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.constant_(module.bn3.weight, DAMPING)
        elif isinstance(module, InvertedResidual) and module.use_res_connect:
            torch.nn.init.constant_(module.conv[-1].weight, DAMPING)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name in ("resnet50", "mobilenet_v2"):
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None)
        damp(model)
        # Batch statistics of one random batch, so that every layer's output has a sensible scale.
        model.train()
        with torch.no_grad():
            for m in model.modules():
                if isinstance(m, torch.nn.BatchNorm2d):
                    m.momentum = 1.0
            model(torch.randn(8, 3, 224, 224))
        model.eval()
        path = args.out / f"{name}.onnx"
        x = torch.randn(args.batch, 3, 224, 224)
        torch.onnx.export(model, (x,), str(path), opset_version=17, dynamo=False, input_names=["input"], output_names=["output"])
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
