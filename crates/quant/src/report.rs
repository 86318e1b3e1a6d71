//! What was decided for each call, and why. Stored in the compiled model, printed by `quantc explain`.

use serde::{Deserialize, Serialize};

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantReport {
    /// The backend's name.
    pub backend: String,
    /// One entry for each call of the canonical float graph, in execution order.
    pub nodes: Vec<NodeReport>,
    /// One entry for each observer.
    pub observers: Vec<ObserverReport>,
    /// The calls whose bias was corrected for the rounding of the weight ([`crate::correct_biases`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bias_corrected: Vec<String>,
    /// Calls that go by the QConfig of the layer they are fused with though an entry of the mapping gives them another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<Overruled>,
    /// The inputs that arrive as integers ([`crate::PrepareCustomConfig`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantized_inputs: Vec<QuantizedPort>,
    /// The outputs that leave as integers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantized_outputs: Vec<QuantizedPort>,
}

/// A call that is fused with a layer, whose QConfig it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overruled {
    /// Its name.
    pub name: String,
    /// The entry of the mapping that says otherwise.
    pub entry: String,
    /// The entry that the layer goes by.
    pub by: String,
}

impl std::fmt::Display for Overruled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Overruled { name, entry, by } = self;
        write!(f, "`{by}` comes before `{entry}` for {name}, which is fused with the layer before it")
    }
}

/// An input or output of the model that is integers: `(q - zero_point) * scale` is what they stand for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizedPort {
    /// Its name.
    pub name: String,
    /// Integer type.
    pub dtype: String,
    /// Scale.
    pub scale: f32,
    /// Zero point.
    pub zero_point: i32,
}

/// One call of the float graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Node name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Origins, as the text form prints them.
    pub origins: Vec<String>,
    /// What happens to it.
    pub decision: Decision,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Decision {
    /// Quantized.
    Quantized {
        /// `static`, `dynamic`, `weight-only`, `float16 dynamic` or `float16 static`.
        mode: String,
        /// The backend's pattern.
        pattern: String,
        /// The dtype configuration of the pattern.
        dtype_config: String,
        /// The root of the group it belongs to.
        group: String,
        /// The QConfigMapping entry that asked for it.
        qconfig_entry: String,
        /// Observer ids of its activation inputs, in order.
        input_observers: Vec<usize>,
        /// Observer id of its output; `None`: the output is float.
        output_observer: Option<usize>,
    },
    /// Stays float.
    Float {
        /// Why.
        reason: FloatReason,
    },
}

/// Why a call stays float.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum FloatReason {
    /// The backend has no pattern for it.
    NoPattern,
    /// The backend says that it never runs the operator quantized.
    Unsupported {
        /// Why.
        detail: String,
    },
    /// The mapping says so.
    QConfigNone {
        /// The entry.
        entry: String,
    },
    /// The QConfig does not satisfy any dtype configuration of the pattern.
    DTypeConstraint {
        /// The pattern.
        pattern: String,
        /// Which field of which configuration, for each configuration.
        violations: Vec<String>,
    },
    /// The pattern says that neither inputs nor output are observed.
    NotObserved {
        /// The pattern.
        pattern: String,
    },
    /// The operator computes on integers or booleans: nothing to quantize.
    NotFloat,
    /// It is in a module that is not looked into, or prepared on its own, where no pattern covers it.
    Apart {
        /// The module.
        module: String,
    },
    /// Its weight is not a constant.
    WeightNotConstant,
    /// The members of its group have different QConfigs.
    MixedQConfigs {
        /// The entries.
        entries: Vec<String>,
    },
    /// Quantizing it would cost more than it saves: its neighbours are float.
    Neighbours {
        /// Which.
        detail: String,
    },
}

impl std::fmt::Display for FloatReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FloatReason::NoPattern => f.write_str("the backend has no pattern for it"),
            FloatReason::Unsupported { detail } => write!(f, "the backend does not run it quantized: {detail}"),
            FloatReason::QConfigNone { entry } => write!(f, "the QConfigMapping entry `{entry}` gives no QConfig"),
            FloatReason::DTypeConstraint { pattern, violations } => {
                write!(f, "dtype constraint of the pattern `{pattern}`: {}", violations.join("; "))
            }
            FloatReason::NotObserved { pattern } => write!(f, "the pattern `{pattern}` is not observed"),
            FloatReason::NotFloat => f.write_str("it does not compute on floats"),
            FloatReason::Apart { module } => {
                write!(f, "it is in the module `{module}`, which PrepareCustomConfig sets apart")
            }
            FloatReason::WeightNotConstant => f.write_str("its weight is not a constant"),
            FloatReason::MixedQConfigs { entries } => {
                write!(f, "the members of its group have different QConfigs: {}", entries.join(", "))
            }
            FloatReason::Neighbours { detail } => write!(f, "neighbours: {detail}"),
        }
    }
}

/// One observer and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObserverReport {
    /// Its number.
    pub id: usize,
    /// The values it watched.
    pub values: Vec<String>,
    /// Its class.
    pub observer: String,
    /// Smallest and largest value in range, after calibration.
    pub range: (f32, f32),
    /// Scale, after calibration.
    pub scale: f32,
    /// Zero point, after calibration.
    pub zero_point: i32,
    /// Integer type.
    pub dtype: String,
}
