//! Regions: a huge graph is rewritten piece by piece, so that memory does not grow with it.
//!
//! The calls in execution order are cut where the fewest values cross. What a cut keeps apart is rewritten in a second pass over
//! the surroundings of the cuts, so that no match is lost. Calls on constants belong to every region that uses them.

use std::ops::Range;

use quantc_ir::{Graph, NodeId, ValueRef};
use rustc_hash::{FxHashMap, FxHashSet};

/// How many calls on either side of a cut the second pass sees: several times the depth of any pattern.
const SEAM: usize = 128;

/// Part of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// Its calls in execution order.
    pub(crate) calls: Vec<NodeId>,
    /// Values of it that are used elsewhere.
    pub(crate) outputs: Vec<ValueRef>,
    /// Whether rules run on it; otherwise it is copied.
    pub(crate) rewrite: bool,
}

impl Region {
    /// The graph as one region.
    pub(crate) fn whole(graph: &Graph) -> Region {
        Region {
            calls: graph.calls().collect(),
            outputs: graph.outputs().into_iter().map(|o| o.1).collect(),
            rewrite: true,
        }
    }
}

/// Cuts a graph into regions of at most `limit` calls, constants aside.
pub(crate) fn split(graph: &Graph, limit: usize) -> Vec<Region> {
    let layout = Layout::new(graph);
    let cuts = layout.cuts(limit.max(2));
    if cuts.is_empty() {
        return vec![Region::whole(graph)];
    }
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain([layout.calls.len()]);
    starts.zip(ends).map(|(start, end)| layout.region(start..end, true)).collect()
}

/// The surroundings of cuts, to be rewritten, and what is between them, to be copied. `cuts` names the last call before each cut.
pub(crate) fn seams(graph: &Graph, cuts: &[NodeId]) -> Vec<Region> {
    let layout = Layout::new(graph);
    let wanted: FxHashSet<NodeId> = cuts.iter().copied().collect();
    let places = layout.calls.iter().enumerate().filter(|(_, id)| wanted.contains(id)).map(|(i, _)| i + 1);
    let mut regions = Vec::new();
    let mut done = 0;
    for place in places {
        let (start, end) = (place.saturating_sub(SEAM).max(done), (place + SEAM).min(layout.calls.len()));
        if start > done {
            regions.push(layout.region(done..start, false));
        }
        if end > start {
            regions.push(layout.region(start..end, true));
            done = end;
        }
    }
    if done < layout.calls.len() || regions.is_empty() {
        regions.push(layout.region(done..layout.calls.len(), false));
    }
    regions
}

/// A graph prepared for being cut.
struct Layout<'g> {
    graph: &'g Graph,
    /// Calls that do not depend on parameters alone, in execution order.
    calls: Vec<NodeId>,
    /// By node index: whether it is computed from parameters alone.
    constant: Vec<bool>,
    /// The last place in `calls` that uses a value; one after the end for outputs of the graph.
    last_use: FxHashMap<ValueRef, usize>,
}

impl<'g> Layout<'g> {
    fn new(graph: &'g Graph) -> Layout<'g> {
        let mut constant = vec![false; graph.bound()];
        let mut last_use = FxHashMap::default();
        let mut calls = Vec::new();
        for id in graph.order() {
            let node = graph.node(id);
            if node.param().is_some() {
                constant[id.index()] = true;
            } else if node.call().is_some() {
                let mut inputs = node.inputs().iter().flatten().peekable();
                constant[id.index()] = inputs.peek().is_some() && inputs.all(|v| constant[v.node.index()]);
                if !constant[id.index()] {
                    last_use.extend(node.inputs().iter().flatten().map(|v| (*v, calls.len())));
                    calls.push(id);
                }
            }
        }
        last_use.extend(graph.outputs().into_iter().map(|(_, value)| (value, calls.len())));
        Layout { graph, calls, constant, last_use }
    }

    /// The outputs of a call and the last place that uses each.
    fn uses(&self, id: NodeId) -> impl Iterator<Item = (ValueRef, usize)> {
        let outputs = 0..self.graph.node(id).types().len() as u32;
        let values = outputs.map(move |output| ValueRef { node: id, output });
        values.filter_map(|v| self.last_use.get(&v).map(|place| (v, *place)))
    }

    /// Places to cut, so that no piece has more than `limit` calls.
    fn cuts(&self, limit: usize) -> Vec<usize> {
        // How many values live across the place before each call.
        let mut crossing = vec![0i64; self.calls.len() + 2];
        for (place, id) in self.calls.iter().enumerate() {
            for (_, last) in self.uses(*id) {
                crossing[place + 1] += 1;
                crossing[last + 1] -= 1;
            }
        }
        let mut live = 0;
        for c in &mut crossing {
            live += *c;
            *c = live;
        }
        let mut cuts = Vec::new();
        let mut start = 0;
        while self.calls.len() - start > limit {
            let window = start + limit.div_ceil(2)..=start + limit;
            // The last of the narrowest.
            let Some(cut) = window.rev().min_by_key(|place| crossing[*place]) else { break };
            cuts.push(cut);
            start = cut;
        }
        cuts
    }

    /// The calls in a range of places with the constants they use; the last region also has the constants that are outputs.
    fn region(&self, range: Range<usize>, rewrite: bool) -> Region {
        let end = range.end;
        let mut region = Region { calls: Vec::new(), outputs: Vec::new(), rewrite };
        let mut seen = FxHashSet::default();
        for id in &self.calls[range] {
            for value in self.graph.node(*id).inputs().iter().flatten() {
                self.add_constant(value.node, &mut seen, &mut region.calls);
            }
            region.calls.push(*id);
            region.outputs.extend(self.uses(*id).filter(|(_, last)| *last >= end).map(|(value, _)| value));
        }
        if end == self.calls.len() {
            for (_, value) in self.graph.outputs() {
                self.add_constant(value.node, &mut seen, &mut region.calls);
                if self.constant[value.node.index()] && self.graph.node(value.node).call().is_some() {
                    region.outputs.push(value);
                }
            }
        }
        region
    }

    /// Adds a constant call and what it needs, unless it is there.
    fn add_constant(&self, id: NodeId, seen: &mut FxHashSet<NodeId>, calls: &mut Vec<NodeId>) {
        let node = self.graph.node(id);
        if self.constant[id.index()] && node.call().is_some() && seen.insert(id) {
            node.inputs().iter().flatten().for_each(|v| self.add_constant(v.node, seen, calls));
            calls.push(id);
        }
    }
}
