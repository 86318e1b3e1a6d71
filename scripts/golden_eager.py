#!/usr/bin/env python3
"""Write crates/quant/tests/golden/eager.json: what the eager workflow does with the models of eager_models.json. golden_eager.py

    pip install torch==2.8.0

`models`: name -> "qconfigs": what `prepare` leaves on each module (a label of QCONFIGS, null), "observers": path of the observed module -> [scale, zero
point] after the inputs "a" and "b", "weights": shapes where tracing reorders them, "types": class of each leaf module after `convert`, "output" and "float": on the input "c"; or "error": what
PyTorch says when the converted model runs. `propagate`: attributes and dictionaries against what `propagate_qconfig_` gives each module.
`mappings`, `fusers`: PyTorch's tables. `kernels`: what operators do with a quantized tensor of scale 0.0625 and zero point 100: [scale, zero point] of
the result, "float", or null where there is no kernel. `dynamic`: outputs of `quantize_dynamic`. `wrapped`: modules after `add_quant_dequant`.
"""
import json
import sys
import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao import quantization as q
from torch.ao.quantization import fuser_method_mappings, quantization_mappings
from torch.ao.quantization.observer import MinMaxObserver, PerChannelMinMaxObserver

import descriptions
from golden_placement import GOLDEN

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
torch.backends.quantized.engine = "fbgemm"
# Half the range: its kernels saturate.
ACTIVATION = MinMaxObserver.with_args(dtype=torch.quint8, qscheme=torch.per_tensor_affine, reduce_range=True)
QCONFIGS = {
    "A": q.QConfig(ACTIVATION, PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)),
    "B": q.QConfig(ACTIVATION, MinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)),
    "E": q.float_qparams_weight_only_qconfig,
}


def label(qconfig):
    """`prepare` and `propagate_qconfig_` attach copies, which differ in how their weight is observed."""
    if not qconfig:
        return qconfig
    weight = qconfig.weight()
    if weight.qscheme == torch.per_channel_affine_float_qparams:
        return "E"
    return "A" if isinstance(weight, PerChannelMinMaxObserver) else "B"


def submodule(model, path):
    return model.get_submodule(path) if path else model


def own_modules(model):
    return [(path, module) for path, module in model.named_modules() if "activation_post_process" not in path]


def eager(case):
    description = case["description"]
    model = descriptions.build(description)
    inputs = lambda seed: descriptions.example(description, {"N": 2}, seed)
    weights = {name: list(t.shape) for name, t in model.state_dict().items()}
    with torch.no_grad():
        float_output = model(*inputs("c"))
    if case["fuse"]:
        model = q.fuse_modules(model, case["fuse"])
    for path, name in case["qconfigs"].items():
        submodule(model, path).qconfig = QCONFIGS[name] if name else None
    prepared = q.prepare(model)
    with torch.no_grad():
        for seed in "ab":
            prepared(*inputs(seed))
    observers = {}
    for path, module in own_modules(prepared):
        observer = getattr(module, "activation_post_process", None)
        if isinstance(observer, MinMaxObserver):
            # A FloatFunctional that only computes with numbers has seen nothing.
            scale, zero_point = observer.calculate_qparams()
            observers[path] = [float(scale), int(zero_point)]
    result = {
        "qconfigs": {path: label(module.qconfig) for path, module in own_modules(prepared)},
        "observers": observers,
        "float": float_output.flatten().tolist(),
        "inputs": {name: list(x.shape) for name, x in zip(description["inputs"], inputs("c"))},
    }
    if any("weight_ih" in name or "in_proj" in name for name in weights):
        result["weights"] = weights
    converted = q.convert(prepared)
    try:
        with torch.no_grad():
            result["output"] = converted(*inputs("c")).flatten().tolist()
    except (NotImplementedError, RuntimeError) as error:
        result["error"] = str(error).split(".")[0]
    assert ("error" in result) == ("fails" in case), (description["name"], result.get("error"))
    return result


