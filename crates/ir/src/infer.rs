//! Typing of one call.

use quantc_ops::{Attrs, InferCx, InputInfo, OpError, OpRef};
use quantc_tensor::TensorType;
use smallvec::SmallVec;

use crate::{Graph, IrError, ValueRef};

/// Checks a call against its operator's signature and infers its output types.
pub(crate) fn infer_call(
    graph: &Graph,
    node: &str,
    op: OpRef,
    inputs: &[Option<ValueRef>],
    attrs: Attrs,
) -> Result<(Attrs, SmallVec<[TensorType; 1]>), IrError> {
    let fail = |source: OpError| IrError::Op { node: node.to_owned(), op: op.name().to_owned(), source };
    let sig = op.signature();
    let given: SmallVec<[bool; 4]> = inputs.iter().map(Option::is_some).collect();
    sig.check_inputs(&given).map_err(fail)?;
    let attrs = attrs.check(sig).map_err(fail)?;
    let infos: SmallVec<[Option<InputInfo<'_>>; 4]> =
        inputs.iter().map(|v| v.map(|v| InputInfo { ty: graph.ty(v).clone(), value: graph.constant(v) })).collect();
    let types = op.infer(&InferCx::new(sig, &infos, &attrs)).map_err(fail)?;
    Ok((attrs, types.into_iter().collect()))
}
