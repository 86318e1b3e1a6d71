//! Observers that keep a range for each index of one axis.

use super::min_max::{check_averaging_constant, order_dependent};
use super::{
    Observer, ObserverError, QuantizationRule, Range, StateError, StateReader, StateTensor, Stateful, buffers,
    check_shape, finite_range, refuse_dynamic, same_kind,
};
use crate::qconfig::ObserverSpec;

/// The smallest and largest value of each channel (PyTorch `PerChannelMinMaxObserver`).
#[derive(Clone, Debug)]
pub struct PerChannelMinMaxObserver {
    spec: ObserverSpec,
    channels: Vec<Range>,
    infinities: u64,
}

impl PerChannelMinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(spec: &ObserverSpec) -> Result<PerChannelMinMaxObserver, ObserverError> {
        refuse_dynamic("PerChannelMinMaxObserver", spec)?;
        QuantizationRule::new("PerChannelMinMaxObserver", spec, true)?;
        Ok(PerChannelMinMaxObserver { spec: spec.clone(), channels: Vec::new(), infinities: 0 })
    }
}

impl Observer for PerChannelMinMaxObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        let (new, infinities) = channel_ranges(self.name(), data, shape, self.spec.ch_axis, self.channels.len())?;
        update(&mut self.channels, new, Range::union);
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        self.channels.clone()
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        let other = same_kind(self, other)?;
        let refuse = |reason| ObserverError::NotMergeable { observer: self.name(), other: other.name(), reason };
        if !self.channels.is_empty() && !other.channels.is_empty() && self.channels.len() != other.channels.len() {
            return Err(refuse("the numbers of channels differ"));
        }
        update(&mut self.channels, other.channels.clone(), Range::union);
        self.infinities += other.infinities;
        Ok(())
    }
}

impl Stateful for PerChannelMinMaxObserver {
    fn class(&self) -> &'static str {
        "PerChannelMinMaxObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        channels_state(&self.spec, &self.channels, self.infinities)
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        (self.spec, self.channels, self.infinities) = load_channels(&self.spec, state)?;
        Ok(())
    }
}

/// A moving average of each channel's smallest and largest value (PyTorch `MovingAveragePerChannelMinMaxObserver`).
#[derive(Clone, Debug)]
pub struct MovingAveragePerChannelMinMaxObserver {
    spec: ObserverSpec,
    averaging_constant: f32,
    channels: Vec<Range>,
    infinities: u64,
}

impl MovingAveragePerChannelMinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(
        spec: &ObserverSpec,
        averaging_constant: f32,
    ) -> Result<MovingAveragePerChannelMinMaxObserver, ObserverError> {
        let observer = "MovingAveragePerChannelMinMaxObserver";
        check_averaging_constant(observer, averaging_constant)?;
        refuse_dynamic(observer, spec)?;
        QuantizationRule::new(observer, spec, true)?;
        Ok(MovingAveragePerChannelMinMaxObserver {
            spec: spec.clone(),
            averaging_constant,
            channels: Vec::new(),
            infinities: 0,
        })
    }
}

impl Observer for MovingAveragePerChannelMinMaxObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        let (new, infinities) = channel_ranges(self.name(), data, shape, self.spec.ch_axis, self.channels.len())?;
        update(&mut self.channels, new, |old, new| old.move_towards(new, self.averaging_constant));
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        self.channels.clone()
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        Err(order_dependent(self, other))
    }
}

impl Stateful for MovingAveragePerChannelMinMaxObserver {
    fn class(&self) -> &'static str {
        "MovingAveragePerChannelMinMaxObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        channels_state(&self.spec, &self.channels, self.infinities)
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        (self.spec, self.channels, self.infinities) = load_channels(&self.spec, state)?;
        Ok(())
    }
}

/// The buffers of an observer of a range for each channel, under PyTorch's names; the number of infinities is quantc's own.
fn channels_state(spec: &ObserverSpec, channels: &[Range], infinities: u64) -> Vec<(String, StateTensor)> {
    let (min, max): (Vec<f32>, Vec<f32>) = channels.iter().map(|r| (r.min, r.max)).unzip();
    buffers([
        ("eps", StateTensor::f32s(&[spec.eps])),
        ("min_val", StateTensor::f32s(&min)),
        ("max_val", StateTensor::f32s(&max)),
        ("infinities", StateTensor::u64s(&[infinities])),
    ])
}

/// The inverse of [`channels_state`].
fn load_channels(spec: &ObserverSpec, state: &StateReader<'_>) -> Result<(ObserverSpec, Vec<Range>, u64), StateError> {
    let (min, max) = (state.f32s("min_val")?, state.f32s("max_val")?);
    let channels: Vec<Range> = min.iter().zip(max).map(|(&min, &max)| Range { min, max }).collect();
    if min.len() != max.len() || !channels.iter().all(|r| r.is_valid()) {
        return Err(
            state.invalid("max_val", "it has not as many values as min_val, one is below it, or one is infinite")
        );
    }
    Ok((state.with_eps(spec)?, channels, state.count("infinities")?))
}

/// Each channel's range in one tensor (no channels for a tensor without elements) and how many infinities it has. `expected` is the
/// number of channels seen before, 0 if none.
fn channel_ranges(
    observer: &'static str,
    data: &[f32],
    shape: &[usize],
    ch_axis: usize,
    expected: usize,
) -> Result<(Vec<Range>, u64), ObserverError> {
    check_shape(observer, data.len(), shape)?;
    if data.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let Some(&got) = shape.get(ch_axis) else {
        return Err(ObserverError::NoChannelAxis { observer, ch_axis, shape: shape.to_vec() });
    };
    if expected != 0 && expected != got {
        return Err(ObserverError::ChannelCount { observer, ch_axis, expected, got });
    }
    let inner: usize = shape[ch_axis + 1..].iter().product();
    let mut ranges = vec![Range::EMPTY; got];
    let mut infinities = 0;
    if inner == 1 {
        // The channels lie side by side: going value by value beats a reduction over runs of one.
        for (i, &v) in data.iter().enumerate() {
            if v.is_finite() {
                let channel = &mut ranges[i % got];
                *channel = channel.union(Range { min: v, max: v });
            } else if v.is_nan() {
                return Err(ObserverError::NaN { observer, index: i });
            } else {
                infinities += 1;
            }
        }
        return Ok((ranges, infinities));
    }
    for (i, run) in data.chunks_exact(inner).enumerate() {
        let (new, count) = finite_range(observer, run).map_err(|error| match error {
            ObserverError::NaN { observer, index } => ObserverError::NaN { observer, index: i * inner + index },
            other => other,
        })?;
        ranges[i % got] = ranges[i % got].union(new);
        infinities += count;
    }
    Ok((ranges, infinities))
}

/// Combines each channel's range with the new one; no channels on either side leave the other.
fn update(channels: &mut Vec<Range>, new: Vec<Range>, combine: impl Fn(Range, Range) -> Range) {
    if channels.is_empty() {
        *channels = new;
    } else {
        channels.iter_mut().zip(new).for_each(|(old, new)| *old = combine(*old, new));
    }
}
