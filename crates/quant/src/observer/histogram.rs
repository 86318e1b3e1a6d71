//! The per-tensor observer that keeps a histogram.

use super::histogram_search::search;
use super::min_max::saved_range;
use super::{
    Observer, ObserverError, QuantizationRule, Range, StateError, StateReader, StateTensor, Stateful, buffers,
    check_shape, finite_range, refuse_dynamic, same_kind,
};
use crate::qconfig::{ObserverDType, ObserverSpec};

/// Bins of the histogram, PyTorch's default.
pub(super) const BINS: usize = 2048;
/// Bins that each old bin is split into before it is moved to a wider histogram (PyTorch's `upsample_rate`).
const UPSAMPLE_RATE: usize = 16;

/// A histogram of the values, from which a range with a small quantization error is searched (PyTorch `HistogramObserver`). The
/// result depends a little on the order of the tensors: a histogram that must grow is spread over the wider bins.
#[derive(Clone, Debug)]
pub struct HistogramObserver {
    spec: ObserverSpec,
    /// The bins' ends are `range.min + i * (range.max - range.min) / bins`. f32 as in PyTorch: moving a histogram splits counts.
    histogram: Vec<f32>,
    range: Range,
    infinities: u64,
}

impl HistogramObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(spec: &ObserverSpec) -> Result<HistogramObserver, ObserverError> {
        refuse_dynamic("HistogramObserver", spec)?;
        QuantizationRule::new("HistogramObserver", spec, false)?;
        Ok(HistogramObserver { spec: spec.clone(), histogram: vec![0.0; BINS], range: Range::EMPTY, infinities: 0 })
    }

    /// The range of all values seen; `ranges` gives the one that the search chose within it.
    pub fn observed_range(&self) -> Range {
        self.range
    }
}

impl Observer for HistogramObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.infinities += infinities;
        if new.is_empty() {
            return Ok(());
        }
        let range = self.range.union(new);
        let mut update = count(data, range, self.histogram.len());
        if !self.range.is_empty() && range != self.range {
            if self.range.min == self.range.max {
                // So far one value only. PyTorch gives it the weight of the new tensor, whatever the number seen before; kept so
                // that the parameters are the same.
                let weight: f32 = update.iter().sum();
                let bin = Bins::new(range, update.len()).of(self.range.min);
                update[bin as usize] += weight;
            } else {
                add(&mut update, &widen(&self.histogram, self.range, range));
            }
            self.histogram = update;
        } else {
            add(&mut self.histogram, &update);
        }
        self.range = range;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        let found = || search(&self.histogram, self.range, destination_bins(&self.spec));
        if self.range.is_empty() { Vec::new() } else { found().seen() }
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        let other = same_kind(self, other)?;
        if self.range.is_empty() {
            self.range = other.range;
        } else if !other.range.is_empty() && self.range != other.range {
            let reason = "the histograms have different ranges";
            return Err(ObserverError::NotMergeable { observer: self.name(), other: other.name(), reason });
        }
        add(&mut self.histogram, &other.histogram);
        self.infinities += other.infinities;
        Ok(())
    }
}

impl Stateful for HistogramObserver {
    fn class(&self) -> &'static str {
        "HistogramObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        buffers([
            ("eps", StateTensor::f32s(&[self.spec.eps])),
            ("histogram", StateTensor::f32s(&self.histogram)),
            ("min_val", StateTensor::scalar(self.range.min)),
            ("max_val", StateTensor::scalar(self.range.max)),
            ("infinities", StateTensor::u64s(&[self.infinities])),
        ])
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        let histogram = state.f32s("histogram")?;
        if histogram.len() != BINS || !histogram.iter().all(|count| *count >= 0.0 && count.is_finite()) {
            return Err(state.invalid("histogram", &format!("it must be {BINS} counts")));
        }
        let (spec, range, infinities) = (state.with_eps(&self.spec)?, saved_range(state)?, state.count("infinities")?);
        *self = HistogramObserver { spec, histogram: histogram.to_vec(), range, infinities };
        Ok(())
    }
}

