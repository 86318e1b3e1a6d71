//! Tensors in the arena: logical shapes, physical order.

use quantc_runtime::Slot;
use quantc_tensor::DType;

/// A tensor in a buffer, contiguous in its physical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) buffer: u32,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) dtype: DType,
    /// Logical sizes, as the graph has them.
    pub(crate) shape: Vec<usize>,
    /// Logical axis of each physical one, slowest first. `[0, 2, 3, 1]` is NHWC.
    pub(crate) order: Vec<usize>,
}

/// The order of an ordinary row-major tensor.
pub(crate) fn row_major(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Batch, spatial axes, channels.
pub(crate) fn channels_last(rank: usize) -> Vec<usize> {
    if rank < 3 {
        return row_major(rank);
    }
    std::iter::once(0).chain(2..rank).chain(std::iter::once(1)).collect()
}

/// Whether two orders of one shape are the same order of elements: axes of size 1 do not matter.
pub(crate) fn same_order(shape: &[usize], a: &[usize], b: &[usize]) -> bool {
    let significant = |order: &[usize]| order.iter().copied().filter(|&axis| shape[axis] != 1).collect::<Vec<_>>();
    shape.contains(&0) || significant(a) == significant(b)
}

impl View {
    pub(crate) fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.numel() * self.dtype.size()
    }

    pub(crate) fn slot(&self) -> Slot {
        Slot { buffer: self.buffer, offset: self.offset, len: self.bytes() }
    }

    /// Sizes in physical order.
    pub(crate) fn physical(&self) -> Vec<usize> {
        self.order.iter().map(|&axis| self.shape[axis]).collect()
    }

    /// The same elements with another logical shape and order.
    pub(crate) fn reshaped(&self, shape: Vec<usize>, order: Vec<usize>) -> View {
        View { shape, order, ..self.clone() }
    }

    /// What reports call the order.
    pub(crate) fn layout_name(&self) -> &'static str {
        layout_name(&self.shape, &self.order)
    }
}

/// What reports call an order.
pub(crate) fn layout_name(shape: &[usize], order: &[usize]) -> &'static str {
    let rank = shape.len();
    if order == row_major(rank) {
        if rank == 4 { "nchw" } else { "row-major" }
    } else if order == channels_last(rank) {
        match rank {
            3 => "nlc",
            4 => "nhwc",
            _ => "channels-last",
        }
    } else {
        "permuted"
    }
}

/// The same permutation with fewer axes: those of size 1 are dropped, neighbours that stay neighbours become one.
pub(crate) fn merge_axes(shape: &[usize], permutation: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let kept: Vec<usize> = permutation.iter().copied().filter(|&axis| shape[axis] != 1).collect();
    // Runs of consecutive source axes, in the order of the result. Axes of size 1 between them do not count.
    let sources: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] != 1).collect();
    let rank_of = |axis: usize| sources.iter().position(|&s| s == axis).unwrap_or_default();
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for axis in kept {
        let at = rank_of(axis);
        match runs.last_mut() {
            Some((_, end)) if *end == at => *end += 1,
            _ => runs.push((at, at + 1)),
        }
    }
    let mut starts: Vec<usize> = runs.iter().map(|r| r.0).collect();
    starts.sort_unstable();
    let size = |run: &(usize, usize)| (run.0..run.1).map(|i| shape[sources[i]]).product();
    let merged_shape = starts.iter().filter_map(|start| runs.iter().find(|r| r.0 == *start)).map(size).collect();
    let merged = runs.iter().map(|r| starts.iter().position(|s| *s == r.0).unwrap_or_default()).collect();
    (merged_shape, merged)
}
