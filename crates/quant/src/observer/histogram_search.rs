//! The search for the range that quantizes a histogram with a small error: PyTorch's `_non_linear_param_search`, itself after caffe2's
//! `NormMinimization`. The same steps and the same decisions, with the work of each step cut down: empty bins are left out, the
//! quantiles are followed instead of searched anew, and no division is left in the inner loop.

use super::Range;

/// How far each step moves a quantile.
const STEP: f64 = 1e-5;

/// The range within `range`, the histogram's, that was found for a quantization to `destination_bins` values. One that is too wide for
/// f32 has no bins to search: it is given whole.
pub(super) fn search(histogram: &[f32], range: Range, destination_bins: f64) -> Range {
    if !(range.max - range.min).is_finite() {
        return range;
    }
    let bins = histogram.len();
    let bin_width = (range.max - range.min) / bins as f32;
    let mut sum = 0.0;
    let cumulative: Vec<f32> = histogram
        .iter()
        .map(|&count| {
            sum += f64::from(count);
            sum as f32
        })
        .collect();
    let total = f64::from(sum as f32);
    let error = QuantizationError::new(histogram, range, destination_bins);

    let (mut alpha, mut beta) = (0.0, 1.0);
    let (mut start, mut end) = (0, bins - 1);
    // The first bin at or above the lower quantile and the last one at or below the upper: they only ever move inwards.
    let (mut first, mut last) = (0, bins - 1);
    let mut best = f64::INFINITY;
    while alpha < beta {
        let (next_alpha, next_beta) = (alpha + STEP, beta - STEP);
        // PyTorch compares in f32.
        while first < bins - 1 && cumulative[first] < (next_alpha * total) as f32 {
            first += 1;
        }
        while last > 0 && cumulative[last] > (next_beta * total) as f32 {
            last -= 1;
        }
        let (left, right) = (first.clamp(start, end), last.clamp(start, end));
        let (mut next_start, mut next_end) = (start, end);
        if left - start > end - right {
            next_start = left;
            alpha = next_alpha;
        } else {
            next_end = right;
            beta = next_beta;
        }
        if (next_start, next_end) == (start, end) {
            continue;
        }
        let norm = error.of(next_start, next_end);
        if norm > best {
            break;
        }
        best = norm;
        (start, end) = (next_start, next_end);
    }
    Range { min: range.min + bin_width * start as f32, max: range.min + bin_width * (end + 1) as f32 }
}

/// The L2 error of quantizing a histogram to a number of values over a part of its range, the values being spread evenly within a bin.
struct QuantizationError {
    /// Indices of the bins that are not empty.
    bin: Vec<f32>,
    /// Their counts divided by the bin width.
    density: Vec<f32>,
    bin_width: f64,
    destination_bins: f64,
}

impl QuantizationError {
    fn new(histogram: &[f32], range: Range, destination_bins: f64) -> QuantizationError {
        let bin_width = (f64::from(range.max) - f64::from(range.min)) / histogram.len() as f64;
        // Errors are only compared with each other. Scaling all widths by a power of two changes no rounding, and keeps the cubes of
        // very small or large widths within f32, where PyTorch's turn into 0 or infinity.
        let bin_width = if bin_width > 0.0 { bin_width * (-bin_width.log2().floor()).exp2() } else { 0.0 };
        let (mut bin, mut density) = (Vec::new(), Vec::new());
        for (i, &count) in histogram.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            bin.push(i as f32);
            density.push(count / bin_width as f32);
        }
        QuantizationError { bin, density, bin_width, destination_bins }
    }

    /// The error of the range from the left end of bin `start` to the right end of bin `end`. The terms are f32, rounded as PyTorch
    /// rounds them; their sum is f64.
    fn of(&self, start: usize, end: usize) -> f64 {
        let destination_width = self.bin_width * (end as f64 - start as f64 + 1.0) / self.destination_bins;
        if destination_width == 0.0 {
            return 0.0;
        }
        let (bin_width, width, half) =
            (self.bin_width as f32, destination_width as f32, (destination_width / 2.0) as f32);
        let start = start as f32;
        let inverse = 1.0 / f64::from(width);
        let wide = self.destination_bins > f64::from(i32::MAX);
        // floor(x / width), clamped to the destination bins. The quotient of two f32 is either an integer or at least 2^-24 of itself
        // away from one, so that the offset makes the product truncate to the exact floor.
        let destination = |x: f32| {
            let quotient = (f64::from(x) * inverse + 1e-10).clamp(0.0, self.destination_bins - 1.0);
            // The conversion to i32 is one instruction, `floor` is a call on most machines.
            if wide { quotient.floor() as f32 } else { quotient as i32 as f32 }
        };
        let cube = |x: f32| x * x * x;
        let whole = (cube(half) - cube(-half)) / 3.0;
        let term = |bin: f32, density: f32| {
            let left = (bin - start) * bin_width;
            let right = left + bin_width;
            let (from, to) = (destination(left), destination(right));
            let from_centre = (from + 0.5) * width;
            let to_centre = to * width + half;
            let mut norm = density * ((cube(half) - cube(left - from_centre)) / 3.0);
            norm += (to - from - 1.0) * (density * whole);
            norm + density * ((cube(right - to_centre) - cube(-half)) / 3.0)
        };
        /// Independent sums, so that one addition need not wait for the one before.
        const LANES: usize = 8;
        let mut sums = [0.0f64; LANES];
        let (bins, rest_bins) = self.bin.as_chunks::<LANES>();
        let (densities, rest_densities) = self.density.as_chunks::<LANES>();
        for (bin, density) in bins.iter().zip(densities) {
            for lane in 0..LANES {
                sums[lane] += f64::from(term(bin[lane], density[lane]));
            }
        }
        let rest: f64 =
            rest_bins.iter().zip(rest_densities).map(|(&bin, &density)| f64::from(term(bin, density))).sum();
        sums.iter().sum::<f64>() + rest
    }
}
