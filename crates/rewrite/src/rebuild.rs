//! The extracted nodes as a graph.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use egg::Id;
use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::{Attrs, OpClass, OpRef};
use quantc_tensor::TensorType;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::RewriteError;
use crate::encode::Encoded;
use crate::extract::Extracted;
use crate::lang::{CALL, ENode, INPUT, LEAF, OUTPUT, ROOT};
use crate::regions::Region;
use crate::report::NodeTrace;

type Inputs = Vec<Option<ValueRef>>;

/// What a pass over the regions made.
pub(crate) struct Rebuilt {
    pub(crate) graph: Graph,
    /// Which rule made which node.
    pub(crate) traces: Vec<NodeTrace>,
    /// Equal calls that became one: (dropped, kept).
    pub(crate) merged: Vec<(Arc<str>, Arc<str>)>,
}

/// The new graph, region by region.
pub(crate) struct Builder<'a> {
    source: &'a Graph,
    /// Place of each source node in execution order.
    pub(crate) position: Vec<usize>,
    graph: Graph,
    /// What the values that regions export have become.
    exported: FxHashMap<ValueRef, ValueRef>,
    /// Calls on constants by what they are: regions that use the same constant share it.
    constants: FxHashMap<(OpRef, Attrs, Inputs), NodeId>,
    is_constant: FxHashSet<NodeId>,
    /// Which rule made which node.
    pub(crate) traces: Vec<NodeTrace>,
    /// Equal calls that became one: (dropped, kept).
    pub(crate) merged: Vec<(Arc<str>, Arc<str>)>,
}

