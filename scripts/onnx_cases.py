"""Small ONNX models with what onnxruntime computes: the cases of `golden_onnx_*.py`.

Each case holds the model's bytes (hex), its inputs and the outputs of onnxruntime.
"""
import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

CASES = []


def i64(*values):
    return np.array(values, np.int64)


def tensor_json(a):
    a = np.asarray(a)
    data = [float(str(v)) for v in a.ravel()] if a.dtype.kind == "f" else [int(v) for v in a.ravel()]
    return {"dtype": {"float32": "f32", "float64": "f64", "int64": "i64", "int32": "i32", "int8": "i8", "uint8": "u8", "bool": "bool"}[str(a.dtype)], "shape": list(a.shape), "data": data}


def case(name, nodes, inputs, opset=17, consts=None, outputs=("y",), symbolic=()):
    """inputs: dict of arrays given at run time; consts: dict of initializers; symbolic: inputs whose dimension 0 is `N`."""
    inputs = {k: np.asarray(v) for k, v in inputs.items()}
    graph_inputs = []
    for k, v in inputs.items():
        shape = list(v.shape)
        if k in symbolic:
            shape[0] = "N"
        graph_inputs.append(helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), shape))
    inits = [numpy_helper.from_array(np.asarray(v), k) for k, v in (consts or {}).items()]
    outs = [onnx.ValueInfoProto(name=o) for o in outputs]
    graph = helper.make_graph(nodes, name, graph_inputs, outs, inits)
    ir = 7 if opset < 15 else 8 if opset < 19 else 9
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, producer_name="")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(list(outputs), inputs)
    CASES.append({
        "name": name, "opset": opset, "model": model.SerializeToString().hex(),
        "inputs": {k: tensor_json(v) for k, v in inputs.items()},
        "outputs": {k: tensor_json(v) for k, v in zip(outputs, results)},
    })


def op(name, op_type, inputs, consts=(), opset=17, outputs=("y",), symbolic=(), **attrs):
    """One node; inputs is a list of (name, array) or None; those named in consts are initializers."""
    names = ["" if v is None else v[0] for v in inputs]
    node = helper.make_node(op_type, names, list(outputs), name=f"n_{name}", **attrs)
    given = {k: v for k, v in filter(None, inputs) if k not in consts}
    case(name, [node], given, opset, {k: v for k, v in filter(None, inputs) if k in consts}, outputs, symbolic)


def write(path):
    """All cases so far."""
    with open(path, "w") as out:
        json.dump(CASES, out, separators=(",", ":"))
    print(len(CASES), "cases")
