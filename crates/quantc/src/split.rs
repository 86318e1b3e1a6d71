//! Whether samples can be run in several batches: axis 0 of an input need not be the sample. It may be time, and a model may compute
//! across samples (a softmax or a mean over axis 0).

use quantc_ir::Graph;
use quantc_tensor::Dim;

use crate::compiled::join;
use crate::data::Batches;
use crate::{Compiled, Error};

/// Samples that are run both together and one by one.
const PROBE: usize = 3;

/// How many samples are run at once, so that the joined outputs are those of all samples at once.
///
/// A model with dynamic quantization takes its ranges from the whole batch: one sample at a time, so that an answer does not depend on
/// what else is asked. Other models give a sample the same bits in any batch (docs/numerics.md). So the first samples are run together
/// and one by one; if the bits differ, or the outputs have another axis 0 than the inputs, everything is one batch.
///
/// # Errors
/// If the samples do not run.
pub(crate) fn batch(compiled: &mut Compiled, batches: &Batches) -> Result<usize, Error> {
    let whole = batches.samples();
    let dynamic = is_dynamic(compiled.graph());
    if batches.is_fixed() || (batches.batch() >= whole && !dynamic) {
        return Ok(batches.batch());
    }
    if !same_axis(compiled.graph()) {
        return Ok(whole);
    }
    if dynamic {
        return Ok(1);
    }
    let together = compiled.run(&batches.get(0, PROBE.min(whole))?)?;
    let mut apart = Vec::new();
    for sample in 0..PROBE.min(whole) {
        apart.push(compiled.run(&batches.get(sample, 1)?)?);
    }
    let equal = together.iter().enumerate().all(|(i, (name, all))| {
        let parts: Vec<_> = apart.iter().map(|outputs| outputs[i].1.clone()).collect();
        join(name, &parts).is_ok_and(|joined| joined.bits_eq(all))
    });
    Ok(if equal { batches.batch() } else { whole })
}

fn is_dynamic(graph: &Graph) -> bool {
    graph.calls().any(|id| graph.node(id).call().is_some_and(|(op, _)| op.name().contains("dynamic")))
}

/// Whether axis 0 of every input and output may be the same.
fn same_axis(graph: &Graph) -> bool {
    let inputs = graph.placeholders().map(|id| &graph.node(id).types()[0]);
    let outputs = graph.outputs();
    let outputs = outputs.iter().map(|(_, value)| graph.ty(*value));
    let mut symbol = None;
    inputs.chain(outputs).all(|ty| match ty.shape.dims().first() {
        None | Some(Dim::Known(_)) => false,
        Some(Dim::Symbol(s)) => *symbol.get_or_insert_with(|| s.clone()) == *s,
        Some(_) => true,
    })
}
