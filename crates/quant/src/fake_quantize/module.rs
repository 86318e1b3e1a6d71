//! The module: an observer, and the parameters that values are quantized with.

use quantc_tensor::QScheme;

use super::fused::choose_quantization_params;
use super::{
    FakeQuantizeError, FakeQuantized, ZeroPoints, fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine,
};
use crate::observer::{
    FloatQParams, ObservedQParams, Observer, ObserverError, StateError, StateReader, StateTensor, Stateful, buffers,
};
use crate::qconfig::{FakeQuantizeKind, ObserverKind, ObserverSpec};

/// The zero points in use.
#[derive(Clone, Debug, PartialEq)]
enum Zeros {
    Int(Vec<i32>),
    Float(Vec<f32>),
}

/// Watches values, and quantizes and dequantizes them. One type for PyTorch's `FakeQuantizeBase` and its classes:
///
/// - `FakeQuantize`: any observer that computes parameters.
/// - `FixedQParamsFakeQuantize`: the parameters are given (`FixedQParamsObserver`).
/// - `FusedMovingAvgObsFakeQuantize`: a moving average, whose parameters are computed by PyTorch's kernel, not by the observer, and only
///   when fake quantization is on. Scales are at least 6.1e-5, whatever `eps`; channels are those of axis 0.
pub struct FakeQuantize {
    kind: FakeQuantizeKind,
    observer: Box<dyn Observer>,
    scale: Vec<f32>,
    zero_point: Zeros,
    fake_quant_enabled: bool,
    observer_enabled: bool,
}

impl FakeQuantize {
    /// A module that has seen nothing: scale 1, zero point 0 (or the given ones, if they are fixed), observing and quantizing.
    ///
    /// # Errors
    /// [`FakeQuantizeError::Spec`] if `spec` has no fake-quantize module or its observer is not one for it, and what
    /// [`ObserverSpec::build`] refuses.
    pub fn new(spec: &ObserverSpec) -> Result<FakeQuantize, FakeQuantizeError> {
        let Some(kind) = spec.fake_quantize else {
            let reason = format!("the spec of {} has no fake-quantize module (hint: set fake_quantize)", spec.name());
            return Err(FakeQuantizeError::Spec { class: "FakeQuantize", reason });
        };
        let float_zero_points = spec.qscheme == QScheme::PerChannelAffineFloatQParams;
        let observer = spec.build()?;
        let fits = match (kind, spec.observer) {
            (
                FakeQuantizeKind::FakeQuantize,
                ObserverKind::MinMax
                | ObserverKind::MovingAverageMinMax { .. }
                | ObserverKind::Histogram
                | ObserverKind::AlignedHistogram { .. }
                | ObserverKind::FixedQParams { .. },
            )
            | (FakeQuantizeKind::FixedQParamsFakeQuantize, ObserverKind::FixedQParams { .. }) => true,
            (FakeQuantizeKind::FusedMovingAvgObsFakeQuantize, ObserverKind::MovingAverageMinMax { .. }) => {
                !float_zero_points && observer.ch_axis().is_none_or(|axis| axis == 0)
            }
            _ => false,
        };
        if !fits {
            let reason = format!(
                "{} with this scheme and axis is not for it (hint: a fixed module has fixed_qparams, a fused one a moving average with integer zero points and channels on axis 0)",
                spec.name()
            );
            return Err(FakeQuantizeError::Spec { class: kind.name(), reason });
        }
        let (scale, zero_point) = match spec.observer {
            ObserverKind::FixedQParams { scale, zero_point } => (scale, Zeros::Int(vec![zero_point])),
            _ if float_zero_points => (1.0, Zeros::Float(vec![0.0])),
            _ => (1.0, Zeros::Int(vec![0])),
        };
        Ok(FakeQuantize {
            kind,
            observer,
            scale: vec![scale],
            zero_point,
            fake_quant_enabled: true,
            observer_enabled: true,
        })
    }

