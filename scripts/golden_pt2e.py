#!/usr/bin/env python3
"""Write crates/quant/tests/golden/pt2e.json: where prepare_pt2e puts observers, and which it shares. golden_pt2e.py [OUT.json]

    pip install torch==2.8.0

A case is a module and the same graph in quantc's text form, whose nodes have the names that torch.export gives and whose parameters
have the module's. The file (`golden_pt2e.rs` beside it reads it) has for each case:

- `graph`: the text form; `config`: the quantizer's settings as [what, key, config] in the order of the calls.
- `observers`: [class, dtype, quant_min, quant_max, qscheme, dynamic], numbered by first use below.
- `edges`: [producer, consumer, [observers on the way, from the producer on]], by node in execution order and argument; constants that
  are no tensors are left out. The consumer of a graph output is "output".
"""
import json
import sys
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao.quantization.quantize_pt2e import prepare_pt2e
from torch.ao.quantization.quantizer import x86_inductor_quantizer as x86
from torch.ao.quantization.quantizer.embedding_quantizer import EmbeddingQuantizer
from torch.ao.quantization.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

warnings.filterwarnings("ignore")
if not torch.__version__.startswith("2.8.0"):
    sys.exit(f"these goldens are torch 2.8.0's; this is {torch.__version__}")
torch.manual_seed(0)

CONFIGS = {
    "static": dict(),
    "per_channel": dict(is_per_channel=True),
    "dynamic": dict(is_dynamic=True, is_per_channel=True),
    "narrow": dict(act_qmin=0, act_qmax=100),
}
CASES = []


def case(graph, inputs, config=(("global", "", "static"),)):
    def add(module):
        CASES.append((module.__name__, module, inputs, config, graph))
        return module
    return add


@case("""graph g(%x: f32[1,3,8,8]) {
  param @conv.weight: f32[4,3,3,3]
  param @conv.bias: f32[4]
  param @fc.weight: f32[5,144]
  param @fc.bias: f32[5]
  %conv2d = conv2d(%x, @conv.weight, @conv.bias) : f32[1,4,6,6]  # conv: Conv2d(conv2d, 0)
  %relu = relu(%conv2d) : f32[1,4,6,6]  # relu: ReLU(relu, 0)
  %flatten = flatten(%relu) {start_dim=1} : f32[1,144]  # "": ConvReluLinear(flatten, 0)
  %linear = linear(%flatten, @fc.weight, @fc.bias) : f32[1,5]  # fc: Linear(linear, 0)
  return y=%linear
}""", (torch.randn(1, 3, 8, 8),))
class ConvReluLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(144, 5)

    def forward(self, x):
        return self.fc(torch.flatten(self.relu(self.conv(x)), 1))


@case("""graph g(%x: f32[1,4,8,8]) {
  param @a.weight: f32[4,4,3,3]
  param @b.weight: f32[4,4,3,3]
  param @b.bias: f32[4]
  %conv2d = conv2d(%x, @a.weight, none) {padding=[1,1]} : f32[1,4,8,8]  # a: Conv2d(conv2d, 0)
  %relu = relu(%conv2d) : f32[1,4,8,8]  # "": Residual(relu, 0)
  %conv2d_1 = conv2d(%relu, @b.weight, @b.bias) {padding=[1,1]} : f32[1,4,8,8]  # b: Conv2d(conv2d, 0)
  %add = add(%conv2d_1, %x) : f32[1,4,8,8]  # "": Residual(add, 0)
  %relu_1 = relu(%add) : f32[1,4,8,8]  # "": Residual(relu, 1)
  %mul = mul(%relu_1, %relu) : f32[1,4,8,8]  # "": Residual(mul, 0)
  return y=%mul
}""", (torch.randn(1, 4, 8, 8),), (("global", "", "per_channel"),))
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.a(x))
        return F.relu(self.b(y) + x) * y


