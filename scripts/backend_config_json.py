#!/usr/bin/env python3
"""PyTorch's BackendConfig as JSON and back: the form that `quantc patterns import` reads and `quantc patterns export` writes.

    pip install torch==2.8.0
    backend_config_json.py BACKEND         write the JSON of fbgemm, x86, qnnpack, onednn or native to stdout
    backend_config_json.py FILE.json       load a file into a BackendConfig and say what it holds

The keys are those of `BackendConfig.to_dict`. Classes and functions are their dotted public names, methods of a tensor plain words,
dtypes `torch.quint8`, a tuple a list, an observation type its name. A dtype with constraints is `{"dtype": .., "quant_min_lower_bound":
.., ..}`, one without is its name alone. What only Python code can say is left out: fuser_method, root_node_getter, extra_inputs_getter.
"""
import importlib
import json
import operator
import sys
from collections.abc import Callable

import torch
import torch.ao.nn.intrinsic
import torch.ao.nn.intrinsic.qat
import torch.ao.nn.qat
import torch.ao.nn.quantized.reference
import torch.ao.quantization.quantize_fx  # noqa: F401  loads what BackendConfig needs
from torch.ao.quantization.backend_config import BackendConfig, BackendPatternConfig, DTypeConfig, ObservationType
from torch.ao.quantization.backend_config.backend_config import DTypeWithConstraints
from torch.ao.quantization.backend_config.fbgemm import get_fbgemm_backend_config
from torch.ao.quantization.backend_config.native import get_native_backend_config
from torch.ao.quantization.backend_config.onednn import get_onednn_backend_config
from torch.ao.quantization.backend_config.qnnpack import get_qnnpack_backend_config
from torch.ao.quantization.backend_config.x86 import get_x86_backend_config
from torch.ao.quantization.fuser_method_mappings import _DEFAULT_OP_LIST_TO_FUSER_METHOD, _sequential_wrapper2
from torch.ao.quantization.utils import MatchAllNode

BACKENDS: dict[str, Callable[[], BackendConfig]] = {
    "fbgemm": get_fbgemm_backend_config,
    "x86": get_x86_backend_config,
    "qnnpack": get_qnnpack_backend_config,
    "onednn": get_onednn_backend_config,
    "native": get_native_backend_config,
}
# Where public names are looked up; the first that has the object counts.
NAMESPACES = {
    "torch.nn": torch.nn,
    "torch.nn.functional": torch.nn.functional,
    "torch.ao.nn.intrinsic": torch.ao.nn.intrinsic,
    "torch.ao.nn.intrinsic.qat": torch.ao.nn.intrinsic.qat,
    "torch.ao.nn.qat": torch.ao.nn.qat,
    "torch.ao.nn.quantized.reference": torch.ao.nn.quantized.reference,
    "torch": torch,
    "operator": operator,
}
CONSTRAINTS = [
    "quant_min_lower_bound",
    "quant_max_upper_bound",
    "scale_min_lower_bound",
    "scale_max_upper_bound",
    "scale_exact_match",
    "zero_point_exact_match",
]
MODULES = ["root_module", "qat_module", "reference_quantized_module_for_root", "fused_module"]


def public_names() -> dict[int, list[str]]:
    """Every public name of each function and class, by identity."""
    names: dict[int, list[str]] = {}
    for prefix, namespace in NAMESPACES.items():
        for name in dir(namespace):
            found = getattr(namespace, name)
            if callable(found) and not name.startswith("__"):
                names.setdefault(id(found), []).append(f"{prefix}.{name}")
    return names


NAMES = public_names()


def pattern_to_json(pattern):
    if pattern is MatchAllNode:
        return "MatchAllNode"
    if isinstance(pattern, str):
        return pattern
    if isinstance(pattern, tuple):
        return [pattern_to_json(p) for p in pattern]
    return NAMES[id(pattern)][0]


def dtype_to_json(dtype: DTypeWithConstraints):
    fields = {key: getattr(dtype, key) for key in CONSTRAINTS if getattr(dtype, key) is not None}
    return {"dtype": str(dtype.dtype), **fields} if fields else str(dtype.dtype)


