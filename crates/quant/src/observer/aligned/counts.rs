//! A histogram as its searches see it.

use super::super::Range;

/// Values that lie somewhere between two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// The smaller end.
    pub(super) lo: f64,
    /// The larger end; equal to the smaller one for a single value.
    pub(super) hi: f64,
    /// How many values.
    pub(super) count: f64,
}

/// The counts of an aligned histogram.
pub(super) struct Counts<'a> {
    /// From the most negative bin to the most positive one; 0 is where the upper half begins.
    bins: &'a [u64],
    zeros: u64,
    /// The width of a bin.
    width: f64,
    /// The range of the values.
    range: Range,
}

impl<'a> Counts<'a> {
    pub(super) fn new(bins: &'a [u64], zeros: u64, width: f64, range: Range) -> Counts<'a> {
        Counts { bins, zeros, width, range }
    }

    pub(super) fn range(&self) -> Range {
        self.range
    }

    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// What is not empty, in rising order and without zeros; a bin at an end of the range is cut there.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let (min, max) = (f64::from(self.range.min), f64::from(self.range.max));
        let half = self.bins.len() as f64 / 2.0;
        let bin = |(i, count): (usize, &u64)| {
            let lo = (i as f64 - half) * self.width;
            Segment { lo: lo.max(min), hi: (lo + self.width).min(max), count: *count as f64 }
        };
        self.bins.iter().enumerate().filter(|(_, count)| **count != 0).map(bin).collect()
    }

    /// [`Counts::segments`], with the zeros in their place.
    pub(super) fn segments_and_zeros(&self) -> Vec<Segment> {
        let mut segments = self.segments();
        if self.zeros != 0 {
            let at = segments.partition_point(|s| s.hi <= 0.0);
            segments.insert(at, Segment { lo: 0.0, hi: 0.0, count: self.zeros as f64 });
        }
        segments
    }

    /// How many values have each magnitude, zeros left out: bin `i` is from `i` to `i + 1` bin widths, up to the last that is not empty.
    pub(super) fn magnitudes(&self) -> Vec<f64> {
        let (negative, positive) = self.bins.split_at(self.bins.len() / 2);
        let both = negative.iter().rev().zip(positive).map(|(n, p)| n + p);
        let mut counts: Vec<f64> = both.map(|count| count as f64).collect();
        let used = counts.iter().rposition(|count| *count != 0.0).map_or(0, |last| last + 1);
        counts.truncate(used);
        counts
    }
}
