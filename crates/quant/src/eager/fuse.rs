//! `fuse_modules`: modules that run as one, named by the user.

use quantc_ir::{Graph, NodeId, Origin, ValueRef};
use quantc_ops::Attr;
use quantc_tensor::Tensor;

use super::model::ModuleInfo;
use super::{EagerError, EagerModel};

/// Types of modules and the type of the module they become (torch.ao.quantization.fuser_method_mappings). A batch norm behind a layer is folded
/// into it; alone, the pair is that layer again.
const SEQUENCES: &[(&[&str], &str)] = &[
    (&["Conv1d", "BatchNorm1d"], "Conv1d"),
    (&["Conv1d", "BatchNorm1d", "ReLU"], "ConvReLU1d"),
    (&["Conv2d", "BatchNorm2d"], "Conv2d"),
    (&["Conv2d", "BatchNorm2d", "ReLU"], "ConvReLU2d"),
    (&["Conv3d", "BatchNorm3d"], "Conv3d"),
    (&["Conv3d", "BatchNorm3d", "ReLU"], "ConvReLU3d"),
    (&["Conv1d", "ReLU"], "ConvReLU1d"),
    (&["Conv2d", "ReLU"], "ConvReLU2d"),
    (&["Conv3d", "ReLU"], "ConvReLU3d"),
    (&["Linear", "BatchNorm1d"], "Linear"),
    (&["Linear", "ReLU"], "LinearReLU"),
    (&["BatchNorm2d", "ReLU"], "BNReLU2d"),
    (&["BatchNorm3d", "ReLU"], "BNReLU3d"),
    (&["ConvTranspose1d", "BatchNorm1d"], "ConvTranspose1d"),
    (&["ConvTranspose2d", "BatchNorm2d"], "ConvTranspose2d"),
    (&["ConvTranspose3d", "BatchNorm3d"], "ConvTranspose3d"),
];

/// Fuses lists of modules, each named in order of execution (torch.ao.quantization.fuse_modules): batch norms are folded into the layer before
/// them, a ReLU becomes part of the fused module in place of the first one, the others become `Identity`. Of the QConfigs that were set,
/// only that of the first module stays: with a ReLU at its place inside the fused module, which itself has none.
///
/// # Errors
/// If a module does not exist, the types are none of PyTorch's sequences, a batch norm is to be folded in training mode, or the modules are
/// not called one after the other (which PyTorch does not check: the fused model then computes something else).
pub fn fuse_modules(model: &EagerModel, modules_to_fuse: &[Vec<&str>]) -> Result<EagerModel, EagerError> {
    let mut model = model.clone();
    for names in modules_to_fuse {
        fuse(&mut model, names)?;
    }
    model.graph.eliminate_dead();
    model.graph.verify()?;
    Ok(model)
}

/// torch.ao.quantization.fuse_modules_qat.
///
/// # Errors
/// Always: the modules it makes only train.
pub fn fuse_modules_qat(_: &EagerModel, _: &[Vec<&str>]) -> Result<EagerModel, EagerError> {
    Err(EagerError::Qat { function: "fuse_modules_qat" })
}

fn fuse(model: &mut EagerModel, names: &[&str]) -> Result<(), EagerError> {
    if let Some(name) = names.iter().find(|n| !model.modules.contains_key(**n)) {
        return Err(model.unknown(name));
    }
    let types: Vec<&str> = names.iter().map(|n| model.module_type(n)).collect();
    let Some((sequence, fused)) = SEQUENCES.iter().find(|s| s.0 == types) else {
        let known = SEQUENCES.iter().map(|s| format!("({})", s.0.join(", "))).collect::<Vec<_>>();
        return Err(EagerError::NoFuser { types: types.join(", "), known: known.join(", ") });
    };
    let (folds, relu) = (sequence[1].starts_with("BatchNorm"), sequence.last() == Some(&"ReLU"));
    if folds && model.training {
        return Err(EagerError::Training { path: names[1].to_owned() });
    }
    let chains = chains(model, names)?;
    let first = names[0];
    for chain in &chains {
        let kept: Vec<NodeId> = if folds {
            fold_batch_norm(model, names, chain[0], chain[1])?;
            chain.iter().copied().filter(|n| *n != chain[1]).collect()
        } else {
            chain.clone()
        };
        if relu {
            for (i, id) in kept.iter().enumerate() {
                move_origins(&mut model.graph, *id, &format!("{first}.{i}"));
            }
        }
    }
    let old = model.modules.get(first).map(|m| (m.module_type.clone(), m.qconfig.clone())).unwrap_or_default();
    let info = |ty: &str, qconfig, fused| ModuleInfo { module_type: ty.to_owned(), qconfig, fused };
    for name in &names[1..] {
        model.modules.insert((*name).to_owned(), info("Identity", None, false));
    }
    if relu {
        model.modules.insert(first.to_owned(), info(fused, None, true));
        model.modules.insert(format!("{first}.0"), info(&old.0, old.1, false));
        model.modules.insert(format!("{first}.1"), info("ReLU", None, false));
    }
    Ok(())
}

