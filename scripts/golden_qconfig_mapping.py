#!/usr/bin/env python3
"""Write which qconfig prepare_fx gives each node, and PyTorch's default mappings, to crates/quant/tests/golden/qconfig_mapping*.json.
golden_qconfig_mapping.py

    pip install torch==2.8.0

`models`: name -> the nodes after prepare_fx's own fusion, in graph order; each is {"name", "op" (call_module, call_function, call_method,
get_attr), "target" (module path, function or method name), "type" (what an object_type entry is compared with), "scope" (path and type
of the module whose forward made the call; for call_module the module itself, as PyTorch counts it)}.
`cases`: {"name", "model", "mapping", "expected": {node name: label or null}} or {"error": the exception's type} where prepare_fx refuses.
A mapping has the keys of PyTorch's QConfigMapping.to_dict (all optional); a qconfig is a label ("A", "B", ...) or null (stay float).

qconfig_mapping_generated.json has random trees of modules, `models`, each with five random mappings, `cases`, where "expected" is a label for each node,
"-" for null.

qconfig_mapping_defaults.json: `mappings`, name -> to_dict() of a default mapping, where a QConfig is its index in `qconfigs`, which are described as in
presets.json.
"""
import copy
import json
import operator
import random
import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.observer import HistogramObserver, PerChannelMinMaxObserver
from torch.ao.quantization.qconfig_mapping import (
    _get_symmetric_qnnpack_qat_qconfig_mapping,
    _get_symmetric_qnnpack_qconfig_mapping,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.quantize_fx import prepare_fx

import golden_presets

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")


class Head(nn.Module):
    """Functional calls inside a submodule."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8))
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        x = F.linear(x, self.weight)
        x = F.linear(x, self.weight)
        return torch.sigmoid(self.fc(x))


class Plain(nn.Module):
    """Nothing that fuses: modules, functions and methods at several depths."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
        self.head = Head()
        self.head2 = Head()

    def forward(self, x):
        x = self.fc1(x)
        y = self.body(x)
        x = torch.add(x, y)
        x = x.reshape(-1, 8)
        x = self.head(x)
        x = self.head2(x)
        return operator.add(x, 1.0)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))