def propagate(description, attributes, types, names):
    model = descriptions.build(description)
    for path, name in attributes.items():
        submodule(model, path).qconfig = QCONFIGS[name] if name else None
    # Every instance of a class of a description has a Python class of its own.
    spec = {type(m): types[type(m).__name__] and QCONFIGS[types[type(m).__name__]] for m in model.modules() if type(m).__name__ in types}
    q.propagate_qconfig_(model, {**spec, **{path: QCONFIGS[n] if n else None for path, n in names.items()}})
    expected = {path: label(module.qconfig) for path, module in own_modules(model)}
    return {"attributes": attributes, "types": types, "names": names, "expected": expected}


def wrapped(description, attributes):
    model = descriptions.build(description)
    for path, name in attributes.items():
        submodule(model, path).qconfig = QCONFIGS[name] if name else None
    model = q.add_quant_dequant(model)
    return {"attributes": attributes, "modules": {path: type(m).__name__ for path, m in own_modules(model)}}


def kernels():
    quantized = lambda *shape: torch.quantize_per_tensor(torch.randn(shape), 0.0625, 100, torch.quint8)
    x, x3, x5 = quantized(2, 4, 8, 8), quantized(2, 4, 8), quantized(2, 4, 4, 8, 8)
    calls = {
        "identity": lambda: nn.Identity()(x), "dropout": lambda: F.dropout(x, training=False), "relu": lambda: F.relu(x),
        "relu6": lambda: F.relu6(x), "clamp": lambda: torch.clamp(x, -1, 1), "hardswish": lambda: F.hardswish(x),
        "sigmoid": lambda: torch.sigmoid(x), "tanh": lambda: torch.tanh(x), "hardsigmoid": lambda: F.hardsigmoid(x),
        "silu": lambda: F.silu(x), "gelu": lambda: F.gelu(x), "mish": lambda: F.mish(x), "softplus": lambda: F.softplus(x),
        "elu": lambda: F.elu(x), "leaky_relu": lambda: F.leaky_relu(x), "softmax": lambda: F.softmax(x, 1),
        "log_softmax": lambda: F.log_softmax(x, 1), "max_pool1d": lambda: F.max_pool1d(x3, 2), "max_pool2d": lambda: F.max_pool2d(x, 2),
        "max_pool3d": lambda: F.max_pool3d(x5, 2), "avg_pool1d": lambda: F.avg_pool1d(x3, 2), "avg_pool2d": lambda: F.avg_pool2d(x, 2),
        "avg_pool3d": lambda: F.avg_pool3d(x5, 2), "adaptive_avg_pool1d": lambda: F.adaptive_avg_pool1d(x3, 2),
        "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(x, 2), "adaptive_avg_pool3d": lambda: F.adaptive_avg_pool3d(x5, 2),
        "mean": lambda: x.mean([2, 3]), "flatten": lambda: torch.flatten(x, 1), "reshape": lambda: x.reshape(2, -1),
        "permute": lambda: x.permute(0, 2, 3, 1), "squeeze": lambda: x.squeeze(0), "unsqueeze": lambda: x.unsqueeze(0),
        "expand": lambda: x.unsqueeze(0).expand(2, 2, 4, 8, 8), "repeat": lambda: x.repeat(2, 1, 1, 1),
        "cat": lambda: torch.cat([x, torch.quantize_per_tensor(torch.zeros(2, 4, 8, 8), 0.1, 7, torch.quint8)], 1),
        "split": lambda: torch.split(x, 2, 1)[0], "slice": lambda: x[:, 1:3], "pad": lambda: F.pad(x, (1, 1)),
        "interpolate": lambda: F.interpolate(x, scale_factor=2, mode="bilinear"), "pixel_shuffle": lambda: F.pixel_shuffle(x, 2),
        "gather": lambda: torch.index_select(x, 1, torch.tensor([0, 1])), "sum": lambda: x.sum(1), "amax": lambda: x.amax(1),
        "amin": lambda: x.amin(1), "argmax": lambda: x.argmax(1), "cumsum": lambda: x.cumsum(1), "prod": lambda: x.prod(1),
        "add": lambda: x + x, "sub": lambda: x - x, "mul": lambda: x * x, "div": lambda: x / x, "neg": lambda: -x, "abs": lambda: x.abs(),
        "sqrt": lambda: x.sqrt(), "exp": lambda: x.exp(), "maximum": lambda: torch.maximum(x, x), "matmul": lambda: torch.matmul(x, x),
        "conv2d": lambda: F.conv2d(x, torch.randn(1, 4, 3, 3)), "linear": lambda: F.linear(x, torch.randn(3, 8)),
        "batch_norm": lambda: nn.BatchNorm2d(4).eval()(x), "layer_norm": lambda: F.layer_norm(x, [8]),
        "group_norm": lambda: F.group_norm(x, 2), "instance_norm": lambda: F.instance_norm(x),
    }
    found = {}
    for name, call in calls.items():
        try:
            y = call()
            found[name] = [y.q_scale(), y.q_zero_point()] if y.is_quantized else "float"
        except (NotImplementedError, RuntimeError):
            found[name] = None
    return found


