#!/usr/bin/env python3
"""Write crates/quant/tests/golden/custom_config.json: where prepare_fx puts observers with a PrepareCustomConfig. golden_custom_config.py

    pip install torch==2.8.0

`model`: a description. `cases`: {"name", "config" as PrepareCustomConfig.to_dict has it, but for a mapping of one QConfig (`null`, or a preset's name), "places":
[{"value": key, "readers": [key, ..], "class": name}]}. Keys are those of placement.json, through the edges of standalone modules: an input of one is what is
given to it, an output whoever takes it outside. A module that is not looked into is a call with its path.
"""
import json
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from torch.ao.quantization import QConfigMapping, default_per_channel_qconfig, get_default_qconfig_mapping
from torch.ao.quantization.backend_config import get_fbgemm_backend_config
from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
from torch.ao.quantization.fx.tracer import QuantizationTracer
from torch.ao.quantization.quantize_fx import prepare_fx

import descriptions

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
GOLDEN = Path(__file__).resolve().parent.parent / "crates/quant/tests/golden"
CONV = {"type": "Conv2d", "in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1}
MODEL = {
    "name": "apart",
    "inputs": {"x": "f32[N,4,8,8]"},
    "outputs": ["y"],
    "define": {
        "Inner": {"modules": {"conv": CONV}, "forward": ["return relu(conv(x) + x)"]},
        "Block": {
            "modules": {"a": CONV, "relu": "ReLU", "inner": "Inner", "b": CONV},
            "forward": ["y = b(inner(relu(a(x))))", "return y + x"],
        },
    },
    "modules": {"stem": CONV, "relu": "ReLU", "block": "Block", "pool": {"type": "AdaptiveAvgPool2d", "output_size": 1}, "fc": {"type": "Linear", "in_features": 4, "out_features": 3}},
    "forward": ["x = block(relu(stem(x)))", "return fc(flatten(pool(x), start_dim=1))"],
}
ROW = lambda name, mapping=None, config=None: [name, mapping, None, config or {}, None]
BOTH = {"input_quantized_idxs": [0], "output_quantized_idxs": [0]}
CUSTOM = {"float_to_observed_custom_module_class": {"static": {"Inner": "Observed"}}}
CASES = {
    "nothing": {},
    "quantized input": {"input_quantized_idxs": [0]},
    "quantized output": {"output_quantized_idxs": [0]},
    "quantized input and output": BOTH,
    "non-traceable by name": {"non_traceable_module_name": ["block"]},
    "non-traceable by class": {"non_traceable_module_class": ["Inner"]},
    "standalone, float edge": {"standalone_module_name": [ROW("block")]},
    "standalone by class": {"standalone_module_class": [ROW("Block")]},
    "standalone, quantized input": {"standalone_module_name": [ROW("block", None, {"input_quantized_idxs": [0]})]},
    "standalone, quantized output": {"standalone_module_name": [ROW("block", None, {"output_quantized_idxs": [0]})]},
    "standalone, quantized edge": {"standalone_module_name": [ROW("block", None, BOTH)]},
    "standalone, mapping of its own": {"standalone_module_name": [ROW("block", "default_per_channel_qconfig")]},
    "standalone in standalone": {"standalone_module_name": [ROW("block", None, {"standalone_module_name": [ROW("inner", None, BOTH)]})]},
    "non-traceable in standalone": {"standalone_module_name": [ROW("block", None, {"non_traceable_module_name": ["inner"]})]},
    "custom module": CUSTOM,
    "custom module, quantized input and output": {**CUSTOM, **BOTH},
    "custom module in a standalone one": {**CUSTOM, "standalone_module_name": [ROW("block")]},
    "custom module in a non-traceable one": {**CUSTOM, "non_traceable_module_name": ["block"]},
    "the name comes before the class": {"standalone_module_name": [ROW("block", None, BOTH)], "standalone_module_class": [ROW("Block")]},
}
QCONFIGS = {"default_per_channel_qconfig": default_per_channel_qconfig}


class Observed(torch.nn.Module):
    """An observed custom module class."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)

    @classmethod
    def from_float(cls, module):
        observed = cls(module)
        observed.qconfig = module.qconfig
        return observed


def config_of(spec, model):
    """The configuration; classes are those of modules of the model."""
    classes = {type(m).__name__: type(m) for m in model.modules()}
    config = PrepareCustomConfig()
    for key, of in (("standalone_module_name", lambda n: n), ("standalone_module_class", classes.get)):
        for name, mapping, example, inner, backend in spec.get(key, []):
            own = None if mapping is None else QConfigMapping().set_global(QCONFIGS[mapping])
            setter = getattr(config, f"set_{key}")
            setter(of(name), own, (torch.zeros(2, 4, 8, 8),), config_of(inner, model), backend)
    config.set_non_traceable_module_names(spec.get("non_traceable_module_name", []))
    config.set_non_traceable_module_classes([classes[c] for c in spec.get("non_traceable_module_class", [])])
    for name in spec.get("float_to_observed_custom_module_class", {}).get("static", {}):
        config.set_float_to_observed_mapping(classes[name], Observed)
    config.set_input_quantized_indexes(spec.get("input_quantized_idxs", []))
    config.set_output_quantized_indexes(spec.get("output_quantized_idxs", []))
    return config


is_observer = lambda node: node.op == "call_module" and node.target.split(".")[-1].startswith("activation_post_process")


def behind(node):
    """What a chain of observers watches."""
    while is_observer(node):
        node = node.args[0]
    return node


class Level:
    """A prepared graph: the model's, or that of a standalone module inside another."""

    def __init__(self, module, path="", outside=None, call=None):
        self.module, self.outside, self.call, self.seen, self.keys, self.inside = module, outside, call, Counter(), {}, {}
        self.path = path
        self.nodes = list(module.graph.nodes)
        for node in self.nodes:
            if node.op == "call_module" and not is_observer(node):
                child = module.get_submodule(node.target)
                if isinstance(child, torch.fx.GraphModule):
                    self.inside[node] = Level(child, f"{path}{node.target}.", self, node)
                self.keys[node] = self.number(path + node.target)
            elif node.op in ("call_function", "call_method"):
                name = node.target if isinstance(node.target, str) else node.target.__name__
                scope = module.meta["_observed_graph_module_attrs"].node_name_to_scope[node.name][0]
                self.keys[node] = self.number(f"{(path + scope).rstrip('.')}:{name}")

    def number(self, base):
        self.seen[base] += 1
        return f"{base}#{self.seen[base] - 1}"

    def value(self, node):
        node = behind(node)
        if node in self.inside:
            inner = self.inside[node]
            return inner.value(next(n for n in inner.nodes if n.op == "output").args[0])
        if node.op == "placeholder":
            if self.outside is None:
                return f"input:{node.target}"
            at = [n for n in self.nodes if n.op == "placeholder"].index(node)
            return self.outside.value(self.call.args[at])
        return self.keys[node]

    def readers(self, node):
        found = []
        for user in node.users:
            if is_observer(user):
                continue
            if user.op == "output":
                found += ["output"] if self.outside is None else self.outside.readers(self.call)
            elif user in self.inside:
                inner = self.inside[user]
                placeholders = [n for n in inner.nodes if n.op == "placeholder"]
                for at, arg in enumerate(user.args):
                    if arg is node:
                        found += inner.readers(placeholders[at])
            else:
                found.append(self.keys[user])
        return sorted(found)

    def places(self):
        for node in self.nodes:
            if is_observer(node):
                kind = type(self.module.get_submodule(node.target)).__name__
                yield {"value": self.value(node.args[0]), "readers": self.readers(node), "class": kind}
            elif node in self.inside:
                yield from self.inside[node].places()


if __name__ == "__main__":
    cases = []
    for name, spec in CASES.items():
        model = descriptions.build(MODEL)
        prepared = prepare_fx(
            model, get_default_qconfig_mapping("fbgemm"), tuple(descriptions.example(MODEL, {"N": 2}, "x")),
            prepare_custom_config=config_of(spec, model), backend_config=get_fbgemm_backend_config(),
        )
        cases.append({"name": name, "config": spec, "places": list(Level(prepared).places())})
        print(name, len(cases[-1]["places"]))
    text = json.dumps({"torch": torch.__version__, "model": MODEL, "cases": cases})
    (GOLDEN / "custom_config.json").write_text(text.replace('{"name"', '\n{"name"').replace('{"value"', '\n {"value"') + "\n")
