//! Putting a rule's template into the e-graph.

use egg::Id;
use quantc_ops::{Attr, Attrs, InferCx, InputInfo, InputKind, OpClass, OpRef, with_article};
use quantc_pattern::Template;
use quantc_pattern::ast::CallTemplate;
use quantc_pattern::expr::{Env, Expr};
use quantc_pattern::matcher::{Binding, Host};
use quantc_tensor::Tensor;
use smallvec::{SmallVec, smallvec};

use crate::encode::add_typed;
use crate::host::{Call, View};
use crate::lang::{ABSENT, EGraph, ENode, LEAF, NONE, OUTPUT};

/// A template with every expression evaluated: what is left is to add nodes. Made while the e-graph is still as it was
/// searched, applied when it has changed. Small, since there are as many at a time as there are matches.
pub(crate) enum Plan {
    Existing(Id),
    None,
    Const(Box<Attr>),
    Call(Box<CallPlan>),
    Output { index: u32, of: Box<Plan> },
}

/// A call of a [`Plan`].
pub(crate) struct CallPlan {
    pub(crate) op: OpRef,
    pub(crate) inputs: Vec<Plan>,
    pub(crate) attrs: Attrs,
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
            Ok(Plan::Const(Box::new(value)))
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
            None if may_be_absent(expr, env) => {
                attrs.remove(name);
            }
            None => return Err(format!("the expression of `:{name}` has no value")),
        }
    }
    let attrs = attrs.check(sig).map_err(|e| e.to_string())?;
    let mut inputs = Vec::with_capacity(call.inputs.len());
    for input in &call.inputs {
        inputs.push(plan(input, env)?);
    }
    if let Some(rest) = &call.rest {
        for i in 0..repetitions(rest, env) {
            inputs.push(plan(rest, env.at(i))?);
        }
    }
    Ok(Plan::Call(Box::new(CallPlan { op: call.op, inputs, attrs })))
}

/// Whether an expression without a value means that the new call has no such attribute, as the matched one or by `except`. Any
/// other asks for something that is not known.
fn may_be_absent(expr: &Expr, env: Env<'_, View<'_>>) -> bool {
    match expr {
        Expr::Field(_) | Expr::Attr(..) => true,
        Expr::Call(function, args) if function.name == "except" => {
            env.eval(&args[0]).is_some() || may_be_absent(&args[0], env)
        }
        Expr::Literal(_) | Expr::Value(_) | Expr::Call(..) => false,
    }
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

/// Why a plan was not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The rule does not fit this match.
    Unfit(String),
    /// The e-graph has as many nodes as it may.
    Full,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Unfit(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Refusal {
        Refusal::Unfit(reason.to_owned())
    }
}

/// What an application keeps of the calls that its rule matched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matched {
    /// Their provenance, the root first.
    pub(crate) provenance: SmallVec<[u32; 4]>,
    /// The identity of the product among them, 0 without one.
    identity: u32,
}

impl From<&[Call]> for Matched {
    fn from(calls: &[Call]) -> Matched {
        Matched {
            provenance: calls.iter().map(|c| c.provenance).collect(),
            identity: calls.iter().map(|c| c.identity).find(|i| *i != 0).unwrap_or(0),
        }
    }
}

/// Adds the nodes of a plan.
pub(crate) struct Applier<'a> {
    pub(crate) egraph: &'a mut EGraph,
    rule: u32,
    matched: &'a Matched,
    /// Logged when the first node is added, or classes become one.
    application: Option<u32>,
    /// No node is added if there are this many.
    max_nodes: usize,
}

