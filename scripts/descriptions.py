"""PyTorch models of model descriptions (models/*.json), with parameters that are a function of their names, the same in Python and in Rust
(`quantc_testkit::hashed`). Used by the golden_*.py scripts.

    pip install torch==2.8.0
"""
import re

import numpy as np
import torch
from torch import nn


def hashed(name: str, count: int) -> np.ndarray:
    """`count` numbers in -0.5..0.5, multiples of 2^-24: splitmix64 of the FNV-1a hash of the name plus the index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5).astype(np.float32)


def fill(model: nn.Module, exact: bool = False) -> None:
    """Weights of a size that keeps activations in range, variances above zero, scales near one.

    `exact`: for calibrated scales that are powers of two, the float arithmetic of the quantized network is without rounding errors, so its result
    does not depend on the order of sums. Weights' scales are powers of two, batch norms do nothing, biases are zero.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.dtype.is_floating_point:
                continue
            values = hashed(name, tensor.numel())
            if tensor.dim() > 1:
                fan_in = tensor[0].numel()
                values = values * np.float32(2.0 ** round(np.log2(4 / np.sqrt(fan_in))))
                if exact:
                    # The largest weight of each channel: 127.5 steps of a power of two.
                    largest = np.float32(127.5 / 128 * 2.0 ** (round(np.log2(4 / np.sqrt(fan_in))) - 1))
                    values = np.clip(values, -largest, largest).reshape(tensor.shape[0], -1)
                    values[:, 0] = largest
            elif exact:
                values = np.full(tensor.numel(), {"weight": 1, "running_var": 1 - 1e-5}.get(name.split(".")[-1], 0), np.float32)
            elif name.endswith("running_var"):
                values = values + np.float32(1)
            elif name.endswith("weight"):
                values = values * np.float32(0.5) + np.float32(1)
            tensor.copy_(torch.from_numpy(values.reshape(tensor.shape)))


def method(module, name, *args, **attributes):
    """A method of a FloatFunctional; in descriptions the tensors of `cat` are its arguments."""
    args = (list(args),) if name == "cat" else args
    return getattr(module, name)(*args, **attributes)


def flat(values):
    """The tensors of nested tuples."""
    return [t for v in values for t in flat(v)] if isinstance(values, (tuple, list)) else [values]


def invoke(module, *args):
    """A module that may be recurrent; in descriptions its states are arguments and results of their own."""
    if len(args) == 3 and type(module).__name__ in ("LSTM", "LSTMCell"):
        args = (args[0], args[1:])
    if type(module).__name__ == "MultiheadAttention":  # Time first: PyTorch's quantizable form is wrong with the batch first.
        args = [x.transpose(0, 1) for x in (args if len(args) == 3 else args * 3)]
        return module(*args)[0].transpose(0, 1)
    result = module(*args)
    return flat(result) if isinstance(result, tuple) else result


# Modules of eager-mode quantization.
EAGER = {
    "QuantStub": torch.ao.quantization.QuantStub,
    "DeQuantStub": torch.ao.quantization.DeQuantStub,
    "FloatFunctional": torch.ao.nn.quantized.FloatFunctional,
}
FUNCTIONS = {
    "method": method,
    "invoke": invoke,
    "relu": nn.functional.relu,
    "mean": lambda x, dims, keepdim=False: torch.mean(x, dims, keepdim=keepdim),
    "flatten": torch.flatten,
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, dims: x.permute(dims),
    "interpolate": nn.functional.interpolate,
    "group_norm": nn.functional.group_norm,
    "cat": lambda *xs, dim: torch.cat(xs, dim=dim),
}


def value(item, parameters):
    return parameters[item[1:]] if isinstance(item, str) and item.startswith("$") else item


def make(item, define, parameters):
    if isinstance(item, list):
        return nn.Sequential(*[make(child, define, parameters) for child in item])
    if isinstance(item, str):
        item = {"type": item}
    if item["type"] == "QuantWrapper":
        return torch.ao.quantization.QuantWrapper(make(item["module"], define, parameters))
    arguments = {k: value(v, parameters) for k, v in item.items() if k != "type"}
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    if item["type"] in define:
        return make_class(item["type"], define[item["type"]], define, arguments)
    if item["type"] == "MultiheadAttention":
        del arguments["batch_first"]  # `invoke` puts time first.
    return (EAGER.get(item["type"]) or getattr(nn, item["type"]))(**arguments)


def make_class(name, definition, define, arguments, inputs=("x",)):
    parameters = {**definition.get("parameters", {}), **arguments}
    children = {k: make(v, define, parameters) for k, v in definition["modules"].items()}
    lines = []
    for statement in definition["forward"]:
        statement = re.sub(r"self\.(\d+)\(", r"getattr(self, '\1')(", statement)
        call = lambda m: f"invoke(getattr(self, '{m[1]}'), " if m[1] in children else m[0]
        statement = re.sub(r"(?<![\w.])(\w+)\(", call, statement)
        functional = lambda m: f"method(getattr(self, '{m[1]}'), '{m[2]}', " if m[1] in children else m[0]
        lines.append(re.sub(r"(?<![\w.])(\w+)\.(\w+)\(", functional, statement))
    body = "\n    ".join(lines)
    scope = dict(FUNCTIONS)
    exec(f"def forward(self, {', '.join(inputs)}):\n    {body}", scope)
    module = type(name, (nn.Module,), {"forward": scope["forward"]})()
    for child, built in children.items():
        module.add_module(child, built)
    return module


def build(description: dict, exact: bool = False) -> nn.Module:
    """The model of a description, in eval mode, with its hashed parameters (`fill`)."""
    model = make_class(
        description.get("type", "Net"), description, description.get("define", {}), {}, tuple(description["inputs"])
    )
    fill(model, exact)
    return model.eval()


def example(description: dict, sizes: dict, seed: str) -> list[torch.Tensor]:
    """Inputs of a description: f32 in -1..1, i64 in 0..9, symbols as `sizes` says."""
    inputs = []
    for name, ty in description["inputs"].items():
        dtype, dims = re.match(r"(\w+)\[(.*)\]", ty).groups()
        shape = [sizes[d] if d in sizes else int(d) for d in dims.split(",")]
        values = hashed(f"{seed}.{name}", int(np.prod(shape))).reshape(shape)
        if dtype == "i64":  # Indices of a table with at least 10 rows.
            inputs.append(torch.from_numpy(np.floor((values + np.float32(0.5)) * 10).astype(np.int64)))
            continue
        assert dtype == "f32", ty
        inputs.append(torch.from_numpy(values * np.float32(2)))
    return inputs