    /// Takes in one tensor: if observing, updates the statistics and the parameters; if fake quantization is on, quantizes and
    /// dequantizes, else gives the values back. A tensor without elements changes nothing.
    ///
    /// # Errors
    /// What the observer refuses, channels that do not fit, and [`FakeQuantizeError::NotObserved`] from a fused module that has nothing to
    /// compute parameters from. Nothing is changed if the observer refuses.
    pub fn forward(&mut self, x: &[f32], shape: &[usize]) -> Result<FakeQuantized, FakeQuantizeError> {
        let fused = self.kind == FakeQuantizeKind::FusedMovingAvgObsFakeQuantize;
        if self.observer_enabled {
            self.observer.observe(x, shape)?;
            if !fused {
                self.update()?;
            }
        }
        if !self.fake_quant_enabled || x.is_empty() {
            return Ok(FakeQuantized::unchanged(x));
        }
        if fused {
            self.update_fused()?;
        }
        self.quantize(x, shape)
    }

    /// Takes over the observer's parameters.
    fn update(&mut self) -> Result<(), FakeQuantizeError> {
        match self.zero_point {
            Zeros::Int(_) => {
                let q = self.observer.calculate_qparams()?.qparams;
                (self.scale, self.zero_point) = (q.scale, Zeros::Int(q.zero_point));
            }
            Zeros::Float(_) => {
                let q = self.observer.calculate_float_qparams()?;
                if !q.scale.is_empty() {
                    (self.scale, self.zero_point) = (q.scale, Zeros::Float(q.zero_point));
                }
            }
        }
        Ok(())
    }

    /// Computes the parameters for the observer's range(s) as the fused kernel does.
    fn update_fused(&mut self) -> Result<(), FakeQuantizeError> {
        let spec = self.observer.spec();
        let (range, symmetric) = (spec.range(), spec.qscheme.is_symmetric());
        let seen = self.observer.ranges();
        if seen.is_empty() || seen.iter().any(|r| r.is_empty()) {
            return Err(FakeQuantizeError::NotObserved { class: self.kind.name() });
        }
        let (scale, zeros) = seen.into_iter().map(|r| choose_quantization_params(r, range, symmetric)).unzip();
        (self.scale, self.zero_point) = (scale, Zeros::Int(zeros));
        Ok(())
    }

    fn quantize(&self, x: &[f32], shape: &[usize]) -> Result<FakeQuantized, FakeQuantizeError> {
        let range = self.observer.spec().range();
        match (self.observer.ch_axis(), self.scale(), self.zero_point()) {
            (None, [scale], ZeroPoints::Int([zero])) => {
                fake_quantize_per_tensor_affine(x, *scale, *zero, range.qmin, range.qmax)
            }
            (axis, scale, zeros) => {
                let axis = axis.unwrap_or(0);
                fake_quantize_per_channel_affine(x, shape, scale, zeros, axis, range.qmin, range.qmax)
            }
        }
    }

    /// The parameters that the observer computes for what it saw, for conversion.
    ///
    /// # Errors
    /// As [`Observer::calculate_qparams`].
    pub fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        self.observer.calculate_qparams()
    }

    /// The same for the scheme with float zero points.
    ///
    /// # Errors
    /// As [`Observer::calculate_float_qparams`].
    pub fn calculate_float_qparams(&self) -> Result<FloatQParams, ObserverError> {
        self.observer.calculate_float_qparams()
    }

    /// The observer within (PyTorch `activation_post_process`).
    pub fn activation_post_process(&self) -> &dyn Observer {
        self.observer.as_ref()
    }

    /// The scale(s) in use: one, or one for each channel.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// The zero point(s) in use.
    pub fn zero_point(&self) -> ZeroPoints<'_> {
        match &self.zero_point {
            Zeros::Int(z) => ZeroPoints::Int(z),
            Zeros::Float(z) => ZeroPoints::Float(z),
        }
    }

    /// Whether values are quantized and dequantized.
    pub fn fake_quant_enabled(&self) -> bool {
        self.fake_quant_enabled
    }

    /// Whether values are observed.
    pub fn observer_enabled(&self) -> bool {
        self.observer_enabled
    }

    /// Turns quantizing on or off.
    pub fn enable_fake_quant(&mut self, enabled: bool) {
        self.fake_quant_enabled = enabled;
    }

    /// Turns observing on or off.
    pub fn enable_observer(&mut self, enabled: bool) {
        self.observer_enabled = enabled;
    }
}

