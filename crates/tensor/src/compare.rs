//! How far two tensors are apart.

use crate::Tensor;

/// The largest difference of two tensors of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// The largest absolute difference; infinite if one has a number where the other has none, or another infinity.
    pub worst: f32,
    /// The element it is at.
    pub at: usize,
    /// The largest finite magnitude of the first tensor.
    pub largest: f32,
}

impl Gap {
    /// Compares element by element. NaN is equal to NaN, an infinity to itself.
    pub fn between(a: &Tensor, b: &Tensor) -> Gap {
        let mut gap = Gap { worst: 0.0, at: 0, largest: 0.0 };
        let (a, b) = (a.to_f32_vec(), b.to_f32_vec());
        for (at, (a, b)) in a.into_iter().zip(b).enumerate() {
            if a.is_finite() {
                gap.largest = gap.largest.max(a.abs());
            }
            let apart = match (a == b || (a.is_nan() && b.is_nan()), a.is_finite() && b.is_finite()) {
                (true, _) => 0.0,
                (false, true) => (a - b).abs(),
                (false, false) => f32::INFINITY,
            };
            if apart > gap.worst {
                (gap.worst, gap.at) = (apart, at);
            }
        }
        gap
    }

    /// Whether the difference is at most `tolerance` times the largest magnitude.
    pub fn within(&self, tolerance: f32) -> bool {
        self.worst <= tolerance * self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_compared_too() {
        let gap = |a: [f32; 3], b: [f32; 3]| Gap::between(&Tensor::vector(a.to_vec()), &Tensor::vector(b.to_vec()));
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(gap([1.0, nan, inf], [1.0, nan, inf]), Gap { worst: 0.0, at: 0, largest: 1.0 });
        assert_eq!(gap([1.0, -4.0, inf], [1.5, -4.0, inf]).worst, 0.5);
        for other in [[1.0, 2.0, inf], [1.0, nan, 3.0], [1.0, nan, -inf], [nan, nan, inf]] {
            assert!(!gap([1.0, nan, inf], other).within(1e30), "{other:?}");
        }
    }
}