@case("""graph g(%x: f32[1,4,8,8]) {
  param @a.weight: f32[4,4,3,3]
  param @a.bias: f32[4]
  param @b.weight: f32[4,4,3,3]
  param @b.bias: f32[4]
  %conv2d = conv2d(%x, @a.weight, @a.bias) : f32[1,4,6,6]  # a: Conv2d(conv2d, 0)
  %max_pool2d = max_pool2d(%conv2d) {kernel_size=[2,2], stride=[2,2]} : f32[1,4,3,3]  # "": Cat(max_pool2d, 0)
  %conv2d_1 = conv2d(%x, @b.weight, @b.bias) {stride=[2,2]} : f32[1,4,3,3]  # b: Conv2d(conv2d, 0)
  %cat = cat(%max_pool2d, %conv2d_1) {dim=1} : f32[1,8,3,3]  # "": Cat(cat, 0)
  %cat_1 = cat(%cat, %conv2d_1) {dim=1} : f32[1,12,3,3]  # "": Cat(cat, 1)
  %hardtanh = clamp(%cat_1) {min=-1.0, max=1.0} : f32[1,12,3,3]  # "": Cat(hardtanh, 0)
  return y=%hardtanh
}""", (torch.randn(1, 4, 8, 8),))
class Cat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, stride=2)

    def forward(self, x):
        y = F.max_pool2d(self.a(x), 2)
        z = self.b(x)
        return F.hardtanh(torch.cat([torch.cat([y, z], 1), z], 1))


@case("""graph g(%x: f32[1,4,8,8]) {
  param @conv.weight: f32[4,4,3,3]
  param @conv.bias: f32[4]
  param @fc.weight: f32[5,4]
  param @fc.bias: f32[5]
  %conv2d = conv2d(%x, @conv.weight, @conv.bias) : f32[1,4,6,6]  # conv: Conv2d(conv2d, 0)
  %adaptive_avg_pool2d = adaptive_avg_pool2d(%conv2d) {output_size=[1,1]} : f32[1,4,1,1]  # pool: AdaptiveAvgPool2d(adaptive_avg_pool2d, 0)
  %view = reshape(%adaptive_avg_pool2d) {shape=[1,4]} : f32[1,4]  # "": Pool(view, 0)
  %linear = linear(%view, @fc.weight, @fc.bias) : f32[1,5]  # fc: Linear(linear, 0)
  %adaptive_avg_pool2d_1 = adaptive_avg_pool2d(%x) {output_size=[2,2]} : f32[1,4,2,2]  # "": Pool(adaptive_avg_pool2d, 0)
  return y=%linear, z=%adaptive_avg_pool2d_1
}""", (torch.randn(1, 4, 8, 8),))
class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.pool(self.conv(x)).view(1, 4)), F.adaptive_avg_pool2d(x, 2)


@case("""graph g(%x: f32[2,8]) {
  param @a.weight: f32[8,8]
  param @a.bias: f32[8]
  param @b.weight: f32[8,8]
  %linear = linear(%x, @a.weight, @a.bias) : f32[2,8]  # a: Linear(linear, 0)
  %relu = relu(%linear) : f32[2,8]  # "": Linears(relu, 0)
  %linear_1 = linear(%x, @b.weight, none) : f32[2,8]  # b: Linear(linear, 0)
  %mul = mul(%relu, %linear_1) : f32[2,8]  # "": Linears(mul, 0)
  %relu_1 = relu(%mul) : f32[2,8]  # "": Linears(relu, 1)
  %sigmoid = sigmoid(%relu_1) : f32[2,8]  # "": Linears(sigmoid, 0)
  %linear_2 = linear(%sigmoid, @a.weight, @a.bias) : f32[2,8]  # a: Linear(linear, 1)
  %add = add(%linear_2, %linear_2) : f32[2,8]  # "": Linears(add, 0)
  return y=%add
}""", (torch.randn(2, 8),), (("global", "", "narrow"),))
class Linears(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)

    def forward(self, x):
        y = F.relu(F.relu(self.a(x)) * self.b(x))
        y = self.a(torch.sigmoid(y))
        return y + y