/// The name that the observer has within a module.
const OBSERVER: &str = "activation_post_process";

impl Stateful for FakeQuantize {
    fn class(&self) -> &'static str {
        self.kind.name()
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        let zero_point = match &self.zero_point {
            Zeros::Int(z) => StateTensor::i32s(z),
            Zeros::Float(z) => StateTensor::f32s(z),
        };
        let own = buffers([
            ("fake_quant_enabled", StateTensor::flag(self.fake_quant_enabled)),
            ("observer_enabled", StateTensor::flag(self.observer_enabled)),
            ("scale", StateTensor::f32s(&self.scale)),
            ("zero_point", zero_point),
        ]);
        let observer = self.observer.state().into_iter().map(|(name, t)| (format!("{OBSERVER}.{name}"), t));
        own.into_iter().chain(observer).collect()
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        let wanted = |name: &str| state.requires(name) || state.has(name);
        let fake_quant = wanted("fake_quant_enabled").then(|| state.flag("fake_quant_enabled")).transpose()?;
        let observing = wanted("observer_enabled").then(|| state.flag("observer_enabled")).transpose()?;
        let parameters = if wanted("scale") {
            let scale = state.f32s("scale")?.to_vec();
            let (zero_point, zeros) = match self.zero_point {
                Zeros::Int(_) => {
                    let z = state.i32s("zero_point")?.to_vec();
                    (z.len(), Zeros::Int(z))
                }
                Zeros::Float(_) => {
                    let z = state.f32s("zero_point")?.to_vec();
                    (z.len(), Zeros::Float(z))
                }
            };
            if scale.is_empty() || zero_point != scale.len() || !scale.iter().all(|s| *s > 0.0 && s.is_finite()) {
                return Err(state.invalid("scale", "scales must be positive, finite, and as many as zero points"));
            }
            Some((scale, zeros))
        } else {
            None
        };
        self.observer.load(&state.child(OBSERVER))?;
        self.fake_quant_enabled = fake_quant.unwrap_or(self.fake_quant_enabled);
        self.observer_enabled = observing.unwrap_or(self.observer_enabled);
        if let Some((scale, zeros)) = parameters {
            (self.scale, self.zero_point) = (scale, zeros);
        }
        Ok(())
    }
}

/// Turns quantizing off in all modules (torch.ao.quantization.disable_fake_quant with `model.apply`).
pub fn disable_fake_quant<'a>(modules: impl IntoIterator<Item = &'a mut FakeQuantize>) {
    modules.into_iter().for_each(|m| m.enable_fake_quant(false));
}

/// Turns quantizing on in all modules (torch.ao.quantization.enable_fake_quant with `model.apply`).
pub fn enable_fake_quant<'a>(modules: impl IntoIterator<Item = &'a mut FakeQuantize>) {
    modules.into_iter().for_each(|m| m.enable_fake_quant(true));
}

/// Turns observing off in all modules (torch.ao.quantization.disable_observer with `model.apply`).
pub fn disable_observer<'a>(modules: impl IntoIterator<Item = &'a mut FakeQuantize>) {
    modules.into_iter().for_each(|m| m.enable_observer(false));
}

/// Turns observing on in all modules (torch.ao.quantization.enable_observer with `model.apply`).
pub fn enable_observer<'a>(modules: impl IntoIterator<Item = &'a mut FakeQuantize>) {
    modules.into_iter().for_each(|m| m.enable_observer(true));
}
