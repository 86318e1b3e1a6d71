#!/usr/bin/env python3
"""Write graphs with seeded random weights, for timing: make_graphs.py OUTDIR [--batch N]

    pip install torch==2.8.0 torchvision==0.23.0 onnx==1.23.2

resnet18, resnet50 and mobilenet_v2 are torchvision's, at 1x3x224x224 with batch norm folded by the exporter. The last batch norm of each
residual branch is damped, so that the activations stay in range through the depth of the network: the outputs then say something about
quantization error, if nothing about images. encoder is a transformer encoder on 1x128x384: 6 layers of 12 heads, feed-forward 1536, GELU.
"""
import argparse
import warnings
from pathlib import Path

import torch
import torchvision
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

DAMPING = 0.25
IMAGE = (3, 224, 224)


def damp(model):
    for module in model.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.constant_(module.bn3.weight, DAMPING)
        elif isinstance(module, BasicBlock):
            torch.nn.init.constant_(module.bn2.weight, DAMPING)
        elif isinstance(module, InvertedResidual) and module.use_res_connect:
            torch.nn.init.constant_(module.conv[-1].weight, DAMPING)


def convolutional(name):
    """A torchvision model."""
    model = torchvision.models.get_model(name, weights=None)
    damp(model)
    # Batch statistics of one random batch, so that every layer's output has a sensible scale.
    model.train()
    with torch.no_grad():
        for m in model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.momentum = 1.0
        model(torch.randn(8, *IMAGE))
    return model


def encoder():
    """A transformer encoder."""
    # The fused operator has no ONNX form.
    torch.backends.mha.set_fastpath_enabled(False)
    layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, activation="gelu", batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    # The layers are copies, whose equal weights the exporter would store once.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.xavier_uniform_(parameter)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name in ("resnet18", "resnet50", "mobilenet_v2", "encoder"):
        torch.manual_seed(0)
        model, shape = (encoder(), (128, 384)) if name == "encoder" else (convolutional(name), IMAGE)
        model.eval()
        path = args.out / f"{name}.onnx"
        x = torch.randn(args.batch, *shape)
        torch.onnx.export(model, (x,), str(path), opset_version=17, dynamo=False, input_names=["input"], output_names=["output"])
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
