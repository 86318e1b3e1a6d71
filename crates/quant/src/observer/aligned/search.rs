//! The ranges that an aligned histogram can choose.

use super::super::histogram::{BINS, Bins, destination_bins};
use super::super::{QuantizationRule, Range, histogram_search};
use super::counts::{Counts, Segment};
use super::{entropy, mse};
use crate::qconfig::{ObserverSpec, RangeSearch};

/// The range within the one seen that `search` chooses.
pub(super) fn choose(search: RangeSearch, counts: &Counts<'_>, rule: &QuantizationRule, spec: &ObserverSpec) -> Range {
    let range = counts.range();
    if range.min == range.max {
        return range;
    }
    match search {
        RangeSearch::L2 => histogram_search::search(&resampled(counts), range, destination_bins(spec)),
        RangeSearch::Mse => mse::search(counts, rule),
        RangeSearch::Percentile(p) => percentile(&counts.segments_and_zeros(), f64::from(p), range),
        RangeSearch::Entropy => entropy::search(counts, rule),
    }
}

/// The histogram in PyTorch's bins: 2048 over the range seen. Values are spread evenly over a bin, a part of it goes to the
/// bin that it overlaps.
fn resampled(counts: &Counts<'_>) -> Vec<f32> {
    let range = counts.range();
    let (min, width) = (f64::from(range.min), f64::from(range.max) - f64::from(range.min));
    let place = Bins::new(range, BINS);
    let mut bins = vec![0.0f64; BINS];
    for Segment { lo, hi, count } in counts.segments_and_zeros() {
        let position = |x: f64| ((x - min) / width * BINS as f64).clamp(0.0, BINS as f64);
        let (from, to) = (position(lo), position(hi));
        if to <= from {
            bins[place.of(lo as f32) as usize] += count;
            continue;
        }
        let last = (to.ceil() as usize).min(BINS);
        for (i, bin) in bins[..last].iter_mut().enumerate().skip(from as usize) {
            let overlap = to.min(i as f64 + 1.0) - from.max(i as f64);
            *bin += count * overlap / (to - from);
        }
    }
    bins.into_iter().map(|count| count as f32).collect()
}

/// The range between the percentiles `100 - p` and `p`, with values spread evenly over a bin.
fn percentile(segments: &[Segment], p: f64, range: Range) -> Range {
    let total: f64 = segments.iter().map(|s| s.count).sum();
    let quantile = |percent: f64| {
        let target = total * percent / 100.0;
        let mut below = 0.0;
        for s in segments {
            if below + s.count >= target {
                return s.lo + (s.hi - s.lo) * (target - below) / s.count;
            }
            below += s.count;
        }
        f64::from(range.max)
    };
    Range { min: quantile(100.0 - p) as f32, max: quantile(p) as f32 }
}