@case("""graph g(%x: f32[1,4,16]) {
  param @conv.weight: f32[4,4,3]
  param @conv.bias: f32[4]
  param @up.weight: f32[4,4,3,3]
  param @up.bias: f32[4]
  %conv1d = conv1d(%x, @conv.weight, @conv.bias) : f32[1,4,14]  # conv: Conv1d(conv1d, 0)
  %view = reshape(%conv1d) {shape=[1,4,2,7]} : f32[1,4,2,7]  # "": Moves(view, 0)
  %conv_transpose2d = conv_transpose2d(%view, @up.weight, @up.bias) : f32[1,4,4,9]  # up: ConvTranspose2d(conv_transpose2d, 0)
  %relu = relu(%conv_transpose2d) : f32[1,4,4,9]  # "": Moves(relu, 0)
  %permute = permute(%relu) {dims=[0,2,3,1]} : f32[1,4,9,4]  # "": Moves(permute, 0)
  %mean = mean(%permute) {dims=[1]} : f32[1,9,4]  # "": Moves(mean, 0)
  %tanh = tanh(%mean) : f32[1,9,4]  # "": Moves(tanh, 0)
  %relu_1 = relu(%tanh) : f32[1,9,4]  # "": Moves(relu, 1)
  return y=%relu_1
}""", (torch.randn(1, 4, 16),))
class Moves(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv1d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)

    def forward(self, x):
        y = F.relu(self.up(self.conv(x).view(1, 4, 2, 7)))
        return F.relu(torch.tanh(y.permute(0, 2, 3, 1).mean(1)))


class Sub(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)))


NAMED = """graph g(%x: f32[1,4,8,8]) {
  param @a.conv.weight: f32[4,4,3,3]
  param @a.conv.bias: f32[4]
  param @a.fc.weight: f32[8,8]
  param @a.fc.bias: f32[8]
  param @b.conv.weight: f32[4,4,3,3]
  param @b.conv.bias: f32[4]
  param @b.fc.weight: f32[8,8]
  param @b.fc.bias: f32[8]
  %conv2d = conv2d(%x, @a.conv.weight, @a.conv.bias) {padding=[1,1]} : f32[1,4,8,8]  # a.conv: Conv2d(conv2d, 0)
  %relu = relu(%conv2d) : f32[1,4,8,8]  # a: Sub(relu, 0)
  %linear = linear(%relu, @a.fc.weight, @a.fc.bias) : f32[1,4,8,8]  # a.fc: Linear(linear, 0)
  %conv2d_1 = conv2d(%linear, @b.conv.weight, @b.conv.bias) {padding=[1,1]} : f32[1,4,8,8]  # b.conv: Conv2d(conv2d, 0)
  %relu_1 = relu(%conv2d_1) : f32[1,4,8,8]  # b: Sub(relu, 0)
  %linear_1 = linear(%relu_1, @b.fc.weight, @b.fc.bias) : f32[1,4,8,8]  # b.fc: Linear(linear, 0)
  return y=%linear_1
}"""


class Subs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = Sub(), Sub()

    def forward(self, x):
        return self.b(self.a(x))


for name, settings in [
    ("ModuleName", [("module_name", "a", "static")]),
    ("ModuleNameAndGlobal", [("module_name", "b.fc", "per_channel"), ("global", "", "static")]),
    ("ModuleType", [("module_type", "Linear", "narrow"), ("global", "", "static")]),
    ("Dynamic", [("global", "", "dynamic")]),
]:
    CASES.append((name, Subs, (torch.randn(1, 4, 8, 8),), settings, NAMED))


@case("""graph g(%x: f32[3,2,4], %h: f32[1,2,5]) {
  param @scalar: f32[] = [2.5]
  %add = add(%x, @scalar) : f32[3,2,4]  # "": Scalars(add, 0)
  %mul = mul(%add, %add) : f32[3,2,4]  # "": Scalars(mul, 0)
  %relu = relu(%mul) : f32[3,2,4]  # "": Scalars(relu, 0)
  %unsqueeze = unsqueeze(%relu) {dims=[0]} : f32[1,3,2,4]  # "": Scalars(unsqueeze, 0)
  %relu_1 = relu(%unsqueeze) : f32[1,3,2,4]  # "": Scalars(relu, 1)
  %relu_2 = relu(%h) : f32[1,2,5]  # "": Scalars(relu, 2)
  return y=%relu_1, z=%relu_2
}""", (torch.randn(3, 2, 4), torch.randn(1, 2, 5)))
class Scalars(nn.Module):
    def forward(self, x, h):
        y = x + 2.5
        return F.relu(F.relu(y * y).unsqueeze(0)), F.relu(h)