/// How many destination bins the error estimate has: as PyTorch counts the values of the dtype, whatever the
/// integer range in use.
pub(super) fn destination_bins(spec: &ObserverSpec) -> f64 {
    match spec.dtype {
        ObserverDType::Qint32 => 4_294_967_296.0,
        ObserverDType::Int16 | ObserverDType::Uint16 => 65_536.0,
        _ => 256.0,
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Where values fall: the arithmetic of `torch.histc`, but that it does not overflow.
#[derive(Clone, Copy)]
pub(super) struct Bins {
    min: f32,
    width: f32,
    bins: f32,
    last: i32,
}

impl Bins {
    pub(super) fn new(range: Range, bins: usize) -> Bins {
        let (width, count) = (range.max - range.min, bins as f32);
        // A power of two in both changes no rounding, and keeps the product of a value and the bins finite.
        let factor = if (width * count).is_finite() { 1.0 } else { 1.0 / bins.next_power_of_two() as f32 };
        Bins { min: range.min, width: width * factor, bins: count * factor, last: bins as i32 - 1 }
    }

    /// The bin of a value of the range. The last bin holds its right end. (A range of one value, where this is 0 / 0, gives bin 0: which
    /// one makes no difference, since such a histogram has no width.)
    #[inline(always)]
    pub(super) fn of(self, value: f32) -> u32 {
        (((value - self.min) * self.bins / self.width) as i32).min(self.last) as u32
    }
}

/// How many finite values of `data` fall into each bin of `range`, which holds them all.
fn count(data: &[f32], range: Range, bins: usize) -> Vec<f32> {
    /// Activations are often equal (zeros after ReLU): counting neighbours in different tables keeps one addition from waiting for
    /// the one before.
    const TABLES: usize = 4;
    let place = Bins::new(range, bins);
    let mut tables = vec![[0u32; TABLES]; bins];
    let mut positions = [0u32; 256];
    for block in data.chunks(positions.len()) {
        // Two loops, so that the arithmetic is vectorised; the additions cannot be. Infinities go past the tables.
        for (position, &value) in positions.iter_mut().zip(block) {
            *position = if value.is_finite() { place.of(value) } else { u32::MAX };
        }
        for (i, &position) in positions[..block.len()].iter().enumerate() {
            if let Some(counts) = tables.get_mut(position as usize) {
                counts[i % TABLES] += 1;
            }
        }
    }
    tables.iter().map(|counts| counts.iter().sum::<u32>() as f32).collect()
}

/// `steps + 1` points from `range.min` to `range.max` as `torch.linspace` has them: counted from the nearer end, each rounded once.
fn linspace(range: Range, steps: usize) -> impl Iterator<Item = f32> {
    let (start, end) = (f64::from(range.min), f64::from(range.max));
    let step = f64::from((range.max - range.min) / steps as f32);
    let halfway = steps.div_ceil(2);
    (0..=steps)
        .map(move |i| (if i < halfway { start + step * i as f64 } else { end - step * (steps - i) as f64 }) as f32)
}

/// The histogram over `from` as one over the wider range `to`: each bin is split into 16 equal parts, and each part goes whole to the bin
/// that its middle falls into (PyTorch's `_upscale_histogram`).
fn widen(histogram: &[f32], from: Range, to: Range) -> Vec<f32> {
    let bins = histogram.len();
    let parts = bins * UPSAMPLE_RATE;
    let half_part = 0.5 * ((from.max - from.min) / parts as f32);
    let mut wide = vec![0.0f32; bins];
    let mut right_ends = linspace(to, bins).skip(1).peekable();
    let mut bin = 0;
    for (i, start) in linspace(from, parts).take(parts).enumerate() {
        let middle = start + half_part;
        while bin < bins - 1 && right_ends.next_if(|&end| end <= middle).is_some() {
            bin += 1;
        }
        wide[bin] += histogram[i / UPSAMPLE_RATE] / UPSAMPLE_RATE as f32;
    }
    wide
}