/// The calls of the modules, those that follow each other together.
fn chains(model: &EagerModel, names: &[&str]) -> Result<Vec<Vec<NodeId>>, EagerError> {
    let calls = model.calls();
    let of = |name: &str| calls.get(name).cloned().unwrap_or_default();
    let graph = &model.graph;
    let mut chains: Vec<Vec<NodeId>> = of(names[0]).into_iter().map(|id| vec![id]).collect();
    for pair in names.windows(2) {
        let refused =
            |detail: String| EagerError::NotASequence { first: pair[0].to_owned(), second: pair[1].to_owned(), detail };
        let next = of(pair[1]);
        for chain in &mut chains {
            let last = chain[chain.len() - 1];
            match graph.users(ValueRef::from(last))[..] {
                [(user, 0)] if next.contains(&user) => chain.push(user),
                [(user, _)] => {
                    return Err(refused(format!("`{}` reads the result of `{}`", graph.node(user).name(), pair[0])));
                }
                _ => {
                    let readers = graph.uses(last).len();
                    return Err(refused(format!("the result of `{}` is read in {readers} places", pair[0])));
                }
            }
        }
        if next.len() != chains.len() {
            return Err(refused(format!(
                "`{}` is called {} times, `{}` {}",
                pair[0],
                chains.len(),
                pair[1],
                next.len()
            )));
        }
    }
    Ok(chains)
}

/// Gives a call the origin of a member of a fused module; the origins of what was folded into it stay.
fn move_origins(graph: &mut Graph, id: NodeId, path: &str) {
    let mut origins: Vec<Origin> = graph.node(id).origins().to_vec();
    if let Some(first) = origins.first_mut() {
        *first = Origin::new(path, &first.module_type, &first.source_op, first.index);
    }
    graph.set_origins(id, &origins);
}

/// Folds one call of a batch norm into the layer before it, in PyTorch's order of operations (torch.nn.utils.fusion): of a convolution
/// `W * (gamma * r)` and `(b - mean) * r * gamma + beta` with `r = 1 / sqrt(var + eps)`, of a linear layer `(b - mean) * (gamma * r) + beta`.
fn fold_batch_norm(model: &mut EagerModel, names: &[&str], layer: NodeId, norm: NodeId) -> Result<(), EagerError> {
    let graph = &mut model.graph;
    let refused = |detail: &str| EagerError::NotASequence {
        first: names[0].to_owned(),
        second: names[1].to_owned(),
        detail: detail.to_owned(),
    };
    let constant = |node: NodeId, input: usize| -> Result<Option<Tensor>, EagerError> {
        let Some(Some(value)) = graph.node(node).inputs().get(input).copied() else { return Ok(None) };
        let tensor = graph.constant(value).cloned();
        tensor.map(Some).ok_or_else(|| refused("a parameter is not a constant"))
    };
    let vector = |input: usize| -> Result<Vec<f32>, EagerError> {
        let tensor = constant(norm, input)?.ok_or_else(|| refused("the batch norm lacks a parameter"))?;
        Ok(tensor.to_f32_vec())
    };
    let weight = constant(layer, 1)?.ok_or_else(|| refused("the layer has no weight"))?;
    let bias = constant(layer, 2)?.map(|t| t.to_f32_vec());
    let (gamma, beta, mean, var) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
    let op = graph.node(layer).call().map_or("", |(op, _)| op.name());
    let (transposed, linear) = (op.starts_with("conv_transpose"), op == "linear");
    let axis = usize::from(transposed);
    let shape = weight.shape().to_vec();
    if shape.get(axis) != Some(&gamma.len()) {
        return Err(refused("the batch norm has another number of channels"));
    }
    if linear && graph.ty(ValueRef::from(layer)).shape.rank() != 2 {
        return Err(refused(
            "the linear layer's channels are not the batch norm's: its result has more than 2 dimensions",
        ));
    }
    let eps = match graph.node(norm).call().and_then(|(op, attrs)| op.signature().attr(attrs, "eps")) {
        Some(Attr::Float(eps)) => eps.0,
        _ => 1e-5,
    };
    let r: Vec<f32> = var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    let factor: Vec<f32> = gamma.iter().zip(&r).map(|(g, r)| g * r).collect();
    let inner: usize = shape[axis + 1..].iter().product();
    let data = weight.to_f32_vec();
    let weights = data.iter().enumerate().map(|(i, w)| w * factor[i / inner.max(1) % factor.len()]).collect();
    let biases = (0..gamma.len()).map(|c| {
        let centred = bias.as_ref().map_or(0.0, |b| b[c]) - mean[c];
        (if linear { centred * factor[c] } else { centred * r[c] * gamma[c] }) + beta[c]
    });
    let biases: Vec<f32> = biases.collect();
    let weights = Tensor::from_vec(&shape, weights).map_err(|e| refused(&e.to_string()))?;
    for (input, name, tensor) in [(1, "weight", weights), (2, "bias", Tensor::vector(biases))] {
        let name = graph.fresh_param_name(&format!("{}.folded.{name}", names[0]));
        let param = graph.param(&name, tensor);
        graph.set_input(layer, input, Some(param.into()));
    }
    let folded = graph.node(norm).origins().to_vec();
    let origins: Vec<Origin> = graph.node(layer).origins().iter().cloned().chain(folded).collect();
    graph.set_origins(layer, &origins);
    graph.replace_uses(norm.into(), layer.into(), &[]);
    graph.remove(norm)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn sequences_are_pytorchs() {
        let golden: Json = serde_json::from_str(include_str!("../../tests/golden/eager.json")).expect("valid");
        let ours: Vec<Json> = SEQUENCES.iter().map(|(types, fused)| json!([types, fused])).collect();
        assert_eq!(Some(&ours), golden["fusers"].as_array());
    }
}
