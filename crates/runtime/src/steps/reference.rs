//! Reference evaluation of an operator that has no kernel.

use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{DType, Shape, Tensor, TensorType, Value};

use crate::{Access, REFERENCE, RunError, Slot, Step, StepCx, load, store};

/// An input of a reference step.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A tensor in the arena, contiguous and row-major.
    Arena {
        /// Where.
        slot: Slot,
        /// Element type.
        dtype: DType,
        /// Sizes.
        shape: Vec<usize>,
    },
    /// A constant.
    Const(Value),
    /// A value that another reference step left outside the arena, keeping its integer form.
    Value(usize),
}

/// An output of a reference step.
#[derive(Clone, Debug)]
pub enum Produced {
    /// A tensor in the arena, contiguous and row-major.
    Arena {
        /// Where.
        slot: Slot,
        /// Element type.
        dtype: DType,
        /// Sizes.
        shape: Vec<usize>,
    },
    /// Kept outside the arena, for other reference steps.
    Value(usize),
    /// Not used.
    Dropped,
}

/// Evaluates an operator as `quantc-ops` defines it. Allocates.
pub struct ReferenceStep {
    /// The node, for errors.
    pub node: String,
    /// The operator.
    pub op: OpRef,
    /// Its attributes.
    pub attrs: Attrs,
    /// Its inputs.
    pub inputs: Vec<Option<Argument>>,
    /// Its outputs.
    pub outputs: Vec<Produced>,
}

impl Step for ReferenceStep {
    fn kernel(&self) -> &'static str {
        REFERENCE
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for input in self.inputs.iter().flatten() {
            if let Argument::Arena { slot, .. } = input {
                visit(Access::Read, slot);
            }
        }
        for output in &self.outputs {
            if let Produced::Arena { slot, .. } = output {
                visit(Access::Write, slot);
            }
        }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        // The evaluation uses the pool that it runs in.
        *cx.shared = true;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            inputs.push(match input {
                None => None,
                Some(Argument::Const(value)) => Some(value.clone()),
                Some(Argument::Value(i)) => cx.values[*i].clone(),
                Some(Argument::Arena { slot, dtype, shape }) => {
                    let start = cx.offsets[slot.buffer as usize] + slot.offset;
                    Some(Value::Dense(load(*dtype, shape, &cx.arena[start..start + slot.len])?))
                }
            });
        }
        let results = self.op.eval(&inputs, &self.attrs);
        let results = results.map_err(|source| RunError::Op { node: self.node.clone(), source })?;
        for (output, value) in self.outputs.iter().zip(results) {
            match output {
                Produced::Dropped => {}
                Produced::Value(i) => cx.values[*i] = Some(value),
                Produced::Arena { slot, dtype, shape } => {
                    write(&self.node, &value.to_tensor(), *dtype, shape, slot, cx)?;
                }
            }
        }
        Ok(())
    }
}

/// Stores a value kept outside the arena as a plain tensor.
pub struct RealizeStep {
    /// The node, for errors.
    pub node: String,
    /// Which value.
    pub value: usize,
    /// Where to.
    pub out: Slot,
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
}

impl Step for RealizeStep {
    fn kernel(&self) -> &'static str {
        REFERENCE
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let Some(tensor) = cx.values[self.value].as_ref().map(Value::to_tensor) else { return Ok(()) };
        write(&self.node, &tensor, self.dtype, &self.shape, &self.out, cx)
    }
}

/// Stores a tensor of the planned type.
fn write(
    node: &str,
    tensor: &Tensor,
    dtype: DType,
    shape: &[usize],
    out: &Slot,
    cx: &mut StepCx<'_>,
) -> Result<(), RunError> {
    if tensor.dtype() != dtype || tensor.shape() != shape {
        let expected = Box::new(TensorType::new(dtype, Shape::known(shape)));
        return Err(RunError::Produced { node: node.to_owned(), expected, got: Box::new(tensor.ty()) });
    }
    let (_, [out], _) = cx.split([out]);
    store(tensor, out)
}
