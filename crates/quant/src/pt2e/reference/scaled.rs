//! Values of the q/dq graph as the new graph has them.

use quantc_ir::ValueRef;

/// What a value of the q/dq graph has become.
#[derive(Clone, Debug)]
pub(super) enum Rep {
    /// The same tensor, without integers behind it.
    Same(ValueRef),
    /// Integers with a scale, as [`quantc_tensor::ScaledInt`] has them when the q/dq graph runs.
    Scaled(Scaled),
    /// The same value, left as the q/dq graph has it: it may have integers behind it.
    Kept(ValueRef),
}

/// `clamp(f32(ints) * scale, lo, hi)`.
#[derive(Clone, Debug)]
pub(super) struct Scaled {
    pub(super) ints: Ints,
    pub(super) scale: ScaleOf,
    pub(super) clamp: (f32, f32),
}

/// The integers of a scaled value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ints {
    /// A quantized tensor less its zero point.
    Codes { q: ValueRef, zero: Zero },
    /// i32 results of arithmetic.
    Sums(ValueRef),
}

/// A zero point.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zero {
    One(i32),
    Channels {
        axis: usize,
        zeros: Vec<i32>,
    },
    /// An integer tensor of one element.
    Runtime(ValueRef),
}

/// A scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScaleOf {
    One(f32),
    Channels {
        axis: usize,
        scales: Vec<f32>,
    },
    /// A real tensor of one element.
    Runtime(ValueRef),
}

impl ScaleOf {
    /// Whether the scale divided by another is finite, so that 0 times it is 0. One that is only known when the graph runs may not be.
    pub(super) fn all_finite_over(&self, by: f32) -> bool {
        match self {
            ScaleOf::One(s) => (s / by).is_finite(),
            ScaleOf::Channels { scales, .. } => scales.iter().all(|s| (s / by).is_finite()),
            ScaleOf::Runtime(_) => false,
        }
    }

    /// Whether it is only known when the graph runs: products with it are real at once.
    pub(super) fn is_runtime(&self) -> bool {
        matches!(self, ScaleOf::Runtime(_))
    }
}

impl Scaled {
    /// No pending clamp.
    pub(super) const UNCLAMPED: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

    /// Results of arithmetic.
    pub(super) fn sums(ints: ValueRef, scale: ScaleOf) -> Scaled {
        Scaled { ints: Ints::Sums(ints), scale, clamp: Scaled::UNCLAMPED }
    }

    /// Whether the integers are codes, without a pending clamp.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.ints, Ints::Codes { .. }) && self.clamp == Scaled::UNCLAMPED
    }

    /// The scale of codes that arithmetic on integers takes.
    pub(super) fn code_scale(&self) -> Option<f32> {
        match self.scale {
            ScaleOf::One(s) if self.is_plain() => Some(s),
            _ => None,
        }
    }
}
