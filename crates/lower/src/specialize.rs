//! From symbolic to concrete shapes: binds dimensions, infers types, folds what has become constant.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_interp::eval_constant;
use quantc_ir::{Graph, IrError, NodeId, NodeKind, ValueRef};
use quantc_ops::dims::check_size;
use quantc_ops::{OpClass, OpError, Signature};
use quantc_tensor::{Dim, Shape, Tensor, TensorType};

use crate::LowerError;
use crate::attrs::AttrView;

/// Results beyond this many elements are computed by the plan rather than kept in it.
const MAX_FOLDED: usize = 1 << 22;

/// The graph for inputs of these types: every type known, shape arithmetic folded, dead nodes gone.
///
/// # Errors
/// If the inputs do not fit the graph, a call does not type, or a shape stays unknown.
pub(crate) fn specialize(graph: &Graph, inputs: &[(&str, TensorType)]) -> Result<Graph, LowerError> {
    let mut graph = graph.clone();
    let symbols = bind(&mut graph, inputs)?;
    let order: Vec<NodeId> = graph.order().collect();
    for id in order {
        let Some((op, attrs)) = graph.node(id).call().map(|(op, attrs)| (op, attrs.clone())) else { continue };
        let declared: Vec<TensorType> = graph.node(id).types().to_vec();
        graph.set_attrs(id, attrs.clone())?;
        for (output, ty) in declared.into_iter().enumerate() {
            let shape = ty.shape.dims().iter().map(|d| substitute(d, &symbols)).collect();
            let value = ValueRef { node: id, output: output as u32 };
            // A declaration made for another batch size may contradict what is now known: inference wins.
            let _ = graph.refine_type(value, &TensorType { dtype: ty.dtype, shape });
        }
        let constants = match shape_of(&graph, id, op.signature())? {
            Some(shape) => Some(vec![shape]),
            None if is_small(&graph, id) || is_weight(&graph, id) => eval_constant(&graph, id)?,
            None => None,
        };
        for (output, tensor) in constants.into_iter().flatten().enumerate() {
            let name = graph.fresh_param_name(&format!("{}.{output}", graph.node(id).name()));
            let param = graph.param(&name, tensor);
            graph.replace_uses(ValueRef { node: id, output: output as u32 }, param.into(), &[]);
        }
    }
    graph.eliminate_dead();
    for id in graph.order() {
        let node = graph.node(id);
        if let Some(ty) = node.types().iter().find(|ty| ty.shape.to_known().is_none()) {
            let op = node.call().map_or("input", |(op, _)| op.name());
            return Err(LowerError::UnknownShape {
                node: node.name().to_owned(),
                op: op.to_owned(),
                ty: Box::new(ty.clone()),
            });
        }
    }
    Ok(graph)
}

fn substitute(dim: &Dim, symbols: &HashMap<Arc<str>, usize>) -> Dim {
    match dim {
        Dim::Symbol(name) => symbols.get(name).map_or_else(|| dim.clone(), |&n| Dim::Known(n)),
        _ => dim.clone(),
    }
}

/// Gives the placeholders their types; the sizes of the symbols.
fn bind(graph: &mut Graph, inputs: &[(&str, TensorType)]) -> Result<HashMap<Arc<str>, usize>, LowerError> {
    let placeholders: Vec<NodeId> = graph.placeholders().collect();
    let expected = || {
        let list: Vec<_> =
            placeholders.iter().map(|&id| format!("{}: {}", graph.node(id).name(), graph.ty(id))).collect();
        list.join(", ")
    };
    let fail = |name: &str, message: String| LowerError::Input { name: name.to_owned(), message, expected: expected() };
    if let Some((name, _)) =
        inputs.iter().find(|(name, _)| !placeholders.iter().any(|&id| graph.node(id).name() == *name))
    {
        return Err(fail(name, "the model has no such input".to_owned()));
    }
    let mut symbols: HashMap<Arc<str>, usize> = HashMap::new();
    let mut types = Vec::new();
    for &id in &placeholders {
        let (name, declared) = (graph.node(id).name(), graph.ty(id));
        let Some((_, given)) = inputs.iter().find(|(given, _)| *given == name) else {
            return Err(fail(name, "is missing".to_owned()));
        };
        let sizes = given.shape.to_known().ok_or_else(|| fail(name, format!("{given} has unknown sizes")))?;
        if given.dtype != declared.dtype || !given.shape.compatible(&declared.shape) {
            return Err(fail(name, format!("is {given}, the model needs {declared}")));
        }
        check_size(given).map_err(|e| fail(name, e.to_string()))?;
        for (dim, &size) in declared.shape.dims().iter().zip(&sizes) {
            let Dim::Symbol(symbol) = dim else { continue };
            let first = *symbols.entry(symbol.clone()).or_insert(size);
            if first != size {
                return Err(fail(name, format!("dimension `{symbol}` is {size} here and {first} in another input")));
            }
        }
        types.push((id, TensorType::new(given.dtype, Shape::known(&sizes))));
    }
    for (id, ty) in types {
        graph.set_placeholder_type(id, ty);
    }
    Ok(symbols)
}

/// The value of a `shape` call on a tensor of known sizes, which need not be a constant itself.
fn shape_of(graph: &Graph, id: NodeId, sig: &'static Signature) -> Result<Option<Tensor>, LowerError> {
    let node = graph.node(id);
    let (NodeKind::Call { attrs, .. }, "shape") = (node.kind(), sig.name) else { return Ok(None) };
    let sizes = node.inputs().first().copied().flatten().and_then(|v| graph.ty(v).shape.to_known());
    let Some(sizes) = sizes else { return Ok(None) };
    let attrs = AttrView::new(sig, attrs);
    let end_of = |name: &str, default: usize| -> Result<usize, OpError> {
        let rank = sizes.len() as i64;
        let given = if attrs.has(name) { attrs.int(name)? } else { default as i64 };
        Ok((if given < 0 { given + rank } else { given }).clamp(0, rank) as usize)
    };
    let fail = |source| IrError::Op { node: node.name().to_owned(), op: sig.name.to_owned(), source };
    let (start, end) = (end_of("start", 0).map_err(fail)?, end_of("end", sizes.len()).map_err(fail)?);
    let dims = sizes.get(start..end.max(start)).unwrap_or(&[]);
    Ok(Some(Tensor::vector(dims.iter().map(|&d| d as i64).collect())))
}

/// Whether layers and products alone read a value: what they compute with is worth keeping, however large.
fn is_weight(graph: &Graph, id: NodeId) -> bool {
    let mut users = graph.users(id).into_iter().peekable();
    let heavy = |user: NodeId| graph.node(user).call().is_some_and(|(op, _)| op.signature().class == OpClass::Heavy);
    users.peek().is_some() && users.all(|(user, _)| heavy(user))
}

fn is_small(graph: &Graph, id: NodeId) -> bool {
    let numel = |ty: &TensorType| ty.shape.numel().unwrap_or(0);
    graph.node(id).types().iter().map(numel).sum::<usize>() <= MAX_FOLDED
}
