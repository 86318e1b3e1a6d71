#!/usr/bin/env python3
"""Write crates/pattern/tests/golden/backend_config.json: PyTorch's backend configurations and its names. golden_backend_config.py [OUT.json]

    pip install torch==2.8.0

The file (`golden_backend_config.rs` beside it reads it):

- `torch`: the version.
- `backends`: name -> what `to_dict()` of it holds, as `backend_config_json.py` writes it.
- `names`: namespace -> the public names in it of functions and classes, and of the methods of a tensor (`torch.Tensor`).
- `same`: lists of the dotted names of one object, for every object that has several.
"""
import json
import sys
from pathlib import Path

import torch

import backend_config_json as convert

if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")


def callables(namespace) -> list[str]:
    return [n for n in sorted(dir(namespace)) if not n.startswith("__") and callable(getattr(namespace, n))]


def lines(values: dict, indent: str) -> str:
    return ",\n".join(f"{indent}{json.dumps(key)}: {value}" for key, value in values.items())


def main() -> None:
    here = Path(__file__).resolve().parent
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else here / "../crates/pattern/tests/golden/backend_config.json"
    compact = {"separators": (",", ":")}
    backends = {}
    for name, get in convert.BACKENDS.items():
        configs = convert.to_json(get())["configs"]
        rows = ",\n".join("   " + json.dumps(c, **compact) for c in configs)
        backends[name] = f'{{"name": {json.dumps(name)}, "configs": [\n{rows}\n  ]}}'
    namespaces = {**convert.NAMESPACES, "torch.Tensor": torch.Tensor}
    names = {name: json.dumps(callables(namespace), **compact) for name, namespace in namespaces.items()}
    same = [names for names in convert.NAMES.values() if len(names) > 1]
    # What typing and the C extensions put into the namespaces is of no use.
    same = [n for n in same if not any("typing" in name or "_C" in name for name in n)]
    text = (
        f'{{\n "torch": {json.dumps(torch.__version__.split("+")[0])},\n "backends": {{\n{lines(backends, "  ")}\n }},\n'
        f' "names": {{\n{lines(names, "  ")}\n }},\n "same": {json.dumps(same, **compact)}\n}}\n'
    )
    json.loads(text)
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