def mapping(table):
    """Rows whose float module is not of quantization-aware training."""
    return {k.__name__: class_name(v) for k, v in table.items() if ".qat" not in k.__module__}


def class_name(c):
    return f"{c.__module__.split('.modules')[0]}.{c.__name__}"


def custom_classes():
    custom = sys.modules["torch.ao.quantization.quantize"].get_default_custom_config_dict()
    first, second = custom["float_to_observed_custom_module_class"], custom["observed_to_quantized_custom_module_class"]
    return {
        "float_to_observed": {k.__name__: class_name(v) for k, v in first.items()},
        "observed_to_quantized": {class_name(k): class_name(v) for k, v in second.items()},
    }


def lists():
    """Float modules by name, as in the tables; quantized ones with their package."""
    float_names = {c.__name__ for c in quantization_mappings.get_default_qconfig_propagation_list()}
    tables = [quantization_mappings.DEFAULT_STATIC_QUANT_MODULE_MAPPINGS, quantization_mappings.DEFAULT_QAT_MODULE_MAPPINGS,
              quantization_mappings.DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS]
    compared = quantization_mappings.get_default_compare_output_module_list()
    classes = {class_name(v) for table in tables for v in table.values() if v in compared}
    return {
        "propagation": sorted(float_names),
        "compare": sorted(float_names | classes),
        "no_observer": sorted(class_name(c) for c in quantization_mappings.no_observer_set()),
    }


def fusers():
    found = []
    for types, method in fuser_method_mappings._DEFAULT_OP_LIST_TO_FUSER_METHOD.items():
        arguments = {"Conv": (2, 2, 1), "Batc": (2,), "ReLU": (), "Line": (2, 2)}
        fused = method(False, *[t(*arguments[t.__name__[:4]]).eval() for t in types])
        found.append([[t.__name__ for t in types], type(fused).__name__])
    return found