impl<'a> Builder<'a> {
    /// A graph with the inputs of the source graph.
    pub(crate) fn new(source: &'a Graph) -> Builder<'a> {
        let mut position = vec![0usize; source.bound()];
        for (i, id) in source.order().enumerate() {
            position[id.index()] = i;
        }
        let mut graph = Graph::new(source.name());
        let mut exported = FxHashMap::default();
        for id in source.placeholders() {
            let node = source.node(id);
            exported.insert(id.into(), graph.placeholder(node.name(), node.types()[0].clone()).into());
        }
        Builder {
            source,
            position,
            graph,
            exported,
            constants: FxHashMap::default(),
            is_constant: FxHashSet::default(),
            traces: Vec::new(),
            merged: Vec::new(),
        }
    }

    /// The last node so far.
    pub(crate) fn last(&self) -> Option<NodeId> {
        self.graph.order_reversed().next()
    }

    /// Adds a region as it is.
    ///
    /// # Errors
    /// If a call does not type, which those of a valid graph do.
    pub(crate) fn copy(&mut self, region: &Region) -> Result<(), RewriteError> {
        for &id in &region.calls {
            let node = self.source.node(id);
            let Some((op, attrs)) = node.call() else { continue };
            let mut inputs = Inputs::new();
            for input in node.inputs() {
                inputs.push(match input {
                    None => None,
                    Some(v) => Some(self.outside(*v).ok_or(RewriteError::NoTerm)?),
                });
            }
            let (new, _) = self.add_call(node.name(), op, inputs, attrs.clone(), node.origins(), node.types())?;
            for output in 0..node.types().len() as u32 {
                self.exported.insert(ValueRef { node: id, output }, ValueRef { node: new, output });
            }
        }
        Ok(())
    }

    /// Adds what was extracted for a region, in the source graph's order where that is possible.
    ///
    /// # Errors
    /// If a call does not type, or uses a value that is not there: bugs of the engine.
    pub(crate) fn rewrite(
        &mut self,
        region: &Region,
        encoded: &Encoded,
        extracted: &Extracted,
        rules: &[Arc<str>],
    ) -> Result<(), RewriteError> {
        let by_node = encoded.by_node();
        for calls in by_node.values().filter(|calls| calls.len() > 1) {
            let name = |id: NodeId| Arc::from(self.source.node(id).name());
            self.merged.extend(calls[1..].iter().map(|later| (name(*later), name(calls[0]))));
        }
        let log = &encoded.egraph.analysis.log;
        let sources = |node: &ENode| {
            let mut all = Vec::new();
            if node.op >= CALL {
                for source in log.sources(node.provenance) {
                    // With it, the calls that turned out equal to it.
                    match encoded.node(source).and_then(|n| by_node.get(&n)) {
                        Some(twins) => all.extend_from_slice(twins),
                        None => all.push(source),
                    }
                }
            }
            all.sort_unstable_by_key(|s| self.position[s.index()]);
            all.dedup();
            all
        };
        let mut sources: Vec<Vec<NodeId>> = extracted.nodes.iter().map(|(_, node)| sources(node)).collect();
        self.keep_work(encoded, extracted, &mut sources);
        let order = self.order(encoded, extracted, &sources);
        let names = self.names(encoded, extracted, &order);
        let mut values = vec![None; encoded.egraph.nodes().len()];
        let context = Context { region, encoded, rules };
        for i in order {
            let (class, node) = &extracted.nodes[i];
            let made = Made { class: *class, node, name: &names[i], sources: &sources[i] };
            values[usize::from(*class)] = self.emit(&context, &made, &values)?;
        }
        Ok(())
    }

    /// Adds the calls that do work and are among nobody's sources, because what was chosen was found on another way, to the sources of the
    /// node that has their value, or of what was computed from it.
    fn keep_work(&self, encoded: &Encoded, extracted: &Extracted, sources: &mut [Vec<NodeId>]) {
        let named: FxHashSet<NodeId> = sources.iter().flatten().copied().collect();
        let works = |id: &NodeId| {
            self.source.node(*id).call().is_some_and(|(op, _)| {
                matches!(op.class(), OpClass::Heavy | OpClass::Pool | OpClass::Reduction) && !named.contains(id)
            })
        };
        if !encoded.calls.iter().any(works) {
            return;
        }
        let calls = extracted.nodes.iter().enumerate().filter(|(_, (_, node))| node.op >= CALL);
        let chosen: FxHashMap<Id, usize> = calls.map(|(i, (class, _))| (*class, i)).collect();
        let mut carrier: FxHashMap<NodeId, usize> = FxHashMap::default();
        for id in encoded.calls.iter().rev() {
            let own = encoded.class(*id).and_then(|class| chosen.get(&class).copied());
            let of_users = || self.source.uses(*id).iter().find_map(|(user, ..)| carrier.get(user).copied());
            let Some(node) = own.or_else(of_users) else { continue };
            carrier.insert(*id, node);
            if works(id) {
                sources[node].push(*id);
                sources[node].sort_unstable_by_key(|s| self.position[s.index()]);
            }
        }
    }

    /// The new graph, with the outputs of the source graph.
    ///
    /// # Errors
    /// If an output has no value: a bug of the engine.
    pub(crate) fn finish(mut self) -> Result<Rebuilt, RewriteError> {
        if self.source.output_node().is_some() {
            let mut outputs = Vec::new();
            for (name, value) in self.source.outputs() {
                outputs.push((name, self.outside(value).ok_or(RewriteError::NoTerm)?));
            }
            self.graph.set_outputs(&outputs);
        }
        // A constant may be in several regions.
        self.merged.sort_unstable();
        self.merged.dedup();
        Ok(Rebuilt { graph: self.graph, traces: self.traces, merged: self.merged })
    }

    /// What a value of the source graph that is a parameter or comes from another region has become.
    fn outside(&mut self, value: ValueRef) -> Option<ValueRef> {
        match self.source.node(value.node).param() {
            Some(name) => Some(self.param(&Arc::clone(name)).into()),
            None => self.exported.get(&value).copied(),
        }
    }

    fn param(&mut self, name: &Arc<str>) -> NodeId {
        match self.source.params().get(name) {
            Some(param) => match &param.value {
                Some(value) => self.graph.param(name, value.clone()),
                None => self.graph.declare_param(name, param.ty.clone()),
            },
            None => unreachable!("a node of the source graph names a parameter that it has"),
        }
    }

    /// A topological order of the extracted nodes that prefers the source graph's order.
    fn order(&self, encoded: &Encoded, extracted: &Extracted, sources: &[Vec<NodeId>]) -> Vec<usize> {
        const NOT_NEEDED: u32 = u32::MAX;
        let egraph = &encoded.egraph;
        let nodes = &extracted.nodes;
        let mut index = vec![NOT_NEEDED; egraph.nodes().len()];
        for (i, (class, _)) in nodes.iter().enumerate() {
            index[usize::from(*class)] = i as u32;
        }
        // Where a node belongs: at the last node it replaces.
        let rank = |i: usize| match nodes[i].1.op {
            ROOT => usize::MAX,
            _ => sources[i].last().map_or(0, |s| self.position[s.index()]),
        };
        let mut missing = vec![0u32; nodes.len()];
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
        let mut ready = BinaryHeap::new();
        for (i, (_, node)) in nodes.iter().enumerate() {
            let mut children: Vec<u32> = node.children.iter().map(|c| index[usize::from(egraph.find(*c))]).collect();
            children.sort_unstable();
            children.dedup();
            if children.is_empty() {
                ready.push(Reverse((rank(i), i)));
            }
            missing[i] = children.len() as u32;
            for child in children {
                users[child as usize].push(i as u32);
            }
        }
        let mut out = Vec::with_capacity(nodes.len());
        while let Some(Reverse((_, i))) = ready.pop() {
            out.push(i);
            for user in std::mem::take(&mut users[i]) {
                let left = &mut missing[user as usize];
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse((rank(user as usize), user as usize)));
                }
            }
        }
        out
    }

    /// A name for each call. Several may want one: a call that was there before keeps its own, then what a rule put in place of a
    /// call has that call's, then what is inside; and constants, which are evaluated in the end, leave the names to the others.
    fn names(&self, encoded: &Encoded, extracted: &Extracted, order: &[usize]) -> Vec<String> {
        let egraph = &encoded.egraph;
        let facts = &egraph.analysis;
        let log = &facts.log;
        let calls = order.iter().filter(|i| extracted.nodes[**i].1.op >= CALL);
        let mut by_right: Vec<(bool, usize, usize)> = calls
            .map(|&i| {
                let (class, node) = &extracted.nodes[i];
                let right = match (log.source_node(node.provenance), log.result_of(node.provenance)) {
                    (Some(_), _) => 0,
                    (None, Some(_)) => 1,
                    (None, None) => 2,
                };
                (egraph[*class].data.constant, right, i)
            })
            .collect();
        // Stable: among equals, the order of the new graph.
        by_right.sort_by_key(|(constant, right, _)| (*constant, *right));
        let mut names = vec![String::new(); extracted.nodes.len()];
        let mut taken: FxHashSet<String> = FxHashSet::default();
        for (constant, _, i) in by_right {
            let node = &extracted.nodes[i].1;
            let mut name = log.name(node.provenance, self.source, facts);
            let is_taken = |name: &str| taken.contains(name) || self.graph.find(name).is_some();
            if is_taken(&name) {
                let op = facts.op(node.op).filter(|op| constant && !name.ends_with(&format!(".{op}")));
                if let Some(op) = op {
                    name = format!("{name}.{op}");
                }
                // Not one that a call of the source graph has, which may still come.
                let is_taken = |name: &str| is_taken(name) || self.source.find(name).is_some();
                let numbered = (1..).map(|n| format!("{name}_{n}"));
                let free = std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name));
                name = free.unwrap_or(name);
            }
            taken.insert(name.clone());
            names[i] = name;
        }
        names
    }

    fn emit(
        &mut self,
        context: &Context<'_>,
        made: &Made<'_>,
        values: &[Option<ValueRef>],
    ) -> Result<Option<ValueRef>, RewriteError> {
        let egraph = &context.encoded.egraph;
        let node = made.node;
        let value = |child: &Id| values[usize::from(egraph.find(*child))];
        Ok(match node.op {
            INPUT => self.outside(context.encoded.inputs[node.payload as usize]),
            LEAF => {
                let leaf = &egraph.analysis.leaves[node.payload as usize];
                Some(match (&leaf.name, &leaf.value) {
                    (Some(name), _) => self.param(name).into(),
                    (None, Some(value)) => {
                        let base = value.as_scalar_f32().map_or("const".to_owned(), |v| format!("const_{v}"));
                        let name = self.fresh_param(&base);
                        self.graph.param(&name, (**value).clone()).into()
                    }
                    (None, None) => return Err(RewriteError::NoTerm),
                })
            }
            OUTPUT => value(&node.children[0]).map(|whole| ValueRef { node: whole.node, output: node.payload }),
            ROOT => {
                for (source, child) in context.region.outputs.iter().zip(&node.children) {
                    self.exported.insert(*source, value(child).ok_or(RewriteError::NoTerm)?);
                }
                None
            }
            CALL.. => {
                let inputs = node.children.iter().map(value).collect();
                Some(self.call(context, made, inputs)?.into())
            }
            // An absent input has no value.
            _ => None,
        })
    }

    /// A name for a constant: neither a parameter of the new graph nor of the source graph, which may still come.
    fn fresh_param(&self, base: &str) -> Arc<str> {
        let mut name = base.to_owned();
        let mut n = 1;
        while self.graph.params().contains_key(name.as_str()) || self.source.params().contains_key(name.as_str()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        Arc::from(name)
    }

    fn call(&mut self, context: &Context<'_>, made: &Made<'_>, inputs: Inputs) -> Result<NodeId, RewriteError> {
        let Made { class, node, name, sources } = *made;
        let egraph = &context.encoded.egraph;
        let facts = &egraph.analysis;
        let op = facts.op(node.op).ok_or(RewriteError::NoTerm)?;
        let attrs = facts.attrs[node.payload as usize].clone();
        let mut origins: Vec<Origin> = Vec::new();
        for source in sources {
            for origin in self.source.node(*source).origins() {
                if !origins.contains(origin) {
                    origins.push(origin.clone());
                }
            }
        }
        let types = facts.types_of(egraph[class].data).map_or(&[][..], |t| t);
        let (id, is_new) = self.add_call(name, op, inputs, attrs, &origins, types)?;
        if let (Some(rule), true) = (facts.log.rule(node.provenance), is_new) {
            self.traces.push(NodeTrace {
                node: Arc::from(self.graph.node(id).name()),
                rule: context.rules[rule as usize].clone(),
                replaces: sources.iter().map(|s| Arc::from(self.source.node(*s).name())).collect(),
                steps: facts.log.steps(node.provenance, self.source, facts, context.rules),
            });
        }
        Ok(id)
    }

    /// Adds a call, unless it is a constant that is there already: whether it is new.
    fn add_call(
        &mut self,
        name: &str,
        op: OpRef,
        inputs: Inputs,
        attrs: Attrs,
        origins: &[Origin],
        types: &[TensorType],
    ) -> Result<(NodeId, bool), RewriteError> {
        let from_constants =
            |v: &ValueRef| self.is_constant.contains(&v.node) || self.graph.node(v.node).param().is_some();
        let constant = op.class() != OpClass::Heavy
            && inputs.iter().any(Option::is_some)
            && inputs.iter().flatten().all(from_constants);
        let key = constant.then(|| (op, attrs.clone(), inputs.clone()));
        if let Some(same) = key.as_ref().and_then(|k| self.constants.get(k)) {
            return Ok((*same, false));
        }
        let id = self.graph.call(name, op, &inputs, attrs, origins)?;
        for (output, ty) in types.iter().enumerate().take(self.graph.node(id).types().len()) {
            // What the source graph declared beyond inference is kept; it can't contradict what was merged.
            self.graph.refine_type(ValueRef { node: id, output: output as u32 }, ty)?;
        }
        if let Some(key) = key {
            self.is_constant.insert(id);
            self.constants.insert(key, id);
        }
        Ok((id, true))
    }
}

