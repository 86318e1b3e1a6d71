//! Random inputs and parameters of a test, and comparing what two graphs make of them.

use std::collections::HashMap;

use quantc_interp::Interpreter;
use quantc_ir::Graph;
use quantc_tensor::{DType, Dim, Gap, Tensor, TensorType};
use rand::RngExt;

use crate::random::{random_tensor, rng};

/// How many sets of random inputs and parameters a check uses.
pub(super) const SEEDS: u64 = 3;

/// A random tensor for each input: of the type's usual values, or in the range given for its name. Symbols stand for 2, 3, ...
pub(super) fn inputs(graph: &Graph, ranges: &[(String, f32, f32)], seed: u64) -> Result<Vec<(String, Tensor)>, String> {
    let mut rng = rng(seed);
    let mut symbols: HashMap<String, usize> = HashMap::new();
    if let Some((name, ..)) = ranges.iter().find(|r| !graph.placeholders().any(|p| graph.node(p).name() == r.0)) {
        return Err(format!("the graph has no input `{name}`"));
    }
    let mut out = Vec::new();
    for id in graph.placeholders() {
        let (name, ty) = (graph.node(id).name().to_owned(), graph.ty(id));
        let mut shape = Vec::new();
        for dim in ty.shape.dims() {
            shape.push(match dim {
                Dim::Known(n) => *n,
                Dim::Unknown => return Err(format!("input `{name}`: {ty} has an unknown dimension")),
                symbol => {
                    let next = symbols.len() + 2;
                    *symbols.entry(symbol.to_string()).or_insert(next)
                }
            });
        }
        let tensor = match ranges.iter().find(|r| r.0 == name) {
            Some((_, lo, hi)) => {
                let n: usize = shape.iter().product();
                let float = ty.dtype == DType::F32;
                let draw = |_| {
                    let v = lo + rng.random::<f32>() * (hi - lo);
                    if float { v } else { v.round() }
                };
                Tensor::from_vec(&shape, (0..n).map(draw).collect()).map_err(|e| e.to_string())?.cast(ty.dtype)
            }
            None => random_tensor(&mut rng, &TensorType::new(ty.dtype, shape.as_slice())),
        };
        out.push((name, tensor));
    }
    Ok(out)
}

/// Fails if the graphs differ on these inputs by more than `tolerance` times the largest magnitude of an output; 0 asks for
/// the same bits.
pub(super) fn compare(
    before: &Graph,
    after: &Graph,
    inputs: &[(String, Tensor)],
    tolerance: f32,
) -> Result<(), String> {
    let run = |graph: &Graph, which: &str| {
        Interpreter::new(graph).run(inputs).map_err(|e| format!("the graph {which} does not run: {e}"))
    };
    let (a, b) = (run(before, "before")?, run(after, "after")?);
    if a.len() != b.len() {
        return Err(format!("the graph before has {} outputs, the one after {}", a.len(), b.len()));
    }
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        if a.ty() != b.ty() {
            return Err(format!("output `{name}` was {} before and is {} after", a.ty(), b.ty()));
        }
        if a.bits_eq(b) {
            continue;
        }
        let gap = Gap::between(a, b);
        if tolerance == 0.0 || !gap.within(tolerance) {
            let (a, b) = (a.to_f32_vec(), b.to_f32_vec());
            return Err(format!(
                "output `{name}` differs by {:e} at element {} ({} before, {} after), the largest being {}; {}",
                gap.worst,
                gap.at,
                a[gap.at],
                b[gap.at],
                gap.largest,
                if tolerance == 0.0 {
                    "the same bits were promised".to_owned()
                } else {
                    format!("{tolerance:e} was allowed")
                }
            ));
        }
    }
    Ok(())
}
