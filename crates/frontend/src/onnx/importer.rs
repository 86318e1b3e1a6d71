//! The import of a graph: values by name, constants folded on the way, calls appended with readable names and origins.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use quantc_ir::{Graph, ValueRef};
use quantc_ops::{Attrs, InferCx, InputInfo, OpClass, OpRef};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType, Value};

use super::error::{NodeError, OnnxErrorKind};
use super::node::NodeCx;
use super::ops;
use super::proto::{
    DimensionValue, GraphProto, ModelProto, NodeProto, TensorTypeProto, ValueInfoProto, attribute_type,
};
use super::scope::{Place, places};
use super::symbolic::Symbolic;
use super::{OPSETS, tensor};

/// Constants with at most this many elements are folded even where folding makes them larger.
const FOLD_LIMIT: usize = 1 << 16;

/// A value while importing: a constant that no call uses yet, or an output of a node of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Val {
    Const(usize),
    Node(ValueRef),
}

struct Constant {
    name: String,
    tensor: Tensor,
    /// Its `get_attr` node, once a call uses it.
    emitted: Option<ValueRef>,
}

pub(crate) struct Importer {
    pub(crate) graph: Graph,
    constants: Vec<Constant>,
    /// `None` for outputs that our operators do not compute.
    values: HashMap<String, Option<Val>>,
    pub(crate) symbolic: Symbolic,
}

/// Imports a decoded model. `base` is the folder of its file.
pub(crate) fn import(model: ModelProto, name: Option<&str>, base: Option<&Path>) -> Result<Graph, OnnxErrorKind> {
    let opset = opset(&model)?;
    let Some(proto) = model.graph else {
        return Err(OnnxErrorKind::NotOnnx {
            reason: "it has no graph".to_owned(),
            hint: "is it another kind of file?".to_owned(),
        });
    };
    check_supported(&proto, opset)?;
    let graph_name = name.map(str::to_owned).filter(|n| !n.is_empty()).unwrap_or_else(|| proto.name.clone());
    let mut importer = Importer {
        graph: Graph::new(if graph_name.is_empty() { "model" } else { &graph_name }),
        constants: Vec::new(),
        values: HashMap::new(),
        symbolic: Symbolic::default(),
    };
    importer.initializers(&proto, base)?;
    let symbols = importer.inputs(&proto)?;
    let weights: HashSet<&str> = proto
        .initializer
        .iter()
        .filter(|t| tensor::dtype(t.data_type) == Ok(DType::F32))
        .map(|t| t.name.as_str())
        .collect();
    let places = places(&proto.node, |name| weights.contains(name));
    let declared: HashMap<&str, &ValueInfoProto> =
        proto.value_info.iter().chain(&proto.output).map(|v| (v.name.as_str(), v)).collect();
    for (node, place) in proto.node.iter().zip(&places) {
        let node_name = if node.name.is_empty() { node.output.first().unwrap_or(&node.name) } else { &node.name };
        importer.node(node, place, opset, &declared, &symbols).map_err(|source| OnnxErrorKind::Node {
            node: node_name.clone(),
            op: node.op_type.clone(),
            opset,
            source: Box::new(source),
        })?;
    }
    importer.finish(&proto)
}

fn opset(model: &ModelProto) -> Result<i64, OnnxErrorKind> {
    let standard = model.opset_import.iter().find(|o| is_standard(&o.domain));
    let Some(version) = standard.map(|o| o.version) else {
        return Err(OnnxErrorKind::NotOnnx {
            reason: "it names no version of the standard operators".to_owned(),
            hint: "is it another kind of file, or truncated?".to_owned(),
        });
    };
    if OPSETS.contains(&version) { Ok(version) } else { Err(OnnxErrorKind::Opset { version }) }
}

fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Finds every operator of the file that has no import, before anything else fails.
fn check_supported(graph: &GraphProto, opset: i64) -> Result<(), OnnxErrorKind> {
    let mut missing: Vec<(String, usize, &NodeProto)> = Vec::new();
    for node in &graph.node {
        let has_graph = |n: &NodeProto| {
            n.attribute.iter().any(|a| {
                matches!(a.r#type, attribute_type::GRAPH | attribute_type::GRAPHS) || (a.r#type == 0 && a.g.is_some())
            })
        };
        if is_standard(&node.domain) && ops::lookup(&node.op_type).is_some() && !has_graph(node) {
            continue;
        }
        let label = match (is_standard(&node.domain), has_graph(node)) {
            (_, true) => format!("{} (control flow with subgraphs)", node.op_type),
            (true, false) => node.op_type.clone(),
            (false, false) => format!("{}::{}", node.domain, node.op_type),
        };
        match missing.iter_mut().find(|m| m.0 == label) {
            Some(m) => m.1 += 1,
            None => missing.push((label, 1, node)),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let describe = |(label, times, first): &(String, usize, &NodeProto)| {
        let name = if first.name.is_empty() { first.output.first().unwrap_or(&first.name) } else { &first.name };
        let nodes = if *times == 1 { "node" } else { "nodes, first" };
        format!("{label} ({times} {nodes} `{name}`)")
    };
    Err(OnnxErrorKind::UnsupportedOps { opset, ops: missing.iter().map(describe).collect() })
}

/// The shape a file declares; `None` if it declares no rank. Size 0 is how some exporters write a dynamic dimension.
fn declared_shape(ty: &TensorTypeProto) -> Option<Shape> {
    let dims = &ty.shape.as_ref()?.dim;
    let dim = |value: &Option<DimensionValue>| match value {
        Some(DimensionValue::DimValue(n)) if *n > 0 => usize::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(DimensionValue::DimParam(name)) if is_symbol(name) => Dim::symbol(name),
        _ => Dim::Unknown,
    };
    Some(dims.iter().map(|d| dim(&d.value)).collect())
}

/// Whether a dimension's name can be a symbol of ours; exporters also write expressions and placeholders for "anything".
fn is_symbol(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("unk__")
}

impl Importer {
    fn initializers(&mut self, proto: &GraphProto, base: Option<&Path>) -> Result<(), OnnxErrorKind> {
        if !proto.sparse_initializer.is_empty() {
            return Err(OnnxErrorKind::NotOnnx {
                reason: "sparse initializers are not supported".to_owned(),
                hint: "export the model with dense weights".to_owned(),
            });
        }
        for t in &proto.initializer {
            let tensor = tensor::decode(t, base)
                .map_err(|source| OnnxErrorKind::Initializer { name: t.name.clone(), source })?;
            let val = self.constant_val(&t.name, tensor);
            self.values.insert(t.name.clone(), Some(val));
        }
        Ok(())
    }

    /// Adds the placeholders; returns the symbols of their shapes.
    fn inputs(&mut self, proto: &GraphProto) -> Result<HashSet<Arc<str>>, OnnxErrorKind> {
        let mut symbols = HashSet::new();
        for input in &proto.input {
            if self.values.contains_key(&input.name) {
                continue;
            }
            let fail = |message: String, hint: &str| OnnxErrorKind::Interface {
                role: "input",
                name: input.name.clone(),
                message,
                hint: hint.to_owned(),
            };
            let Some(ty) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
                return Err(fail("is no tensor".to_owned(), "sequences, maps and optionals are not supported"));
            };
            let dtype = tensor::dtype(ty.elem_type).map_err(|e| fail(e.to_string(), "convert the model's inputs"))?;
            let Some(shape) = declared_shape(ty) else {
                return Err(fail("has no rank".to_owned(), "export the model with the shapes of its inputs"));
            };
            symbols.extend(shape.0.iter().filter_map(|d| match d {
                Dim::Symbol(s) => Some(s.clone()),
                _ => None,
            }));
            let id = self.graph.placeholder(&input.name, TensorType { dtype, shape });
            self.values.insert(input.name.clone(), Some(Val::Node(id.into())));
        }
        Ok(symbols)
    }

    fn node(
        &mut self,
        node: &NodeProto,
        place: &Place,
        opset: i64,
        declared: &HashMap<&str, &ValueInfoProto>,
        symbols: &HashSet<Arc<str>>,
    ) -> Result<(), NodeError> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(if name.is_empty() { None } else { Some(self.resolve(name)?) });
        }
        let Some(import) = ops::lookup(&node.op_type) else {
            return Err(NodeError::mismatch("the operator is not supported"));
        };
        let cx = NodeCx::new(node, opset, place, inputs);
        let outputs = import(self, &cx)?;
        cx.finish()?;
        for (i, name) in node.output.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
            let val = outputs.get(i).copied();
            if let (Some(Val::Node(value)), Some(info)) = (val, declared.get(name.as_str())) {
                self.refine(value, info, symbols);
            }
            if self.values.insert(name.clone(), val).is_some() {
                return Err(NodeError::mismatch(format!("its output `{name}` is computed twice")));
            }
        }
        Ok(())
    }

    fn resolve(&self, name: &str) -> Result<Val, NodeError> {
        let undefined = |hint: &str| NodeError::UndefinedInput { name: name.to_owned(), hint: hint.to_owned() };
        match self.values.get(name) {
            Some(Some(val)) => Ok(*val),
            Some(None) => Err(undefined("it is an optional output that is not supported, such as a mask or indices")),
            None => Err(undefined("the file is damaged, or its nodes are not in topological order")),
        }
    }

    /// Narrows a type to what the file declares. Inference is right where they contradict each other: files with stale
    /// `value_info` are common.
    fn refine(&mut self, value: ValueRef, info: &ValueInfoProto, symbols: &HashSet<Arc<str>>) {
        let Some(ty) = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else { return };
        let (Ok(dtype), Some(mut shape)) = (tensor::dtype(ty.elem_type), declared_shape(ty)) else { return };
        // A symbol that no input has can't be bound.
        for dim in &mut shape.0 {
            if matches!(dim, Dim::Symbol(s) if !symbols.contains(s)) {
                *dim = Dim::Unknown;
            }
        }
        if let Err(e) = self.graph.refine_type(value, &TensorType { dtype, shape }) {
            tracing::warn!("declared type ignored: {e}");
        }
    }

    fn finish(mut self, proto: &GraphProto) -> Result<Graph, OnnxErrorKind> {
        let mut outputs: Vec<(Arc<str>, ValueRef)> = Vec::new();
        for output in &proto.output {
            let fail = |message: String| OnnxErrorKind::Interface {
                role: "output",
                name: output.name.clone(),
                message,
                hint: "the file is damaged, or uses an optional output that is not supported".to_owned(),
            };
            let val = self.resolve(&output.name).map_err(|_| fail("nothing computes it".to_owned()))?;
            let value = self.value(val, "output", &output.name);
            outputs.push((Arc::from(output.name.as_str()), value));
        }
        if outputs.is_empty() {
            return Err(OnnxErrorKind::NotOnnx {
                reason: "its graph has no outputs".to_owned(),
                hint: "is the file truncated?".to_owned(),
            });
        }
        self.graph.set_outputs(&outputs);
        self.graph.eliminate_dead();
        Ok(self.graph)
    }

    /// A new constant.
    pub(crate) fn constant_val(&mut self, name: &str, tensor: Tensor) -> Val {
        self.constants.push(Constant { name: name.to_owned(), tensor, emitted: None });
        Val::Const(self.constants.len() - 1)
    }

    /// A new constant of integers.
    pub(crate) fn ints_val(&mut self, cx: &NodeCx<'_>, values: Vec<i64>) -> Val {
        self.constant_val(cx.output_name(), Tensor::vector(values))
    }

    /// The value, if it is a constant.
    pub(crate) fn constant(&self, val: Val) -> Option<&Tensor> {
        match val {
            Val::Const(i) => self.constants.get(i).map(|c| &c.tensor),
            Val::Node(_) => None,
        }
    }

    /// The integers of a constant.
    pub(crate) fn const_ints(&self, val: Val) -> Option<Vec<i64>> {
        self.constant(val).map(Tensor::to_i64_vec)
    }

    /// The integers of an input that must be a constant.
    pub(crate) fn need_ints(&self, val: Val, name: &str) -> Result<Vec<i64>, NodeError> {
        self.const_ints(val).ok_or_else(|| NodeError::NotConstant { name: name.to_owned() })
    }

    /// The single number of an input that must be a constant.
    pub(crate) fn need_scalar(&self, val: Val, name: &str) -> Result<f32, NodeError> {
        let tensor = self.constant(val).ok_or_else(|| NodeError::NotConstant { name: name.to_owned() })?;
        tensor.as_scalar_f32().ok_or_else(|| {
            NodeError::mismatch(format!("its input `{name}` has shape {:?}, it must be one number", tensor.shape()))
        })
    }

    /// The type of a value.
    pub(crate) fn ty(&self, val: Val) -> TensorType {
        match val {
            Val::Const(i) => self.constants[i].tensor.ty(),
            Val::Node(v) => self.graph.ty(v).clone(),
        }
    }

    /// The rank of a value.
    pub(crate) fn rank(&self, val: Val) -> usize {
        self.ty(val).shape.rank()
    }

    /// The sizes of a value, which must all be known.
    pub(crate) fn need_shape(&self, val: Val) -> Result<Vec<usize>, NodeError> {
        let shape = self.ty(val).shape;
        shape.to_known().ok_or_else(|| NodeError::UnknownShape { shape: shape.to_string() })
    }

    /// The value in the graph: a constant becomes a parameter, named after itself or, if its name means nothing to a reader,
    /// after the call that uses it first and its role there.
    fn value(&mut self, val: Val, role: &str, user: &str) -> ValueRef {
        let i = match val {
            Val::Node(v) => return v,
            Val::Const(i) => i,
        };
        let constant = &self.constants[i];
        if let Some(v) = constant.emitted {
            return v;
        }
        let meaningful = !constant.name.is_empty()
            && !constant.name.starts_with('/')
            && !constant.name.contains("::")
            && !constant.name.trim_start_matches("val_").bytes().all(|b| b.is_ascii_digit());
        let name = if meaningful { constant.name.clone() } else { format!("{user}.{role}") };
        let name = self.graph.fresh_param_name(&name);
        let v = ValueRef::from(self.graph.param(&name, constant.tensor.clone()));
        self.constants[i].emitted = Some(v);
        v
    }

    /// Appends a call, or evaluates it if all its inputs are constants.
    pub(crate) fn emit(
        &mut self,
        cx: &NodeCx<'_>,
        op: &'static str,
        inputs: &[Option<Val>],
        attrs: Attrs,
    ) -> Result<Vec<Val>, NodeError> {
        let op = quantc_ops::lookup(op)
            .ok_or_else(|| NodeError::mismatch(format!("the operator `{op}` is missing from the table")))?;
        if let Some(folded) = self.fold(cx, op, inputs, &attrs)? {
            return Ok(folded);
        }
        let name = cx.place.call_name(op.name());
        let specs = op.signature().inputs;
        let mut refs = Vec::with_capacity(inputs.len());
        for (i, input) in inputs.iter().enumerate() {
            let role = match specs.get(i.min(specs.len().saturating_sub(1))).map_or("input", |s| s.name) {
                "other" if op.name() == "matmul" => "weight",
                role => role,
            };
            refs.push(input.map(|v| self.value(v, role, &name)));
        }
        let id = self.graph.call(&name, op, &refs, attrs, std::slice::from_ref(&cx.place.origin))?;
        let outputs: Vec<Val> = (0..self.graph.node(id).types().len())
            .map(|output| Val::Node(ValueRef { node: id, output: output as u32 }))
            .collect();
        self.track(op.name(), inputs, &outputs);
        if let [output] = outputs[..]
            && let Some(tensor) = self.known_ints(output)
        {
            // The call that computes it is dead.
            return Ok(vec![self.constant_val(cx.output_name(), tensor)]);
        }
        Ok(outputs)
    }

    /// [`Importer::emit`] of an operator with one output.
    pub(crate) fn emit1(
        &mut self,
        cx: &NodeCx<'_>,
        op: &'static str,
        inputs: &[Val],
        attrs: Attrs,
    ) -> Result<Val, NodeError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let outputs = self.emit(cx, op, &inputs, attrs)?;
        outputs.first().copied().ok_or_else(|| NodeError::mismatch(format!("`{op}` has no output")))
    }

    fn fold(
        &mut self,
        cx: &NodeCx<'_>,
        op: OpRef,
        inputs: &[Option<Val>],
        attrs: &Attrs,
    ) -> Result<Option<Vec<Val>>, NodeError> {
        // Weights that the file keeps quantized stay so.
        if matches!(op.class(), OpClass::Quantization | OpClass::Heavy) || inputs.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut infos = Vec::with_capacity(inputs.len());
        let mut size = 0;
        for input in inputs {
            infos.push(match input {
                None => None,
                Some(v) => match self.constant(*v) {
                    None => return Ok(None),
                    Some(t) => {
                        size += t.numel();
                        Some(InputInfo { ty: t.ty(), value: Some(t) })
                    }
                },
            });
        }
        let sig = op.signature();
        sig.check_inputs(&infos.iter().map(Option::is_some).collect::<Vec<_>>())?;
        let attrs = attrs.clone().check(sig)?;
        let types = op.infer(&InferCx::new(sig, &infos, &attrs))?;
        let small = types.iter().all(|ty| {
            let len = ty.shape.to_known().and_then(|s| s.iter().try_fold(1usize, |n, &d| n.checked_mul(d)));
            len.is_some_and(|n| n <= FOLD_LIMIT.max(size))
        });
        if !small {
            return Ok(None);
        }
        let values: Vec<Option<Value>> = infos.iter().map(|i| i.as_ref()?.value.cloned().map(Value::from)).collect();
        let results = op.eval(&values, &attrs)?;
        Ok(Some(results.iter().map(|v| self.constant_val(cx.output_name(), v.to_tensor())).collect()))
    }
}
