#!/usr/bin/env python3
"""Train the model that `quantc demo` embeds and write crates/quantc/demo/: train_digits.py [OUTDIR]

A small convolutional network on the UCI optical digits (1797 real 8x8 images of handwritten digits, values 0..16, which
scikit-learn ships). Its blocks are the ones that matter to a quantization compiler: conv + bn + relu, a residual addition,
a depthwise / pointwise block with hard-swish, max pooling, global average pooling and a linear layer. Batch norms are
exported unfolded, so that folding them is quantc's own work.

    pip install torch==2.8.0 onnx==1.23.2 onnxruntime==1.31.1 scikit-learn==1.9.1 numpy==2.4.6

Seeded and single-threaded: the same versions on the same CPU family give the same file.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20
EPOCHS = 60
BATCH = 64
TEST_SIZE = 450
CALIBRATION_SIZE = 256
MEAN, STD = 4.9, 6.0  # of the pixels, rounded: the values are 0..16


class ConvBnRelu(nn.Sequential):
    def __init__(self, cin: int, cout: int):
        super().__init__(nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions and an addition followed by ReLU (a ResNet basic block)."""

    def __init__(self, channels: int):
        super().__init__()
        self.block1 = ConvBnRelu(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return torch.relu(x + self.bn2(self.conv2(self.block1(x))))


class DepthwiseSeparable(nn.Module):
    """A depthwise and a pointwise convolution with hard-swish (a MobileNetV3 block without the expansion)."""

    def __init__(self, cin: int, cout: int):
        super().__init__()
        self.depthwise = nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False)
        self.bn1 = nn.BatchNorm2d(cin)
        self.relu = nn.ReLU()
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.act = nn.Hardswish()

    def forward(self, x):
        x = self.relu(self.bn1(self.depthwise(x)))
        return self.act(self.bn2(self.pointwise(x)))


class DigitsCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBnRelu(1, 16)
        self.layer1 = Residual(16)
        self.pool = nn.MaxPool2d(2)
        self.layer2 = ConvBnRelu(16, 32)
        self.layer3 = DepthwiseSeparable(32, 64)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.pool(self.layer1(self.stem(x)))
        x = self.avgpool(self.layer3(self.layer2(x)))
        return self.fc(torch.flatten(x, 1))


def normalise(images: np.ndarray) -> torch.Tensor:
    """u8 NHWC to the model's input: ((x - mean) / std) in NCHW, as digits_preprocess.json says."""
    x = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The batch moved by up to one pixel each way (the border is background): the only augmentation."""
    dy, dx = (int(v) for v in torch.randint(-1, 2, (2,), generator=generator))
    background = (0.0 - MEAN) / STD
    padded = nn.functional.pad(x, (1, 1, 1, 1), value=background)
    return padded[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx]


def train(x: torch.Tensor, y: torch.Tensor) -> DigitsCnn:
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = DigitsCnn()
    steps = EPOCHS * ((len(x) + BATCH - 1) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for epoch in range(EPOCHS):
        total = 0.0
        for part in torch.randperm(len(x), generator=generator).split(BATCH):
            loss = loss_of(model(shifted(x[part], generator)), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total / len(x):.4f}")
    return model.eval()


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "crates/quantc/demo"
    out.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=TEST_SIZE, random_state=SEED, stratify=labels
    )
    model = train(normalise(train_x), torch.from_numpy(train_y))

    path = out / "digits_cnn.onnx"
    torch.onnx.export(
        model,
        (normalise(test_x[:2]),),
        str(path),
        opset_version=17,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,  # eval mode would fold the batch norms
        do_constant_folding=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)

    np.save(out / "digits_calib_x.npy", train_x[:CALIBRATION_SIZE])
    np.save(out / "digits_test_x.npy", test_x)
    np.save(out / "digits_test_y.npy", test_y)
    preprocess = {"layout": "nhwc", "mean": [MEAN], "std": [STD], "channel_order": "rgb"}
    (out / "digits_preprocess.json").write_text(json.dumps(preprocess) + "\n")

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": normalise(test_x).numpy()})
    with torch.no_grad():
        reference = model(normalise(test_x)).numpy()
    ops = [node.op_type for node in onnx.load(path).graph.node]
    print("operators:", {op: ops.count(op) for op in dict.fromkeys(ops)})
    print("parameters:", sum(p.numel() for p in model.parameters()), "bytes:", path.stat().st_size)
    print(f"onnxruntime against torch: max abs {np.abs(logits - reference).max():.2e}")
    print(f"test accuracy: {(logits.argmax(1) == test_y).mean():.4f} of {len(test_y)}")


if __name__ == "__main__":
    main()