def dynamic():
    mlp = {
        "name": "mlp", "inputs": {"x": "f32[N,16]"}, "outputs": ["y"],
        "modules": {"a": {"type": "Linear", "in_features": 16, "out_features": 32}, "relu": "ReLU",
                    "b": {"type": "Linear", "in_features": 32, "out_features": 8}},
        "forward": ["return b(relu(a(x)))"],
    }
    recurrent = lambda module, forward, **inputs: {
        "name": "recurrent", "inputs": inputs, "outputs": ["y"],
        "modules": {"m": {"input_size": 12, "hidden_size": 16, **module}, "fc": {"type": "Linear", "in_features": 16, "out_features": 6}},
        "forward": forward,
    }
    table = lambda module, forward, **inputs: {
        "name": "table", "inputs": inputs, "outputs": ["y"],
        "modules": {"m": {"num_embeddings": 10, "embedding_dim": 16, **module}, "fc": {"type": "Linear", "in_features": 16, "out_features": 6}},
        "forward": forward,
    }
    sequence, one = {"x": "f32[5,N,12]"}, {"x": "f32[N,12]", "h": "f32[N,16]"}
    layers = {
        "lstm": recurrent({"type": "LSTM", "num_layers": 2}, ["y, h, c = m(x)", "return fc(y)"], **sequence),
        "gru": recurrent({"type": "GRU"}, ["y, h = m(x)", "return fc(y)"], **sequence),
        "lstm_cell": recurrent({"type": "LSTMCell"}, ["h, c = m(x, h, c)", "return fc(h)"], **one, c="f32[N,16]"),
        "gru_cell": recurrent({"type": "GRUCell"}, ["return fc(m(x, h))"], **one),
        "rnn_cell": recurrent({"type": "RNNCell"}, ["return fc(m(x, h))"], **one),
    }
    embedding = table({"type": "Embedding"}, ["return fc(m(x))"], x="i64[N,4]")
    bag = table({"type": "EmbeddingBag", "mode": "sum"}, ["return fc(m(x))"], x="i64[N,4]")
    cases = []

    def case(description, spec, dtype, fuse=(), mapping=None):
        model = descriptions.build(description)
        weights = {name: list(t.shape) for name, t in model.state_dict().items()}
        if fuse:
            model = q.fuse_modules(model, list(fuse))
        every = quantization_mappings.get_default_dynamic_quant_module_mappings()
        rows = mapping and {float_: to for float_, to in every.items() if float_.__name__ in mapping}
        quantized = q.quantize_dynamic(model, spec, dtype, mapping=rows)
        x = descriptions.example(description, {"N": 3}, "c")
        with torch.no_grad():
            cases.append({
                "description": description, "dtype": str(dtype).split(".")[1], "fuse": list(fuse), "mapping": mapping,
                "spec": sorted(s if isinstance(s, str) else s.__name__ for s in spec) if spec else None,
                "inputs": {name: list(t.shape) for name, t in zip(description["inputs"], x)},
                "weights": weights, "output": quantized(*x).flatten().tolist(), "float": model(*x).flatten().tolist(),
            })

    case(mlp, None, torch.qint8)
    case(mlp, {"b"}, torch.qint8)
    case(mlp, None, torch.qint8, ("a", "relu"))
    case(mlp, None, torch.float16)
    case(mlp, {"a", "b"}, torch.qint8, ("a", "relu"))
    for layer in layers.values():
        case(layer, None, torch.qint8)
        case(layer, None, torch.float16)
    case(layers["lstm"], None, torch.qint8, mapping=["Linear"])
    case(layers["gru"], {nn.GRU}, torch.float16)
    case(embedding, None, torch.quint8)
    # With 4 bits PyTorch's Embedding gives rows of another length.
    case(bag, None, torch.quint8)
    case(bag, None, torch.quint4x2)
    return cases


if __name__ == "__main__":
    cases = json.loads((GOLDEN / "eager_models.json").read_text())
    models = {case["description"]["name"]: eager(case) for case in cases}
    blocks = next(case["description"] for case in cases if case["description"]["name"] == "blocks")
    result = {
        "torch": torch.__version__,
        "models": models,
        "propagate": [
            propagate(blocks, {"": "A"}, {}, {}),
            propagate(blocks, {"": "A", "blocks.1": None}, {}, {"blocks.1.conv": "B"}),
            propagate(blocks, {}, {"Conv2d": "A"}, {"blocks.0": "B"}),
            propagate(blocks, {"stem": "B"}, {"Conv2d": "A", "Block": None}, {"": "B", "blocks.1.conv": None}),
            propagate(blocks, {"blocks": "B"}, {"Sequential": "A", "ReLU": None}, {"blocks": "A", "stem": "A"}),
        ],
        "wrapped": wrapped(blocks, {"stem": "A", "blocks.0.conv": "B", "blocks.1.relu": None}),
        "mappings": {
            "static": mapping(quantization_mappings.get_default_static_quant_module_mappings()),
            "dynamic": mapping(quantization_mappings.get_default_dynamic_quant_module_mappings()),
            "qat": mapping(quantization_mappings.get_default_qat_module_mappings()),
            "reference": mapping(quantization_mappings.get_default_static_quant_reference_module_mappings()),
            "operators": {
                f.__name__: str(op) for f, op in quantization_mappings.get_default_float_to_quantized_operator_mappings().items()
            },
            **custom_classes(),
            **lists(),
        },
        "fusers": fusers(),
        "kernels": kernels(),
        "dynamic": dynamic(),
    }
    (GOLDEN / "eager.json").write_text(json.dumps(result).replace('}, "', '},\n"') + "\n")
    for name, of in models.items():
        if "error" in of:
            print(name, of["error"])
            continue
        f, o = torch.tensor(of["float"]), torch.tensor(of["output"])
        print(name, len(of["output"]), f"{10 * torch.log10((f * f).sum() / ((f - o) ** 2).sum()).item():.1f} dB to float")
