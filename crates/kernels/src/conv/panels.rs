//! Weights packed in panels of columns: the form in which compiled models store them, and the way back.

use super::geometry::ConvWeightShape;

/// A layout of packed weights: panels of `vectors` vectors of `lanes` output channels, each `[k / depth][column][depth]`, zero beyond `k`
/// and beyond the last column; groups of few channels are merged, as many as fill a vector. Behind all panels there is one byte for each.
///
/// Everything but those last bytes follows from the weights, and gives them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    /// Output channels of a vector.
    pub lanes: usize,
    /// Vectors of a panel.
    pub vectors: usize,
    /// Successive weights of a column that lie side by side.
    pub depth: usize,
    /// Groups of `depth` that are multiplied at once, at most: a column takes as many equal lots as it needs of up to `lot`.
    pub lot: usize,
}

/// The sizes of one shape's panels.
struct Sizes {
    /// Groups, merged.
    groups: usize,
    /// Input channels of a merged group.
    c: usize,
    /// Output channels of a merged group.
    oc: usize,
    /// Groups of `depth` along K.
    steps: usize,
    /// Bytes of a merged group's panels.
    bytes: usize,
}

impl Panels {
    /// Groups of `depth` that a column of `k` weights takes.
    pub const fn steps(&self, k: usize) -> usize {
        let steps = k.div_ceil(self.depth);
        let lots = steps.div_ceil(self.lot);
        if lots == 0 { 0 } else { lots * steps.div_ceil(lots) }
    }

    fn sizes(&self, shape: &ConvWeightShape) -> Sizes {
        let fits = |m: &usize| shape.groups.is_multiple_of(*m) && m * shape.group_oc() <= self.lanes;
        let merged = (1..=self.lanes.min(shape.groups)).rev().find(fits).unwrap_or(1);
        let (c, oc) = (shape.group_c() * merged, shape.group_oc() * merged);
        let steps = self.steps(shape.taps() * c);
        Sizes {
            groups: shape.groups / merged,
            c,
            oc,
            steps,
            bytes: oc.next_multiple_of(self.lanes) * steps * self.depth,
        }
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
        let Sizes { c, oc, steps, bytes, .. } = self.sizes(shape);
        let (width, depth, group_c) = (self.lanes * self.vectors, self.depth, shape.group_c());
        let mut weights = Vec::with_capacity(shape.len());
        for channel in 0..shape.oc {
            let (group, column) = (channel / oc, channel % oc);
            let first = column / width * width;
            let step = (oc - first).min(width).next_multiple_of(self.lanes) * depth;
            // Before the panel all are of the full width.
            let panel = &data[group * bytes + first * steps * depth..];
            let lane = (column - first) * depth;
            let start = column / shape.group_oc() * group_c;
            for tap in 0..shape.taps() {
                let along = tap * c + start..tap * c + start + group_c;
                weights.extend(along.map(|k| panel[k / depth * step + lane + k % depth] as i8));
            }
        }
        weights
    }
}
