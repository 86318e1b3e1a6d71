//! Shapes with symbolic dimensions, and the type of a tensor value.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::DType;

/// One dimension of a shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// A size known at compile time.
    Known(usize),
    /// A named size, bound when the model runs (ONNX `dim_param`): equal names are equal sizes.
    Symbol(Arc<str>),
    /// A size nobody knows before the model runs, printed `?`.
    Unknown,
}

impl Dim {
    /// The size, if known.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }

    /// A named dimension.
    pub fn symbol(name: &str) -> Dim {
        Dim::Symbol(Arc::from(name))
    }

    /// The dimension of a broadcast of two (NumPy rules); `None` if they can't be broadcast together.
    pub fn broadcast(&self, other: &Dim) -> Option<Dim> {
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (Dim::Known(1), d) | (d, Dim::Known(1)) => Some(d.clone()),
            (Dim::Known(_), Dim::Known(_)) => None,
            // A size above 1 wins: the other one is that size or 1, or running it is an error.
            (Dim::Known(n), _) | (_, Dim::Known(n)) => Some(Dim::Known(*n)),
            _ => Some(Dim::Unknown),
        }
    }

    /// Whether both may denote the same size.
    pub fn compatible(&self, other: &Dim) -> bool {
        match (self, other) {
            (Dim::Known(a), Dim::Known(b)) => a == b,
            _ => true,
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// A shape: its rank is always known, its dimensions need not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Shape(pub SmallVec<[Dim; 4]>);

impl Shape {
    /// A shape of known sizes.
    pub fn known(dims: &[usize]) -> Shape {
        Shape(dims.iter().map(|&n| Dim::Known(n)).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The dimensions.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// All sizes, if every one is known.
    pub fn to_known(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::known).collect()
    }

    /// Number of elements, if known.
    pub fn numel(&self) -> Option<usize> {
        self.0.iter().map(Dim::known).product()
    }

    /// The broadcast of two shapes (NumPy rules); `None` if impossible.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let at = |s: &Shape, i: usize| {
            let missing = rank - s.rank();
            if i < missing { Dim::Known(1) } else { s.0[i - missing].clone() }
        };
        (0..rank).map(|i| at(self, i).broadcast(&at(other, i))).collect::<Option<SmallVec<_>>>().map(Shape)
    }

    /// Whether both may denote the same sizes.
    pub fn compatible(&self, other: &Shape) -> bool {
        self.rank() == other.rank() && self.0.iter().zip(&other.0).all(|(a, b)| a.compatible(b))
    }

    /// The more specific of two compatible shapes, dimension by dimension; `None` if they contradict each other.
    pub fn refine(&self, other: &Shape) -> Option<Shape> {
        if !self.compatible(other) {
            return None;
        }
        let pick = |a: &Dim, b: &Dim| match (a, b) {
            (Dim::Known(_), _) | (Dim::Symbol(_), Dim::Symbol(_) | Dim::Unknown) => a.clone(),
            _ => b.clone(),
        };
        Some(Shape(self.0.iter().zip(&other.0).map(|(a, b)| pick(a, b)).collect()))
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<I: IntoIterator<Item = Dim>>(iter: I) -> Self {
        Shape(iter.into_iter().collect())
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape::known(dims)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// The type of a tensor value: `f32[N,3,224,224]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
}

impl TensorType {
    /// A type from its parts.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_keeps_symbols() {
        let a = Shape(SmallVec::from_vec(vec![Dim::symbol("N"), Dim::Known(1), Dim::Known(4)]));
        let b = Shape::known(&[3, 1]);
        assert_eq!(a.broadcast(&b).map(|s| s.to_string()), Some("[N,3,4]".to_owned()));
        assert_eq!(Shape::known(&[2]).broadcast(&Shape::known(&[3])), None);
    }

    #[test]
    fn refine_prefers_the_known() {
        let a = Shape(SmallVec::from_vec(vec![Dim::Unknown, Dim::symbol("S")]));
        let b = Shape(SmallVec::from_vec(vec![Dim::symbol("N"), Dim::Known(4)]));
        assert_eq!(a.refine(&b).map(|s| s.to_string()), Some("[N,4]".to_owned()));
        assert_eq!(Shape::known(&[2]).refine(&Shape::known(&[3])), None);
    }
}