/// A node that is emitted.
struct Made<'a> {
    class: Id,
    node: &'a ENode,
    name: &'a str,
    /// What it replaces.
    sources: &'a [NodeId],
}

/// What the nodes of one region need to know to be emitted.
struct Context<'a> {
    region: &'a Region,
    encoded: &'a Encoded,
    rules: &'a [Arc<str>],
}

/// Takes the numbers off names that the first of two passes had to number and the second left alone: what had the plain name is gone.
pub(crate) fn settle_names(source: &Graph, graph: &mut Graph, traces: &mut [NodeTrace]) {
    let mut renamed: FxHashMap<Arc<str>, Arc<str>> = FxHashMap::default();
    for id in graph.calls().collect::<Vec<_>>() {
        let old: Arc<str> = Arc::from(graph.node(id).name());
        let numbered = old.rsplit_once('_').filter(|(_, n)| n.parse::<u32>().is_ok());
        let Some((base, _)) = numbered.filter(|_| source.find(&old).is_none()) else { continue };
        if graph.rename(id, base) {
            renamed.insert(Arc::clone(&old), Arc::from(base));
        }
    }
    for trace in traces {
        if let Some(name) = renamed.get(&trace.node) {
            trace.node = Arc::clone(name);
        }
    }
}

/// Where the nodes of a graph that was rewritten in two passes came from: what the later pass replaces, the earlier one may have
/// made.
pub(crate) fn chain(earlier: Vec<NodeTrace>, later: Vec<NodeTrace>, graph: &Graph) -> Vec<NodeTrace> {
    let mut made: FxHashMap<Arc<str>, NodeTrace> = earlier.into_iter().map(|t| (t.node.clone(), t)).collect();
    let whole = |trace: NodeTrace| {
        let mut whole = NodeTrace { replaces: Vec::new(), steps: Vec::new(), ..trace };
        for name in trace.replaces {
            match made.get(&name) {
                None => whole.replaces.push(name),
                Some(before) => {
                    whole.replaces.extend(before.replaces.iter().cloned());
                    whole.steps.extend(before.steps.iter().cloned());
                }
            }
        }
        whole.steps.extend(trace.steps);
        whole
    };
    let later: Vec<NodeTrace> = later.into_iter().map(whole).collect();
    made.extend(later.into_iter().map(|t| (t.node.clone(), t)));
    graph.order().filter_map(|id| made.remove(graph.node(id).name())).collect()
}