class Fused(nn.Module):
    """conv + bn + relu, conv + relu and linear + functional relu fuse."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU()
        self.layer1 = nn.Sequential(Block(), Block())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.layer1(x) + x
        x = torch.flatten(self.pool(x), 1)
        return F.relu(self.fc(x))


class Container(nn.Module):
    """Children, functions and methods, one after the other."""

    def __init__(self, steps):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8))
        self.steps = []
        for i, step in enumerate(steps):
            if isinstance(step, nn.Module):
                step, module = f"m{i}", step
                self.add_module(step, module)
            self.steps.append(step)

    def forward(self, x):
        for step in self.steps:
            if step == "F.linear":
                x = F.linear(x, self.weight)
            elif step in STEPS:
                x = STEPS[step](x)
            else:
                x = getattr(self, step)(x)
        return x


class Stem(Container):
    pass


class Stage(Container):
    pass


class Net(Container):
    pass


STEPS = {
    "torch.sigmoid": torch.sigmoid, "torch.add": lambda x: torch.add(x, 1.0), "operator.add": lambda x: x + 1.0, "F.elu": F.elu,
    "reshape": lambda x: x.reshape(-1, 8), "sigmoid": lambda x: x.sigmoid(),
}
# Nothing that fuses.
LEAVES = [lambda: nn.Linear(8, 8), nn.Sigmoid, nn.ELU, nn.Hardswish, lambda: nn.LayerNorm(8)]
MODELS = {"plain": (Plain, (2, 8)), "fused": (Fused, (1, 4, 4, 4))}
GOLDEN = Path(__file__).parents[1] / "crates/quant/tests/golden"
LABELS = "ABCDE"
# prepare_fx copies the mapping, so a qconfig is recognised afterwards by its activation observer's eps.
EPS = {label: 2.0 ** -(10 + i) for i, label in enumerate(LABELS)}
WEIGHT = PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
QCONFIGS = {
    label: QConfig(activation=HistogramObserver.with_args(reduce_range=True, eps=eps), weight=WEIGHT) for label, eps in EPS.items()
}
TYPES = {
    "Linear": nn.Linear, "Sigmoid": nn.Sigmoid, "Sequential": nn.Sequential, "Head": Head, "Block": Block, "Plain": Plain, "Conv2d": nn.Conv2d,
    "BatchNorm2d": nn.BatchNorm2d, "ReLU": nn.ReLU, "AdaptiveAvgPool2d": nn.AdaptiveAvgPool2d,
    "torch.nn.functional.linear": F.linear, "torch.nn.functional.relu": F.relu, "torch.sigmoid": torch.sigmoid, "torch.add": torch.add,
    "torch.flatten": torch.flatten, "operator.add": operator.add, "reshape": "reshape", "sigmoid": "sigmoid", "torch.nn.functional.elu": F.elu,
    "ELU": nn.ELU, "Hardswish": nn.Hardswish, "LayerNorm": nn.LayerNorm, "Stem": Stem, "Stage": Stage, "Net": Net,
}
NAMES = {v: k for k, v in TYPES.items()}

TYPE, REGEX, NAME, ORDER = "object_type", "module_name_regex", "module_name", "module_name_object_type_order"
CASES = [
    ("nothing set", "plain", {}),
    ("global", "plain", {"": "A"}),
    ("module type over global", "plain", {"": "A", TYPE: [["Linear", "B"]]}),
    ("module type only", "plain", {TYPE: [["Linear", "B"]]}),
    ("type to float", "plain", {"": "A", TYPE: [["Linear", None]]}),
    ("function type", "plain", {"": "A", TYPE: [["torch.nn.functional.linear", "B"]]}),
    ("containing module's type beats the function's", "plain", {"": "A", TYPE: [["torch.nn.functional.linear", "B"], ["Head", "C"]]}),
    ("containing module's type, registered first", "plain", {"": "A", TYPE: [["Head", "C"], ["torch.nn.functional.linear", "B"]]}),
    ("the root module's type reaches nothing", "plain", {"": "A", TYPE: [["Plain", "B"]]}),
    ("container type does not reach submodules", "plain", {"": "A", TYPE: [["Sequential", "B"], ["Head", "C"]]}),
    ("method name", "plain", {"": "A", TYPE: [["reshape", "B"]]}),
    ("method name and the containing type", "plain", {"": "A", TYPE: [["reshape", "B"], ["Plain", "C"]]}),
    ("functions told apart", "plain", {"": "A", TYPE: [["torch.add", "B"], ["operator.add", "C"], ["torch.sigmoid", "D"], ["Sigmoid", "E"]]}),
    ("regex over type", "plain", {"": "A", TYPE: [["Linear", "B"]], REGEX: [["body.*", "C"]]}),
    ("regex is matched at the start", "plain", {"": "A", REGEX: [["ody", "B"], ["0", "C"]]}),
    ("regex need not match to the end", "plain", {"": "A", REGEX: [["head", "B"]]}),
    ("the first regex registered wins", "plain", {"": "A", REGEX: [["body", "B"], [r"body\.2", "C"]]}),
    ("the specific regex first", "plain", {"": "A", REGEX: [[r"body\.2", "C"], ["body", "B"]]}),
    ("regex that matches everything", "plain", {"": "A", REGEX: [[".*", "B"]]}),
    ("regex with an anchor", "plain", {"": "A", REGEX: [["head$", "B"], ["^fc1$", "C"]]}),
    ("regex to float", "plain", {"": "A", REGEX: [["head2.*", None]]}),
    ("name over regex", "plain", {"": "A", REGEX: [["fc1", "B"]], NAME: [["fc1", "C"]]}),
    ("name reaches submodules", "plain", {"": "A", NAME: [["body", "B"]]}),
    ("nearest ancestor's name", "plain", {"": "A", NAME: [["body", "B"], ["body.2", "C"], ["body.2.1", "D"]]}),
    ("nearest ancestor, registered first", "plain", {"": "A", NAME: [["body.2", "C"], ["body", "B"]]}),
    ("an ancestor's name over a regex on the leaf", "plain", {"": "A", REGEX: [[r"body\.2\.1", "B"]], NAME: [["body", "C"]]}),
    ("name of a module with functions", "plain", {"": "A", TYPE: [["torch.nn.functional.linear", "B"]], NAME: [["head", "C"]]}),
    ("name is not a prefix of text", "plain", {"": "A", NAME: [["head", "B"]]}),
    ("name to float, child named", "plain", {"": "A", NAME: [["body", None], ["body.0", "B"]]}),
    ("order of a function in a module", "plain", {"": "A", ORDER: [["head", "torch.nn.functional.linear", 1, "B"]]}),
    ("order over name", "plain", {"": "A", NAME: [["head2", "B"]], ORDER: [["head2", "torch.nn.functional.linear", 0, "C"]]}),
    ("order of a module type counts in its parent", "plain", {"": "A", ORDER: [["body.2", "Linear", 1, "B"], ["", "Linear", 0, "C"]]}),
    ("order of a module type in a child", "plain", {"": "A", ORDER: [["head", "Linear", 0, "B"], ["body", "Linear", 1, "C"]]}),
    ("order at the root for a function", "plain", {"": "A", ORDER: [["", "torch.add", 0, "B"], ["", "operator.add", 0, "C"]]}),
    ("order to float", "plain", {"": "A", NAME: [["head", "B"]], ORDER: [["head", "torch.nn.functional.linear", 0, None]]}),
    ("order does not reach methods", "plain", {"": "A", ORDER: [["", "reshape", 0, "B"]]}),
    ("the last entry for a type wins", "plain", {"": "A", TYPE: [["Linear", "B"], ["Linear", "C"]]}),
    ("all five styles", "plain", {"": "A", TYPE: [["Linear", "B"]], REGEX: [["head.*", "C"]], NAME: [["head2", "D"]], ORDER: [["head2", "torch.nn.functional.linear", 1, "E"]]}),
    ("fused: global", "fused", {"": "A"}),
    ("fused: equal types", "fused", {"": "A", TYPE: [["Conv2d", "B"], ["Linear", "B"], ["ReLU", "B"]]}),
    ("fused: the linear's relu differs", "fused", {"": "A", TYPE: [["Conv2d", "B"], ["BatchNorm2d", "B"], ["ReLU", "B"]]}),
    ("fused: batch norm's type is gone after fusion", "fused", {"": "A", TYPE: [["BatchNorm2d", "B"]]}),
    ("fused: conv type only", "fused", {"": "A", TYPE: [["Conv2d", "B"]]}),
    ("fused: relu type only", "fused", {"": "A", TYPE: [["ReLU", "B"]]}),
    ("fused: different types", "fused", {"": "A", TYPE: [["Conv2d", "B"], ["ReLU", "C"]]}),
    ("fused: linear with a functional relu", "fused", {"": "A", TYPE: [["Linear", "B"]]}),
    ("fused: name of the convolution", "fused", {"": "A", NAME: [["layer1.0.conv", "B"]]}),
    ("fused: name of the relu only", "fused", {"": "A", NAME: [["layer1.0.relu", "B"]]}),
    ("fused: name of the block", "fused", {"": "A", NAME: [["layer1.1", "B"], ["stem", None]]}),
    ("fused: regex on the convolutions", "fused", {"": "A", REGEX: [[r".*conv", "B"]]}),
]


def mapping_of(spec) -> QConfigMapping:
    qconfig = lambda label: None if label is None else QCONFIGS[label]
    m = QConfigMapping()
    if "" in spec:
        m.set_global(qconfig(spec[""]))
    for t, label in spec.get(TYPE, []):
        m.set_object_type(TYPES[t], qconfig(label))
    for pattern, label in spec.get(REGEX, []):
        m.set_module_name_regex(pattern, qconfig(label))
    for name, label in spec.get(NAME, []):
        m.set_module_name(name, qconfig(label))
    for name, t, index, label in spec.get(ORDER, []):
        m.set_module_name_object_type_order(name, TYPES[t], index, qconfig(label))
    return m


def label_of(qconfig):
    if qconfig is None:
        return None
    return next(label for label, eps in EPS.items() if eps == qconfig.activation.p.keywords["eps"])


def type_name(t) -> str:
    return NAMES.get(t) or t.__name__


def nodes_of(prepared):
    """The nodes that have a qconfig, observers left out."""
    attrs = prepared.meta["_observed_graph_module_attrs"]
    modules = dict(prepared.named_modules(remove_duplicate=False))
    for node in prepared.graph.nodes:
        if node.op in ("placeholder", "output") or node.name not in attrs.node_name_to_qconfig:
            continue
        path, scope_type = attrs.node_name_to_scope.get(node.name, ("", None))
        if node.op == "call_module":
            target, kind = node.target, type_name(type(modules[node.target]))
        elif node.op == "call_function":
            target = kind = NAMES[node.target]
        else:
            target = kind = node.target
        scope = [path, type_name(scope_type)] if scope_type is not None else None
        yield {"name": node.name, "op": node.op, "target": target, "type": kind, "scope": scope}


def random_tree(rng, depth=0):
    """A module of random children and calls."""
    steps = []
    for _ in range(rng.randint(2, 4)):
        kind = rng.random()
        if kind < 0.35 and depth < 3:
            steps.append(random_tree(rng, depth + 1))
        elif kind < 0.7:
            steps.append(rng.choice(LEAVES)())
        else:
            steps.append(rng.choice(["F.linear", *STEPS]))
    if depth and all(isinstance(s, nn.Module) for s in steps):
        return nn.Sequential(*steps)
    return (rng.choice([Stem, Stage]) if depth else Net)(steps)


def random_mapping(rng, model, nodes):
    """Entries of every style for what the model has, and a few for what it has not."""
    label = lambda: rng.choice([*LABELS, None])
    paths = [name for name, _ in model.named_modules() if name]
    # `Net` is the root's own type.
    types = sorted({n["type"] for n in nodes if n["op"] != "get_attr"} | {type_name(type(m)) for m in model.modules()} | {"Conv2d"})
    functions = [n for n in nodes if n["op"] == "call_function"]
    modules = [n for n in nodes if n["op"] == "call_module"]

    def regex():
        path = rng.choice(paths)
        parts = path.split(".")
        return rng.choice([
            path.replace(".", r"\."), ".*" + parts[-1], path[: rng.randint(1, len(path))].replace(".", r"\."), r".*\.\d$", r"m\d", r"m[0-2]\.",
            parts[-1] + "$", parts[0] + r"(\..*)?",
        ])

    def order():
        if functions and rng.random() < 0.5:
            node = rng.choice(functions)
            return node["scope"][0] if node["scope"] else "", node["type"], rng.randint(0, 1)
        node = rng.choice(modules or functions)
        return node["target"].rpartition(".")[0], node["type"], rng.randint(0, 1)

    spec = {}
    if rng.random() < 0.8:
        spec[""] = label()
    some = lambda most: range(rng.randint(0, most))
    spec[TYPE] = [[rng.choice(types), label()] for _ in some(4)]
    spec[REGEX] = [[regex(), label()] for _ in some(3)]
    spec[NAME] = [[rng.choice(paths), label()] for _ in some(3)]
    spec[ORDER] = [[*order(), label()] for _ in some(3)] if modules or functions else []
    return {key: value for key, value in spec.items() if value not in ([],)}


def generated():
    models, cases = {}, []
    rng = random.Random(5)
    while len(cases) < 200:
        model = random_tree(rng).eval()
        if not any(name for name, _ in model.named_modules()):
            continue
        name = f"tree{len(models)}"
        nodes = None
        for _ in range(5):
            nodes = nodes or list(nodes_of(prepare_fx(copy.deepcopy(model), QConfigMapping(), (torch.zeros(2, 8),))))
            spec = random_mapping(rng, model, nodes)
            prepared = prepare_fx(copy.deepcopy(model), mapping_of(spec), (torch.zeros(2, 8),))
            assert nodes == list(nodes_of(prepared)), f"{name}: the nodes depend on the mapping"
            found = prepared.meta["_observed_graph_module_attrs"].node_name_to_qconfig
            expected = "".join(label_of(found[n["name"]]) or "-" for n in nodes)
            cases.append({"model": name, "mapping": spec, "expected": expected})
        models[name] = nodes
    return models, cases


def defaults():
    named = {}
    for backend in ("x86", "fbgemm", "qnnpack", "onednn"):
        named[f"{backend}"] = get_default_qconfig_mapping(backend)
        for version in (0, 1):
            named[f"{backend} qat {version}"] = get_default_qat_qconfig_mapping(backend, version)
    named["symmetric qnnpack"] = _get_symmetric_qnnpack_qconfig_mapping()
    named["symmetric qnnpack qat"] = _get_symmetric_qnnpack_qat_qconfig_mapping()

    def public(t):
        if isinstance(t, str):
            return t
        if isinstance(t, type):
            return f"torch.nn.{t.__name__}"
        return next(f"{m}.{t.__name__}" for m, at in (("torch.nn.functional", F), ("torch", torch)) if getattr(at, t.__name__, None) is t)

    qconfigs = []

    def index(q):
        described = golden_presets.describe_qconfig(q)
        if described not in qconfigs:
            qconfigs.append(described)
        return qconfigs.index(described)

    rows = lambda mapping: [[public(t), index(q)] for t, q in mapping["object_type"]]
    dicts = {name: mapping.to_dict() for name, mapping in named.items()}
    for name, mapping in dicts.items():
        assert not any(mapping[key] for key in (REGEX, NAME, ORDER)), name
    mappings = {name: {"": index(mapping[""]), TYPE: rows(mapping)} for name, mapping in dicts.items()}
    return {"torch": "2.8.0", "qconfigs": qconfigs, "mappings": mappings}


def write(name, models, cases):
    out = GOLDEN / name
    rows = lambda items: "[\n" + ",\n".join(json.dumps(i) for i in items) + "\n]"
    out.write_text(
        '{\n"torch": "2.8.0",\n"models": {\n'
        + ",\n".join(f"{json.dumps(k)}: {rows(v)}" for k, v in models.items())
        + '\n},\n"cases": ' + rows(cases) + "\n}\n"
    )
    print(f"{out}: {len(cases)} cases, {out.stat().st_size} bytes")


def main():
    models, cases = {}, []
    for name, model_name, spec in CASES:
        make, shape = MODELS[model_name]
        case = {"name": name, "model": model_name, "mapping": spec}
        try:
            prepared = prepare_fx(make().eval(), mapping_of(spec), (torch.zeros(shape),))
        except LookupError as error:
            cases.append({**case, "error": type(error).__name__})
            continue
        nodes = list(nodes_of(prepared))
        assert models.setdefault(model_name, nodes) == nodes, f"{name}: the nodes depend on the mapping"
        found = prepared.meta["_observed_graph_module_attrs"].node_name_to_qconfig
        cases.append({**case, "expected": {n["name"]: label_of(found[n["name"]]) for n in nodes}})
    write("qconfig_mapping.json", models, cases)
    write("qconfig_mapping_generated.json", *generated())
    (GOLDEN / "qconfig_mapping_defaults.json").write_text(json.dumps(defaults(), indent=1) + "\n")


if __name__ == "__main__":
    main()
