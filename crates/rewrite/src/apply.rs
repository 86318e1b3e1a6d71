//! Putting a rule's template into the e-graph.

use std::sync::Arc;

use egg::Id;
use quantc_ir::NodeId;
use quantc_ops::{Attr, Attrs, InferCx, InputInfo, InputKind, OpClass, OpRef};
use quantc_pattern::Template;
use quantc_pattern::ast::CallTemplate;
use quantc_pattern::expr::Env;
use quantc_pattern::matcher::{Binding, Host};
use quantc_tensor::{Tensor, TensorType};
use smallvec::{SmallVec, smallvec};

use crate::encode::add_typed;
use crate::host::{Call, View};
use crate::lang::{EGraph, ENode, LEAF, NONE, OUTPUT, Provenance, Types};

/// A template with every expression evaluated: what is left is to add nodes. Made while the e-graph is still as it was
/// searched, applied when it has changed.
pub(crate) enum Plan {
    Existing(Id),
    None,
    Const(Tensor),
    Call { op: OpRef, inputs: Vec<Plan>, attrs: Attrs },
    Output { index: u32, of: Box<Plan> },
}

/// Evaluates a template under the bindings of a match.
///
/// # Errors
/// Why the match can't be rewritten.
pub(crate) fn plan(template: &Template, env: Env<'_, View<'_>>) -> Result<Plan, String> {
    match template {
        Template::None => Ok(Plan::None),
        Template::Var(var) => match env.binding(*var) {
            Some(Binding::Value(id)) => Ok(Plan::Existing(*id)),
            Some(Binding::Absent) => Ok(Plan::None),
            _ => Err("a variable of the template is not bound".to_owned()),
        },
        Template::Const(expr) => {
            let value = env.eval(expr).ok_or("a constant of the template has no value")?;
            constant(&value).map(Plan::Const).ok_or_else(|| format!("a constant can't be a {}", value.kind()))
        }
        Template::Output { index, of } => match env.eval(index) {
            Some(Attr::Int(i)) if i >= 0 => Ok(Plan::Output { index: i as u32, of: Box::new(plan(of, env)?) }),
            _ => Err("the number of an output has no value".to_owned()),
        },
        Template::Call(call) => plan_call(call, env),
    }
}

fn plan_call(call: &CallTemplate, env: Env<'_, View<'_>>) -> Result<Plan, String> {
    let sig = call.op.signature();
    let mut attrs = Attrs::new();
    for record in &call.records {
        let Some(Binding::Record(node)) = env.binding(record.var) else {
            return Err("a record of the template is not bound".to_owned());
        };
        let (source, values) = env.host.call(*node);
        // Defaults are written out: the target's may differ.
        for spec in source.signature().attrs {
            let kept =
                record.only.as_ref().is_none_or(|o| o.contains(&spec.name)) && !record.without.contains(&spec.name);
            let value = source.signature().attr(values, spec.name);
            if let (true, Some(value), Some(name)) = (kept, value, sig.attr_name(spec.name)) {
                attrs.set(name, value);
            }
        }
    }
    for (name, expr) in &call.fields {
        match env.eval(expr) {
            Some(value) => attrs.set(name, value),
            None => {
                attrs.remove(name);
            }
        }
    }
    let attrs = attrs.check(sig).map_err(|e| e.to_string())?;
    let mut inputs: Vec<Plan> = call.inputs.iter().map(|i| plan(i, env)).collect::<Result<_, _>>()?;
    if let Some(rest) = &call.rest {
        for i in 0..repetitions(rest, env) {
            inputs.push(plan(rest, env.at(i))?);
        }
    }
    Ok(Plan::Call { op: call.op, inputs, attrs })
}

fn repetitions(template: &Template, env: Env<'_, View<'_>>) -> usize {
    match template {
        Template::Var(var) => env.var_repetitions(*var),
        Template::Call(c) => c.inputs.iter().map(|i| repetitions(i, env)).max().unwrap_or(0),
        Template::Output { of, .. } => repetitions(of, env),
        Template::None | Template::Const(_) => 0,
    }
}

/// A scalar or vector tensor: real numbers f32, integers i64.
pub(crate) fn constant(value: &Attr) -> Option<Tensor> {
    Some(match value {
        Attr::Float(v) => Tensor::scalar(v.0),
        Attr::Int(v) => Tensor::scalar(*v),
        Attr::Bool(v) => Tensor::scalar(*v),
        Attr::Floats(v) => Tensor::vector(v.iter().map(|f| f.0).collect::<Vec<f32>>()),
        Attr::Ints(v) => Tensor::vector(v.clone()),
        Attr::Str(_) | Attr::DType(_) => return None,
    })
}

/// Adds planned nodes.
pub(crate) struct Applier<'a> {
    pub(crate) egraph: &'a mut EGraph,
    /// Provenance of every node it adds, made when the first one is added.
    sources: SmallVec<[NodeId; 2]>,
    rule: u32,
    root_name: Arc<str>,
    /// Names of matched calls by operator.
    names: SmallVec<[(OpRef, Arc<str>); 4]>,
    identity: u32,
}

