#!/usr/bin/env python3
"""Write crates/quant/tests/golden/reference.json: outputs of convert_to_reference_fx, with the parameters of every observer.
golden_reference.py

    pip install torch==2.8.0

Models are those of placement_models.json and models/, calibrated with MinMaxObserver and PerChannelMinMaxObserver on the hashed inputs "a" and
"b" and run on "c". The deep ones have parameters and scales with which float arithmetic is exact (`descriptions.fill`): otherwise one value that
rounding errors push over the middle between two steps changes everything behind it (turning mkldnn off moves resnet18's output by 37 dB).
`models`: name -> {"shape": the input's sizes, "places": [[key of the value, scale, zero point], ..], "reference": output,
"float": output}. Floats are written with all their digits.
"""
import json
import math
import warnings

import torch
from torch import nn
from torch.ao.quantization import QConfig
from torch.ao.quantization.backend_config import get_fbgemm_backend_config
from torch.ao.quantization.observer import MinMaxObserver, PerChannelMinMaxObserver
from torch.ao.quantization.qconfig_mapping import _get_default_qconfig_mapping_with_default_qconfig as default_mapping
from torch.ao.quantization.quantize_fx import convert_to_reference_fx, prepare_fx

import descriptions
from golden_placement import GOLDEN, ROOT, keys

warnings.filterwarnings("ignore")
SIZES = {"resnet18": 64, "mobilenet_v2": 64}


class PowerOfTwoObserver(MinMaxObserver):
    """MinMaxObserver with the scale rounded up to a power of two."""

    def calculate_qparams(self):
        lo, hi = min(self.min_val.item(), 0.0), max(self.max_val.item(), 0.0)
        scale = 2.0 ** math.ceil(math.log2((hi - lo) / 255))
        return torch.tensor([scale]), torch.tensor([max(0, min(255, round(-lo / scale)))])


def qconfig(observer):
    return QConfig(
        activation=observer.with_args(dtype=torch.quint8, qscheme=torch.per_tensor_affine),
        weight=PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric),
    )


def reference(description):
    for name, ty in description["inputs"].items():
        size = SIZES.get(description["name"])
        description["inputs"][name] = ty.replace("224", str(size)) if size else ty
    deep = description["name"] in SIZES
    model = descriptions.build(description, exact=deep)
    names = keys(model)
    inputs = lambda seed: descriptions.example(description, {"N": 2}, seed)
    config = qconfig(PowerOfTwoObserver if deep else MinMaxObserver)
    mapping = default_mapping(False, "fbgemm", config)
    # As PyTorch's default mappings have it: it has no scale for each channel of a transposed convolution.
    whole = MinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    for transposed in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
        mapping.set_object_type(transposed, QConfig(config.activation, whole))
    prepared = prepare_fx(model, mapping, tuple(inputs("a")), backend_config=get_fbgemm_backend_config())
    with torch.no_grad():
        for seed in "ab":
            prepared(*inputs(seed))
        float_output = model(*inputs("c"))
        places = []
        for node in prepared.graph.nodes:
            if node.op == "call_module" and node.target.startswith("activation_post_process"):
                scale, zero_point = getattr(prepared, node.target).calculate_qparams()
                places.append([names[node.args[0].name], float(scale), int(zero_point)])
        output = convert_to_reference_fx(prepared, backend_config=get_fbgemm_backend_config())(*inputs("c"))
    first = lambda o: (o if isinstance(o, torch.Tensor) else o[-1]).flatten().tolist()
    sizes = {name: list(x.shape) for name, x in zip(description["inputs"], inputs("c"))}
    return {"inputs": sizes, "places": places, "reference": first(output), "float": first(float_output)}


if __name__ == "__main__":
    models = json.loads((GOLDEN / "placement_models.json").read_text())
    models += [json.loads((ROOT / f"models/{name}.json").read_text()) for name in ("resnet18", "mobilenet_v2")]
    result = {d["name"]: reference(d) for d in models}
    (GOLDEN / "reference.json").write_text(json.dumps({"torch": torch.__version__, "models": result}) + "\n")
    for name, of in result.items():
        f, r = torch.tensor(of["float"]), torch.tensor(of["reference"])
        print(name, len(of["reference"]), f"{10 * torch.log10((f * f).sum() / ((f - r) ** 2).sum()).item():.1f} dB to float")
