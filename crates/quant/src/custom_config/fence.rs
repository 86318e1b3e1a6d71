//! Keeps rewriting from joining modules that are apart to what is around them.

use std::collections::{HashMap, HashSet};

use quantc_ir::{Graph, NodeId, ValueRef};
use quantc_ops::{Attrs, lookup};
use quantc_tensor::DType;

use super::{ObservedClass, PrepareCustomConfig, levels};
use crate::error::QuantError;
use crate::qconfig_mapping::QConfigMapping;

/// Puts a fence on every real value that enters or leaves a standalone, non-traceable or custom module, so that canonicalizing does not, say, fold a batch
/// norm inside into a convolution outside (prepare_fx traces such modules as one call each). A fence is an `observer` with a number below 0: no rule looks through it.
/// Constants have none: what is computed from them alone may still be folded. `None` if nothing is apart.
///
/// # Errors
/// If the configuration names a module that the model does not have.
pub fn fence(graph: &Graph, config: &PrepareCustomConfig) -> Result<Option<Graph>, QuantError> {
    let owners = owners(graph, config)?;
    if owners.is_empty() {
        return Ok(None);
    }
    let mut graph = graph.clone();
    let op = lookup("observer").ok_or(QuantError::MissingOperator("observer"))?;
    let mut constants: HashSet<NodeId> = HashSet::new();
    let mut fences: HashMap<(ValueRef, Option<usize>), NodeId> = HashMap::new();
    for id in graph.order().collect::<Vec<_>>() {
        let node = graph.node(id);
        if node.param().is_some() {
            constants.insert(id);
        }
        if node.call().is_none() {
            continue;
        }
        let inputs = node.inputs().to_vec();
        if !inputs.is_empty() && inputs.iter().flatten().all(|v| constants.contains(&v.node)) {
            constants.insert(id);
        }
        let owner = owners.get(&id).copied();
        for (i, value) in inputs.into_iter().enumerate() {
            let Some(value) = value.filter(|v| !constants.contains(&v.node) && graph.ty(*v).dtype == DType::F32) else {
                continue;
            };
            if owners.get(&value.node).copied() == owner {
                continue;
            }
            let fence = match fences.get(&(value, owner)) {
                Some(&fence) => fence,
                None => {
                    // Modules that read one value have a fence each: equal calls in two of them are not one.
                    let number = owner.map_or(-1, |owner| -2 - owner as i64);
                    let attrs = Attrs::new().with("id", number);
                    let fence = graph.call_before(Some(id), "fence", op, &[Some(value)], attrs, &[])?;
                    fences.insert((value, owner), fence);
                    fence
                }
            };
            graph.set_input(id, i, Some(fence.into()));
        }
    }
    Ok(Some(graph))
}

/// Takes the fences away.
///
/// # Errors
/// Never, for a graph that was fenced.
pub fn unfence(graph: &mut Graph) -> Result<(), QuantError> {
    let is_fence = |id: &NodeId| {
        let call = graph.node(*id).call().filter(|(op, _)| op.name() == "observer");
        call.is_some_and(
            |(op, attrs)| matches!(op.signature().attr(attrs, "id"), Some(quantc_ops::Attr::Int(number)) if number < 0),
        )
    };
    for id in graph.calls().filter(is_fence).collect::<Vec<_>>() {
        if let Some(Some(value)) = graph.node(id).inputs().first().copied() {
            graph.replace_uses(id.into(), value, &[]);
        }
        graph.remove(id)?;
    }
    Ok(())
}

/// Which module that is apart each call is in.
fn owners(graph: &Graph, config: &PrepareCustomConfig) -> Result<HashMap<NodeId, usize>, QuantError> {
    let mut paths: HashMap<String, usize> = HashMap::new();
    let mut number = |path: String| {
        let next = paths.len();
        *paths.entry(path).or_insert(next)
    };
    let mapping = QConfigMapping::new();
    let mut owners = HashMap::new();
    for level in levels(graph, &mapping, config)? {
        let (edges, _) = level.config.scope(&level.graph)?;
        // In the order of the graph: numbers must not depend on that of a hash map.
        for id in level.graph.calls() {
            if let Some(path) = edges.apart.get(&id) {
                owners.insert(level.call(id), number(level.path(path)));
            }
        }
        let mut custom = PrepareCustomConfig::clone(&level.config);
        custom.float_to_observed.retain(|row| matches!(row.2, ObservedClass::Custom(_)));
        for (path, _, calls) in custom.custom_modules(&level.graph)? {
            let owner = number(level.path(&path));
            owners.extend(calls.into_iter().map(|id| (level.call(id), owner)));
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quantc_pattern::Library;

    const NET: &str = "graph net(%x: f32[1,2,3,3]) {
  param @w: f32[2,2,1,1] = [1, 0.5, -0.25, 1]
  param @g: f32[2] = [2, 3]
  param @b: f32[2] = [0, 1]
  %half = relu(@w)  # left: Left(relu, 0)
  %a = conv2d(%x, %half)  # conv: Conv2d(conv2d, 0)
  %c = conv2d(%x, @w)  # other: Conv2d(conv2d, 0)
  %n = batch_norm(%c, @g, @b, @b, @g)  # left.norm: BatchNorm2d(batch_norm, 0)
  %l = silu(%n)  # left.act: SiLU(silu, 0)
  %r = silu(%a)  # right: SiLU(silu, 0)
  %o = silu(%a)  # left.other: SiLU(silu, 0)
  %s = add(%l, %r)
  %y = add(%s, %o)
  return y=%y
}";

    fn canonical(config: &PrepareCustomConfig) -> Graph {
        let graph = quantc_ir::text::parse(NET).unwrap_or_else(|e| panic!("{e}"));
        let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
        let graph = fence(&graph, config).unwrap_or_else(|e| panic!("{e}")).unwrap_or(graph);
        graph.verify().unwrap_or_else(|e| panic!("{e}"));
        let (mut graph, _) = quantc_rewrite::canonicalize(&graph, &library.rules).unwrap_or_else(|e| panic!("{e}"));
        unfence(&mut graph).unwrap_or_else(|e| panic!("{e}"));
        graph.verify().unwrap_or_else(|e| panic!("{e}\n{graph}"));
        graph
    }

    #[test]
    fn what_is_apart_is_not_joined_to_what_is_around() {
        let count = |graph: &Graph, op: &str| graph.calls().filter(|id| graph.node(*id).is_op(op)).count();
        let plain = canonical(&PrepareCustomConfig::new());
        assert_eq!((count(&plain, "batch_norm"), count(&plain, "silu"), count(&plain, "relu")), (0, 2, 0), "{plain}");
        let apart = PrepareCustomConfig::new().set_non_traceable_module_names(&["left", "right"]);
        let entry = super::super::StandaloneModuleConfigEntry::default();
        let alone = PrepareCustomConfig::new()
            .set_standalone_module_name("left", entry)
            .set_non_traceable_module_names(&["right"]);
        for config in [apart, alone] {
            let graph = canonical(&config);
            // Constants are still folded.
            assert_eq!(
                (count(&graph, "batch_norm"), count(&graph, "silu"), count(&graph, "relu")),
                (1, 3, 0),
                "{graph}"
            );
            assert_eq!(count(&graph, "observer"), 0);
        }
    }
}
