//! Whether a pattern's conditions hold where PyTorch would match it: its patterns have no conditions, and say nothing of shapes.

use quantc_ops::{Attrs, OpRef};
use quantc_tensor::{DType, Dim, Shape, Tensor, TensorType};
use smallvec::SmallVec;

use crate::ast::{Var, VarId, VarKind};
use crate::backend::{BackendPatternConfig, Role};
use crate::expr::{Env, Expr};
use crate::matcher::{Binding, Host};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Computed from the inputs.
    Activation,
    /// A tensor of parameters.
    Parameter,
    /// A number in the program.
    Number,
}

/// Values of one rank, without sizes.
struct World {
    ty: TensorType,
    number: Tensor,
    number_type: TensorType,
}

impl Host for World {
    type Value = Fact;
    type Node = std::convert::Infallible;

    fn definitions(&self, _: Fact) -> SmallVec<[Self::Node; 2]> {
        SmallVec::new()
    }

    fn calls_of(&self, _: Fact, _: &[OpRef]) -> SmallVec<[Self::Node; 2]> {
        SmallVec::new()
    }

    fn projections(&self, _: Fact) -> SmallVec<[(u32, Fact); 1]> {
        SmallVec::new()
    }

    fn call(&self, node: Self::Node) -> (OpRef, &Attrs) {
        match node {}
    }

    fn input_count(&self, node: Self::Node) -> usize {
        match node {}
    }

    fn input(&self, node: Self::Node, _: usize) -> Option<Fact> {
        match node {}
    }

    fn may_be_interior(&self, _: Fact) -> bool {
        true
    }

    fn ty(&self, value: Fact) -> Option<&TensorType> {
        Some(if value == Fact::Number { &self.number_type } else { &self.ty })
    }

    fn constant(&self, value: Fact) -> Option<&Tensor> {
        (value == Fact::Number).then_some(&self.number)
    }

    fn is_constant(&self, value: Fact) -> bool {
        value != Fact::Activation
    }
}

/// Whether a condition is about attributes, of which PyTorch's patterns say nothing.
pub(super) fn about_attributes(condition: &Expr, vars: &[Var]) -> bool {
    let mut found = false;
    condition.variables(&mut |v| found |= !matches!(vars[v].kind, VarKind::Value | VarKind::Optional));
    found
}

/// Whether the conditions on values hold for activations of a rank, weights and biases that are parameters, and `operands`, which are
/// the bottom call's, as given.
pub(super) fn holds(config: &BackendPatternConfig, rank: usize, operands: &[(VarId, Fact)]) -> bool {
    let unknown: Shape = std::iter::repeat_n(Dim::Unknown, rank).collect();
    let number = Tensor::scalar(2.0f32);
    let world = World { ty: TensorType::new(DType::F32, unknown), number_type: number.ty(), number };
    let vars = &config.pattern.vars;
    let fact = |id: VarId| match operands.iter().find(|o| o.0 == id) {
        Some((_, fact)) => *fact,
        None if config.role(id) == Some(Role::Input) => Fact::Activation,
        None => Fact::Parameter,
    };
    let bind = |(id, var): (VarId, &Var)| match var.kind {
        VarKind::Value | VarKind::Optional if var.repeated => Binding::Seq(vec![Binding::Value(fact(id)); 2]),
        VarKind::Value | VarKind::Optional => Binding::Value(fact(id)),
        VarKind::Record | VarKind::Field | VarKind::Node => Binding::Unset,
    };
    let bindings: Vec<Binding<World>> = vars.iter().enumerate().map(bind).collect();
    let env = Env::new(&world, &bindings);
    config.conditions.iter().filter(|c| !about_attributes(c, vars)).all(|c| env.holds(c))
}
