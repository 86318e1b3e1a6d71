#!/usr/bin/env python3
"""Golden values of Resize and Upsample: every mode that is imported, over one to three spatial dimensions, growing and shrinking, by
scales and by sizes, in the opsets where the operators' form changed, run by onnxruntime.

usage: golden_onnx_resize.py OUT.json        (needs onnx, onnxruntime, numpy)
"""
import itertools
import sys

import numpy as np
from onnx import helper

from onnx_cases import case, write

COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
# Scales with products that f32 rounds to a whole number (5 * 1.4), with places halfway between pixels and on their edges.
SCALES = {
    (20,): [[0.3], [1.4], [1.7], [2.0], [0.05]],
    (5, 7): [[1.4, 0.5], [0.6, 1.7], [1.1, 1.0], [3.0, 2.0], [0.25, 0.15]],
    (3, 4, 2): [[1.7, 0.6, 2.0], [0.4, 1.3, 1.5], [1.2, 1.2, 1.2]],
}
SIZES = {(20,): [[6], [1], [33]], (5, 7): [[1, 3], [10, 7], [7, 16]], (3, 4, 2): [[5, 1, 3], [2, 8, 2]]}


def combinations(opset):
    """The attributes of the nodes."""
    if opset < 11:
        return [{"mode": mode} for mode in ["nearest", "linear"]]
    # The later opsets add nothing to these modes: some of them will do.
    coordinates = COORDINATES if opset == 13 else COORDINATES[:4] if opset < 13 else COORDINATES[:2]
    nearest = [
        {"mode": "nearest", "coordinate_transformation_mode": c, "nearest_mode": n}
        for c, n in itertools.product(coordinates, NEAREST if opset == 13 else NEAREST[:2])
    ]
    return nearest + [{"mode": "linear", "coordinate_transformation_mode": c} for c in coordinates]


def resize(opset, spatial, kind, values):
    # Numbers with few digits keep the file small.
    x = (np.arange(np.prod(spatial)) * 7 % 10).astype(np.float32).reshape(1, 1, *spatial)
    nodes, consts, names = [], {}, []
    target = np.array([1, 1, *values], np.float32 if kind == "scales" else np.int64)
    for attrs in combinations(opset):
        names.append("_".join(attrs.values()))
        if opset < 9:
            inputs, attrs = ["x"], attrs | {"scales": [float(v) for v in target]}
        else:
            consts["t"] = target
            inputs = ["x", "t"] if opset < 11 else ["x", "", "t"] if kind == "scales" else ["x", "", "", "t"]
        if opset in (11, 12):
            # Their roi and scales can't be left out.
            consts["none"] = np.zeros(0, np.float32)
            inputs = [i or "none" for i in inputs]
        nodes.append(helper.make_node("Upsample" if opset < 10 else "Resize", inputs, [names[-1]], **attrs))
    case(f"{kind}_{values}_of_{spatial}_opset_{opset}", nodes, {"x": x}, opset, consts, names)


for opset in [7, 9, 10, 11, 13, 18, 19]:
    for kind, targets in {"scales": SCALES, "sizes": SIZES}.items() if opset >= 11 else [("scales", SCALES)]:
        for spatial, values in targets.items():
            possible = [v for v in values if opset >= 10 or min(v) >= 1]
            for v in possible if opset in (10, 13) else possible[:1]:
                resize(opset, spatial, kind, v)
write(sys.argv[1])
