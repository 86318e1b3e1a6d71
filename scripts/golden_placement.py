#!/usr/bin/env python3
"""Write crates/quant/tests/golden/placement.json: where prepare_fx puts observers, and which of them are one. golden_placement.py

    pip install torch==2.8.0

`models`: name -> backend -> list of observers' places: {"value": key, "readers": [key, ..], "observer": number, "class": name}. A key is
`path#n` for the n-th call of a module, `path:op#n` for the n-th call of a function inside a module, `input:name`, `output`. A fused module
has the key of its first member; a place on a place has the value of the inner one. An empty list: PyTorch refuses the model.
"""
import json
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.backend_config import (
    get_fbgemm_backend_config,
    get_native_backend_config,
    get_onednn_backend_config,
    get_qnnpack_backend_config,
)
from torch.ao.quantization.fx.tracer import QuantizationTracer
from torch.ao.quantization.quantize_fx import prepare_fx

import descriptions

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "crates/quant/tests/golden"
BACKENDS = {
    "fbgemm": get_fbgemm_backend_config,
    "qnnpack": get_qnnpack_backend_config,
    "onednn": get_onednn_backend_config,
    "native": get_native_backend_config,
}


def keys(model):
    """Node name -> key, before fusion."""
    tracer = QuantizationTracer([], [])
    graph = tracer.trace(model)
    seen, found = Counter(), {}
    for node in graph.nodes:
        if node.op == "placeholder":
            found[node.name] = f"input:{node.target}"
            continue
        if node.op == "output":
            found[node.name] = "output"
            continue
        if node.op == "call_module":
            base = node.target
        else:
            name = node.target if isinstance(node.target, str) else node.target.__name__
            base = f"{tracer.node_name_to_scope[node.name][0]}:{name}"
        found[node.name] = f"{base}#{seen[base]}"
        seen[base] += 1
    return found


def placement(description, backend):
    model = descriptions.build(description)
    names = keys(model)
    prepared = prepare_fx(
        model, get_default_qconfig_mapping(backend if backend != "native" else "fbgemm"), tuple(descriptions.example(description, {"N": 2}, "x")),
        backend_config=BACKENDS[backend](),
    )
    is_observer = lambda n: n.op == "call_module" and n.target.startswith("activation_post_process")
    places, numbers = [], {}
    for node in prepared.graph.nodes:
        if not is_observer(node):
            continue
        observer = getattr(prepared, node.target)
        source = node.args[0]
        while is_observer(source):
            source = source.args[0]
        readers = sorted(names[user.name] for user in node.users if not is_observer(user))
        places.append({
            "value": names[source.name],
            "readers": readers,
            "observer": numbers.setdefault(id(observer), len(numbers)),
            "class": type(observer).__name__,
        })
    return places


if __name__ == "__main__":
    models = json.loads((GOLDEN / "placement_models.json").read_text())
    models += [json.loads((ROOT / f"models/{name}.json").read_text()) for name in ("resnet18", "mobilenet_v2")]
    result = {}
    for description in models:
        of = result[description["name"]] = {}
        for backend in BACKENDS:
            try:
                of[backend] = placement(description, backend)
            except AssertionError as error:  # onednn's default mapping gives transposed convolutions a scale for each channel
                of[backend] = []
                print(f"{description['name']}, {backend}: left out, PyTorch refuses it: {error}")
    text = json.dumps({"torch": torch.__version__, "models": result})
    (GOLDEN / "placement.json").write_text(text.replace('{"value"', '\n{"value"') + "\n")
    print({name: {b: len(p) for b, p in of.items()} for name, of in result.items()})