impl<'a> Applier<'a> {
    /// An applier for one match of a rule.
    pub(crate) fn new(egraph: &'a mut EGraph, rule: u32, matched: &'a Matched, max_nodes: usize) -> Applier<'a> {
        Applier { egraph, rule, matched, application: None, max_nodes }
    }

    /// Adds the nodes of a plan and returns the class of its root; `None` for an absent value.
    ///
    /// # Errors
    /// If a call does not type, or the e-graph is full.
    pub(crate) fn add(&mut self, plan: &Plan, is_root: bool) -> Result<Option<Id>, Refusal> {
        Ok(Some(match plan {
            Plan::None => return Ok(None),
            Plan::Existing(id) => self.egraph.find(*id),
            Plan::Const(value) => {
                let facts = &mut self.egraph.analysis;
                let leaf = facts
                    .constant(value)
                    .ok_or_else(|| format!("a constant can't be {}", with_article(value.kind())))?;
                let ty = facts.leaves[leaf as usize].ty;
                self.insert(ENode::leaf(LEAF, leaf), ty)?
            }
            Plan::Output { index, of } => {
                let whole = self.add(of, false)?.ok_or("an absent value has no outputs")?;
                let facts = &self.egraph.analysis;
                let types = facts.types_of(self.egraph[whole].data).ok_or("a value has no known type")?;
                let ty = types.get(*index as usize).cloned().ok_or_else(|| format!("there is no output {index}"))?;
                let ty = self.egraph.analysis.type_id(&[ty]);
                self.insert(ENode { children: smallvec![whole], ..ENode::leaf(OUTPUT, *index) }, ty)?
            }
            Plan::Call(call) => {
                let mut given: SmallVec<[Option<Id>; 6]> = SmallVec::new();
                for input in &call.inputs {
                    given.push(self.add(input, false)?);
                }
                self.call(call.op, &given, &call.attrs, is_root)?
            }
        }))
    }

    /// Makes a class one with what was added; whether they were two.
    pub(crate) fn join(&mut self, class: Id, new: Id) -> bool {
        let joined = self.egraph.union(class, new);
        if joined {
            let application = self.application();
            self.egraph.analysis.log.join(application, class);
        }
        joined
    }

    /// The place of this application in the log.
    fn application(&mut self) -> u32 {
        let application = self
            .application
            .unwrap_or_else(|| self.egraph.analysis.log.apply(self.rule, self.matched.provenance.clone()));
        self.application = Some(application);
        application
    }

    fn insert(&mut self, node: ENode, ty: u32) -> Result<Id, Refusal> {
        if self.egraph.total_size() >= self.max_nodes && self.egraph.lookup(node.clone()).is_none() {
            return Err(Refusal::Full);
        }
        Ok(add_typed(self.egraph, node, ty))
    }

    fn call(&mut self, op: OpRef, inputs: &[Option<Id>], attrs: &Attrs, is_root: bool) -> Result<Id, Refusal> {
        let sig = op.signature();
        let variadic = sig.inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
        let count = if variadic { inputs.len() } else { sig.inputs.len() };
        let mut children = SmallVec::new();
        for i in 0..count {
            children.push(match inputs.get(i).copied().flatten() {
                Some(id) => id,
                None => self.egraph.add(ENode::leaf(NONE, 0)),
            });
        }
        // The product that a match has is the product that its replacement has.
        let heavy = op.class() == OpClass::Heavy;
        let identity = if heavy { self.matched.identity } else { 0 };
        let facts = &mut self.egraph.analysis;
        let op_code = facts.op_code(op);
        let mut node = ENode { op: op_code, payload: facts.attrs_id(attrs), identity, children, provenance: 0 };
        if let Some(existing) = self.egraph.lookup(&mut node) {
            return Ok(existing);
        }
        let ty = self.infer(op, &node, inputs, attrs)?;
        let application = self.application();
        let facts = &mut self.egraph.analysis;
        node.provenance = facts.log.made(op_code, application, is_root);
        self.insert(node, ty)
    }

    /// The types of a new call, an index in [`Facts::types`]. What a call of the same operator with the same attributes has on inputs
    /// of the same types is looked up, if it did not depend on the values of its inputs.
    fn infer(&mut self, op: OpRef, node: &ENode, inputs: &[Option<Id>], attrs: &Attrs) -> Result<u32, String> {
        let types = inputs.iter().map(|i| i.map_or(ABSENT, |id| self.egraph[id].data.ty)).collect();
        let call = (node.op, node.payload, types);
        if let Some(ty) = self.egraph.analysis.inferred.get(&call) {
            return Ok(*ty);
        }
        let given: SmallVec<[bool; 8]> = inputs.iter().map(Option::is_some).collect();
        op.signature().check_inputs(&given).map_err(|e| e.to_string())?;
        let view = View::new(self.egraph);
        let info = |id: &Option<Id>| match id {
            None => Ok(None),
            Some(id) => {
                let ty = view.ty(*id).ok_or("a value has no known type")?;
                Ok::<_, String>(Some(InputInfo { ty: ty.clone(), value: view.constant(*id) }))
            }
        };
        let infos = inputs.iter().map(info).collect::<Result<SmallVec<[_; 6]>, _>>()?;
        let cx = InferCx::new(op.signature(), &infos, attrs);
        let types = op.infer(&cx).map_err(|e| e.to_string())?;
        let depends_on_values = cx.asked_for_values();
        drop(infos);
        let facts = &mut self.egraph.analysis;
        let ty = facts.type_id(&types);
        if !depends_on_values {
            facts.inferred.insert(call, ty);
        }
        Ok(ty)
    }
}
