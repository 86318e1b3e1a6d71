//! What steps compute and move: sizes that follow from a plan, for reports on speed.

use std::ops::Range;

use crate::{Access, Plan, Source};

/// What the factors of a step's products are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Bytes, summed in i32.
    #[default]
    Int8,
    /// f32.
    Float,
}

/// What a step computes, and what it touches besides the slots it visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-accumulates of convolutions and matrix products, padding included; 0 for all other steps.
    pub macs: u64,
    /// What is multiplied.
    pub arithmetic: Arithmetic,
    /// Bytes of constants that are read: weights, biases, tables.
    pub constants: u64,
    /// Bytes within the written slots that the step leaves alone: what lies between its rows in a larger tensor.
    pub skipped: u64,
}

impl Work {
    /// No products, these constant operands.
    pub fn reading<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Work {
        let bytes = |source: &Source| match source {
            Source::Const(constant) => constant.len() as u64,
            Source::Arena(_) => 0,
        };
        Work { constants: sources.into_iter().map(bytes).sum(), ..Work::default() }
    }

    /// This many products of that kind besides.
    pub fn multiplying(self, arithmetic: Arithmetic, macs: usize) -> Work {
        Work { macs: macs as u64, arithmetic, ..self }
    }

    /// The result being `rows` rows of `columns` elements of `element` bytes, `stride` elements apart.
    pub fn into_rows(self, rows: usize, columns: usize, stride: usize, element: usize) -> Work {
        Work { skipped: (rows.saturating_sub(1) * stride.saturating_sub(columns) * element) as u64, ..self }
    }
}

/// What a step of a plan computes and moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepWork {
    /// Multiply-accumulates, as in [`Work::macs`].
    pub macs: u64,
    /// What is multiplied.
    pub arithmetic: Arithmetic,
    /// Bytes read, each counted once: operands and constants.
    pub read: u64,
    /// Bytes written: results and temporary memory.
    pub written: u64,
}

impl StepWork {
    /// Bytes moved.
    pub fn bytes(&self) -> u64 {
        self.read + self.written
    }
}

/// Bytes in some ranges, those that overlap counted once.
fn covered(mut ranges: Vec<Range<usize>>) -> u64 {
    ranges.sort_unstable_by_key(|r| r.start);
    let (mut bytes, mut end) = (0, 0);
    for range in ranges {
        bytes += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    bytes as u64
}

impl Plan {
    /// What each step computes and moves, in execution order.
    pub fn work(&self) -> impl Iterator<Item = StepWork> {
        self.steps.iter().zip(self.memory_use()).map(|(planned, used)| {
            let Work { macs, arithmetic, constants, skipped } = planned.step.work();
            let of = |wanted: fn(Access) -> bool| {
                covered(used.iter().filter(|u| wanted(u.0)).map(|u| u.1.clone()).collect())
            };
            let read = of(|access| access != Access::Write) + constants;
            let written = of(|access| access != Access::Read).saturating_sub(skipped);
            StepWork { macs, arithmetic, read, written }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_once() {
        assert_eq!(covered(vec![10..20, 0..5, 12..14, 18..30, 40..40]), 25);
        assert_eq!(covered(Vec::new()), 0);
    }

    #[test]
    fn gaps_between_rows_are_not_written() {
        assert_eq!(Work::default().into_rows(4, 8, 10, 2).skipped, 12);
        assert_eq!(Work::default().into_rows(0, 8, 10, 2).skipped, 0);
    }
}
