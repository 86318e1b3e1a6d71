//! Weights packed in panels of columns: the form in which compiled models store them, and the way back.

use super::geometry::ConvWeightShape;

/// A layout of packed weights: panels of `vectors` vectors of `lanes` output channels, each `[k / 4][column][4]`, zero beyond `k` and
/// beyond the last column; groups of few channels are merged, as many as fill a vector. Behind all panels there is one byte for each.
///
/// Everything but those last bytes follows from the weights, and gives them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    /// Output channels of a vector.
    pub lanes: usize,
    /// Vectors of a panel.
    pub vectors: usize,
}

/// The sizes of one shape's panels.
struct Sizes {
    /// Groups, merged.
    groups: usize,
    /// Input channels of a merged group.
    c: usize,
    /// Output channels of a merged group.
    oc: usize,
    /// Fours of products summed.
    quads: usize,
    /// Bytes of a merged group's panels.
    bytes: usize,
}

impl Panels {
    fn sizes(&self, shape: &ConvWeightShape) -> Sizes {
        let fits = |m: &usize| shape.groups.is_multiple_of(*m) && m * shape.group_oc() <= self.lanes;
        let merged = (1..=self.lanes.min(shape.groups)).rev().find(fits).unwrap_or(1);
        let (c, oc) = (shape.group_c() * merged, shape.group_oc() * merged);
        let quads = (shape.taps() * c).div_ceil(4);
        Sizes { groups: shape.groups / merged, c, oc, quads, bytes: oc.next_multiple_of(self.lanes) * quads * 4 }
    }

    /// Bytes of packed weights of a shape.
    pub fn bytes(&self, shape: &ConvWeightShape) -> usize {
        let Sizes { groups, oc, bytes, .. } = self.sizes(shape);
        groups * (bytes + oc.div_ceil(self.lanes * self.vectors))
    }

    /// The weights `[oc][kh][kw][c / groups]` that were packed.
    ///
    /// # Panics
    /// If `data` does not hold `bytes(shape)` bytes.
    pub fn unpack(&self, shape: &ConvWeightShape, data: &[u8]) -> Vec<i8> {
        assert_eq!(data.len(), self.bytes(shape), "packed weights of another layout");
        let Sizes { c, oc, quads, bytes, .. } = self.sizes(shape);
        let (width, group_c) = (self.lanes * self.vectors, shape.group_c());
        let mut weights = Vec::with_capacity(shape.len());
        for channel in 0..shape.oc {
            let (group, column) = (channel / oc, channel % oc);
            let first = column / width * width;
            let step = (oc - first).min(width).next_multiple_of(self.lanes) * 4;
            // Before the panel all are of the full width.
            let panel = &data[group * bytes + first * quads * 4..];
            let lane = (column - first) * 4;
            let start = column / shape.group_oc() * group_c;
            for tap in 0..shape.taps() {
                let depth = tap * c + start..tap * c + start + group_c;
                weights.extend(depth.map(|k| panel[k / 4 * step + lane + k % 4] as i8));
            }
        }
        weights
    }
}