impl<'a> Applier<'a> {
    /// An applier for one match of a rule.
    pub(crate) fn new(egraph: &'a mut EGraph, rule: u32, nodes: &[Call]) -> Applier<'a> {
        let facts = &egraph.analysis;
        let mut sources: SmallVec<[NodeId; 2]> = SmallVec::new();
        let mut names: SmallVec<[(OpRef, Arc<str>); 4]> = SmallVec::new();
        let mut identity = 0;
        let view = View(egraph);
        for node in nodes {
            let provenance = &facts.provenance[node.provenance as usize];
            sources.extend(provenance.sources.iter().copied());
            names.push((view.call(*node).0, provenance.name.clone()));
            if identity == 0 {
                identity = node.identity;
            }
        }
        sources.sort_unstable();
        sources.dedup();
        let root_name = names.first().map_or_else(|| Arc::from(""), |(_, n)| n.clone());
        Applier { egraph, sources, rule, root_name, names, identity }
    }

    /// Adds the nodes of a plan and returns the class of its root; `None` for an absent value.
    ///
    /// # Errors
    /// If a call does not type: the rule does not fit this match.
    pub(crate) fn add(&mut self, plan: &Plan, is_root: bool) -> Result<Option<Id>, String> {
        Ok(Some(match plan {
            Plan::None => return Ok(None),
            Plan::Existing(id) => self.egraph.find(*id),
            Plan::Const(tensor) => {
                let leaf = self.egraph.analysis.constant(tensor.clone());
                let ty = self.egraph.analysis.type_id(smallvec![tensor.ty()]);
                add_typed(self.egraph, ENode::leaf(LEAF, leaf), ty)
            }
            Plan::Output { index, of } => {
                let whole = self.add(of, false)?.ok_or("an absent value has no outputs")?;
                let ty = self.types(whole)?.get(*index as usize).cloned();
                let ty = ty.ok_or_else(|| format!("there is no output {index}"))?;
                let ty = self.egraph.analysis.type_id(smallvec![ty]);
                add_typed(self.egraph, ENode { children: smallvec![whole], ..ENode::leaf(OUTPUT, *index) }, ty)
            }
            Plan::Call { op, inputs, attrs } => {
                let inputs = inputs.iter().map(|i| self.add(i, false)).collect::<Result<Vec<_>, _>>()?;
                self.call(*op, &inputs, attrs, is_root)?
            }
        }))
    }

    fn types(&self, class: Id) -> Result<Types, String> {
        let facts = &self.egraph.analysis;
        facts.types_of(self.egraph[class].data).cloned().ok_or_else(|| "a value has no known type".to_owned())
    }

    fn call(&mut self, op: OpRef, inputs: &[Option<Id>], attrs: &Attrs, is_root: bool) -> Result<Id, String> {
        let sig = op.signature();
        let types = self.infer(op, inputs, attrs)?;
        let ty = self.egraph.analysis.type_id(types);
        let variadic = sig.inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
        let count = if variadic { inputs.len() } else { sig.inputs.len() };
        let mut children = SmallVec::new();
        for i in 0..count {
            children.push(match inputs.get(i).copied().flatten() {
                Some(id) => id,
                None => self.egraph.add(ENode::leaf(NONE, 0)),
            });
        }
        let op_code = self.egraph.analysis.op_code(op);
        let payload = self.egraph.analysis.attrs_id(attrs.clone());
        let identity = if op.class() == OpClass::Heavy { self.identity } else { 0 };
        let mut node = ENode { op: op_code, payload, identity, children, provenance: 0 };
        if let Some(existing) = self.egraph.lookup(node.clone()) {
            return Ok(existing);
        }
        let name = if is_root {
            self.root_name.clone()
        } else {
            match self.names.iter().find(|(o, _)| *o == op) {
                Some((_, name)) => name.clone(),
                None => Arc::from(format!("{}.{}", self.root_name, op.name())),
            }
        };
        let facts = &mut self.egraph.analysis;
        node.provenance = facts.provenance.len() as u32;
        facts.provenance.push(Provenance { sources: self.sources.clone(), name, rule: Some(self.rule) });
        Ok(add_typed(self.egraph, node, ty))
    }

    fn infer(&self, op: OpRef, inputs: &[Option<Id>], attrs: &Attrs) -> Result<Types, String> {
        let given: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        op.signature().check_inputs(&given).map_err(|e| e.to_string())?;
        let view = View(self.egraph);
        let info = |id: &Option<Id>| match id {
            None => Ok(None),
            Some(id) => {
                let ty: &TensorType = view.ty(*id).ok_or("a value has no known type")?;
                Ok::<_, String>(Some(InputInfo { ty: ty.clone(), value: view.constant(*id) }))
            }
        };
        let infos = inputs.iter().map(info).collect::<Result<Vec<_>, _>>()?;
        let types = op.infer(&InferCx::new(op.signature(), &infos, attrs)).map_err(|e| e.to_string())?;
        Ok(types.into_iter().collect())
    }
}