def config_to_json(config: dict) -> dict:
    out = {key: pattern_to_json(config[key]) for key in ["pattern", "pattern_complex_format"] if key in config}
    out["observation_type"] = config["observation_type"].name
    out["dtype_configs"] = [
        {
            key: dtype_to_json(value) if isinstance(value, DTypeWithConstraints) else value if key == "is_dynamic" else str(value)
            for key, value in dtypes.items()
        }
        for dtypes in config["dtype_configs"]
    ]
    out.update({key: NAMES[id(config[key])][0] for key in MODULES if key in config})
    if "num_tensor_args_to_observation_type" in config:
        types = config["num_tensor_args_to_observation_type"]
        out["num_tensor_args_to_observation_type"] = {str(count): kind.name for count, kind in types.items()}
    if "input_type_to_index" in config:
        out["input_type_to_index"] = config["input_type_to_index"]
    return out


def to_json(backend: BackendConfig) -> dict:
    config = backend.to_dict()
    return {"name": config["name"], "configs": [config_to_json(c) for c in config["configs"]]}


def resolve(name: str):
    """The class or function of a dotted name; a word without a dot is a method."""
    if name == "MatchAllNode":
        return MatchAllNode
    if "." not in name:
        return name
    prefix, _, last = name.rpartition(".")
    return getattr(NAMESPACES.get(prefix) or importlib.import_module(prefix), last)


def pattern_from_json(pattern):
    return tuple(map(pattern_from_json, pattern)) if isinstance(pattern, list) else resolve(pattern)


def dtype_from_json(dtype) -> DTypeWithConstraints:
    fields = {"dtype": dtype} if isinstance(dtype, str) else dict(dtype)
    fields["dtype"] = resolve(fields["dtype"])
    return DTypeWithConstraints(**fields)


def config_from_json(config: dict) -> BackendPatternConfig:
    out = {key: pattern_from_json(config[key]) for key in ["pattern", "pattern_complex_format"] if key in config}
    out["observation_type"] = ObservationType[config["observation_type"]]
    dtypes = []
    for fields in config["dtype_configs"]:
        types = {key: dtype_from_json(fields[key]) for key in ["input_dtype", "output_dtype", "weight_dtype"] if key in fields}
        bias = {"bias_dtype": resolve(fields["bias_dtype"])} if "bias_dtype" in fields else {}
        dtypes.append(DTypeConfig(**types, **bias, is_dynamic=fields.get("is_dynamic")))
    out["dtype_configs"] = dtypes
    out.update({key: resolve(config[key]) for key in MODULES if key in config})
    counts = config.get("num_tensor_args_to_observation_type", {})
    out["num_tensor_args_to_observation_type"] = {int(count): ObservationType[kind] for count, kind in counts.items()}
    out["input_type_to_index"] = config.get("input_type_to_index", {})
    if isinstance(out.get("pattern"), tuple) and "fused_module" in config:
        out["fuser_method"] = fuser_method(out["pattern"], out["fused_module"])
    return BackendPatternConfig.from_dict(out)


def fuser_method(parts: tuple, fused):
    """How PyTorch fuses a tuple is a function, which JSON has not: its default one, which for a layer and one module behind it is to put
    both into the fused module. Those of its table are for modules, and the same for functions."""
    modules = tuple(torch.nn.ReLU if p in (torch.nn.functional.relu, torch.relu) else p for p in parts)
    known = _DEFAULT_OP_LIST_TO_FUSER_METHOD.get(modules)
    return known or (_sequential_wrapper2(fused) if len(parts) == 2 else None)


def from_json(document: dict) -> BackendConfig:
    return BackendConfig.from_dict({"name": document["name"], "configs": [config_from_json(c) for c in document["configs"]]})


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if sys.argv[1] in BACKENDS:
        json.dump(to_json(BACKENDS[sys.argv[1]]()), sys.stdout, indent=1)
        print()
        return
    with open(sys.argv[1], encoding="utf-8") as file:
        backend = from_json(json.load(file))
    print(f"{backend.name}: {len(backend.configs)} patterns")


if __name__ == "__main__":
    main()