@case("""graph g(%x: f32[1,4,8,8]) {
  param @a.weight: f32[4,4,3,3]
  param @a.bias: f32[4]
  param @b.weight: f32[4,4,3,3]
  param @b.bias: f32[4]
  param @fc.weight: f32[6,64]
  param @fc.bias: f32[6]
  param @head.weight: f32[6,6]
  param @head.bias: f32[6]
  %conv2d = conv2d(%x, @a.weight, @a.bias) {padding=[1,1]} : f32[1,4,8,8]  # a: Conv2d(conv2d, 0)
  %hardswish = hardswish(%conv2d) : f32[1,4,8,8]  # "": Recipes(hardswish, 0)
  %conv2d_1 = conv2d(%hardswish, @b.weight, @b.bias) {padding=[1,1]} : f32[1,4,8,8]  # b: Conv2d(conv2d, 0)
  %add = add(%conv2d_1, %hardswish) : f32[1,4,8,8]  # "": Recipes(add, 0)
  %max_pool2d = max_pool2d(%add) {kernel_size=[2,2], stride=[2,2]} : f32[1,4,4,4]  # "": Recipes(max_pool2d, 0)
  %flatten = flatten(%max_pool2d) {start_dim=1} : f32[1,64]  # "": Recipes(flatten, 0)
  %linear = linear(%flatten, @fc.weight, @fc.bias) : f32[1,6]  # fc: Linear(linear, 0)
  %gelu = gelu(%linear) : f32[1,6]  # "": Recipes(gelu, 0)
  %linear_1 = linear(%gelu, @head.weight, @head.bias) : f32[1,6]  # head: Linear(linear, 0)
  %permute = permute(%linear_1) {dims=[1,0]} : f32[6,1]  # "": Recipes(permute, 0)
  %matmul = matmul(%linear_1, %permute) : f32[1,1]  # "": Recipes(matmul, 0)
  return y=%matmul
}""", (torch.randn(1, 4, 8, 8),))
class Recipes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc, self.head = nn.Linear(64, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = F.hardswish(self.a(x))
        x = F.max_pool2d(self.b(x) + x, 2)
        x = self.head(F.gelu(self.fc(torch.flatten(x, 1))))
        return torch.matmul(x, x.permute(1, 0))


# Settings of the X86Inductor quantizer for models above.
X86 = [(name, (("global", "", "x86"),)) for name in ("ConvReluLinear", "Residual", "Cat", "Pool", "Linears", "Recipes")] + [
    ("Recipes", (("global", "", "x86_reduced"),)),
    ("Linears", (("global", "", "x86_dynamic"),)),
    ("Recipes", (("function", "torch.nn.functional.conv2d", "x86"), ("function", "torch.matmul", "x86"))),
    ("Recipes", (("module_type", "Linear", "x86"),)),
    ("Recipes", (("global", "", "x86"), ("module_type", "Linear", "none"))),
    ("ModuleName", (("module_name", "a", "x86"),)),
    ("ModuleName", (("global", "", "x86"), ("module_name", "b", "none"))),
]


@case("""graph g(%ids: i64[2,3], %x: f32[2,4]) {
  param @words.weight: f32[7,4]
  param @places.weight: f32[3,4]
  param @fc.weight: f32[5,4]
  %embedding = gather(@words.weight, %ids) {dim=0} : f32[2,3,4]  # words: Embedding(embedding, 0)
  %embedding_1 = gather(@places.weight, %ids) {dim=0} : f32[2,3,4]  # places: Embedding(embedding, 0)
  %add = add(%embedding, %embedding_1) : f32[2,3,4]  # "": Embeddings(add, 0)
  %linear = linear(%add, @fc.weight, none) : f32[2,3,5]  # fc: Linear(linear, 0)
  %linear_1 = linear(%x, @words.weight, none) : f32[2,7]  # "": Embeddings(linear, 0)
  return y=%linear, z=%linear_1
}""", (torch.tensor([[0, 2, 1], [2, 2, 0]]), torch.randn(2, 4)), (("global", "", "embedding"),))
class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places, self.fc = nn.Embedding(7, 4), nn.Embedding(3, 4), nn.Linear(4, 5, bias=False)

    def forward(self, ids, x):
        return self.fc(self.words(ids) + self.places(ids)), F.linear(x, self.words.weight)


def quantizer(settings):
    if settings[0][2] == "embedding":
        return EmbeddingQuantizer()
    if settings[0][2].startswith("x86"):
        return x86_quantizer(settings)
    out = XNNPACKQuantizer()
    for what, key, config in settings:
        config = get_symmetric_quantization_config(**CONFIGS[config])
        if what == "global":
            out.set_global(config)
        elif what == "module_name":
            out.set_module_name(key, config)
        else:
            out.set_module_type(getattr(nn, key), config)
    return out


def x86_quantizer(settings):
    out = x86.X86InductorQuantizer()
    for what, key, config in settings:
        arguments = {"x86_reduced": {"reduce_range": True}, "x86_dynamic": {"is_dynamic": True}}.get(config, {})
        config = None if config == "none" else x86.get_default_x86_inductor_quantization_config(**arguments)
        if what == "global":
            out.set_global(config)
        elif what == "module_name":
            out.set_module_name_qconfig(key, config)
        elif what == "function":
            out.set_function_type_qconfig({"torch.matmul": torch.matmul, "torch.nn.functional.conv2d": F.conv2d}[key], config)
        else:
            out.set_module_type_qconfig(getattr(nn, key), config)
    return out


def describe(observer):
    """Class and what decides the parameters; full ranges as null."""
    dtype = str(observer.dtype).removeprefix("torch.")
    lo, hi = observer.quant_min, observer.quant_max
    dynamic = bool(getattr(observer, "is_dynamic", False))
    return [type(observer).__name__, dtype, lo, hi, str(observer.qscheme).removeprefix("torch."), dynamic]


def edges(prepared):
    modules = dict(prepared.named_modules(remove_duplicate=False))
    observers, numbers, out = [], {}, []

    def trace(arg):
        """The producer of a value and the observers behind it, the nearest to the producer first."""
        chain = []
        while arg.op == "call_module":
            chain.insert(0, modules[arg.target])
            arg = arg.args[0]
        return arg, chain

    for node in prepared.graph.nodes:
        if node.op not in ("call_function", "output"):
            continue
        args, flat = list(node.args), []
        while args:
            a = args.pop(0)
            if isinstance(a, (list, tuple)):
                args = list(a) + args
            elif isinstance(a, torch.fx.Node):
                flat.append(a)
        for a in flat:
            producer, chain = trace(a)
            ids = []
            for observer in chain:
                if id(observer) not in numbers:
                    numbers[id(observer)] = len(observers)
                    observers.append(describe(observer))
                ids.append(numbers[id(observer)])
            name = producer.target if producer.op == "get_attr" else producer.name
            name = "scalar" if name.startswith("_tensor_constant_") else name
            out.append([name, node.name, ids])
    return observers, out


def main():
    default = Path(__file__).parent.parent / "crates/quant/tests/golden/pt2e.json"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    cases, of = [], {c[0]: c for c in CASES}
    for name, module, inputs, config, graph in CASES + [(*of[name][:3], settings, of[name][4]) for name, settings in X86]:
        model = torch.export.export_for_training(module().eval(), inputs, strict=True).module()
        prepared = prepare_pt2e(model, quantizer(config))
        prepared(*inputs)
        observers, found = edges(prepared)
        cases.append({"name": name, "config": config, "graph": graph, "observers": observers, "edges": found})
    configs = {k: dict(v) for k, v in CONFIGS.items()}
    text = json.dumps({"torch": "2.8.0", "configs": configs, "cases": cases}, indent=1)
    out.write_text(text + "\n")


main()
