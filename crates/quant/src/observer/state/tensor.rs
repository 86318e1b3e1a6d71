//! Buffers, and how JSON has them.

use serde::{Deserialize, Serialize};

/// The values of a [`StateTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum StateData {
    /// `float32`.
    Float32(Vec<f32>),
    /// `int32`.
    Int32(Vec<i32>),
    /// `uint8`.
    Uint8(Vec<u8>),
    /// `uint64`.
    Uint64(Vec<u64>),
}

impl StateData {
    pub(super) fn dtype(&self) -> &'static str {
        match self {
            StateData::Float32(_) => "float32",
            StateData::Int32(_) => "int32",
            StateData::Uint8(_) => "uint8",
            StateData::Uint64(_) => "uint64",
        }
    }

    fn len(&self) -> usize {
        match self {
            StateData::Float32(data) => data.len(),
            StateData::Int32(data) => data.len(),
            StateData::Uint8(data) => data.len(),
            StateData::Uint64(data) => data.len(),
        }
    }
}

/// One buffer of an observer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TensorJson", into = "TensorJson")]
pub struct StateTensor {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub data: StateData,
}

impl StateTensor {
    /// A scalar.
    pub fn scalar(value: f32) -> StateTensor {
        StateTensor { shape: Vec::new(), data: StateData::Float32(vec![value]) }
    }

    /// A vector of f32.
    pub fn f32s(data: &[f32]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Float32(data.to_vec()) }
    }

    /// A vector of i32.
    pub fn i32s(data: &[i32]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Int32(data.to_vec()) }
    }

    /// A vector of one u8 that is 0 or 1.
    pub fn flag(on: bool) -> StateTensor {
        StateTensor { shape: vec![1], data: StateData::Uint8(vec![u8::from(on)]) }
    }

    /// A vector of u64.
    pub fn u64s(data: &[u64]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Uint64(data.to_vec()) }
    }
}

/// The answer of [`Stateful::state`].
pub(crate) fn buffers<const N: usize>(buffers: [(&str, StateTensor); N]) -> Vec<(String, StateTensor)> {
    buffers.map(|(name, tensor)| (name.to_owned(), tensor)).into()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorJson {
    dtype: String,
    shape: Vec<usize>,
    data: Vec<serde_json::Value>,
}

impl From<StateTensor> for TensorJson {
    fn from(tensor: StateTensor) -> TensorJson {
        let dtype = tensor.data.dtype().to_owned();
        let data = match tensor.data {
            StateData::Float32(data) => data.into_iter().map(float_json).collect(),
            StateData::Int32(data) => data.into_iter().map(Into::into).collect(),
            StateData::Uint8(data) => data.into_iter().map(Into::into).collect(),
            StateData::Uint64(data) => data.into_iter().map(Into::into).collect(),
        };
        TensorJson { dtype, shape: tensor.shape, data }
    }
}

fn float_json(value: f32) -> serde_json::Value {
    if value.is_finite() { f64::from(value).into() } else { value.to_string().into() }
}

impl TryFrom<TensorJson> for StateTensor {
    type Error = String;

    fn try_from(json: TensorJson) -> Result<StateTensor, String> {
        fn integers<T: for<'a> Deserialize<'a>>(data: &[serde_json::Value]) -> Result<Vec<T>, String> {
            data.iter().map(|v| T::deserialize(v).map_err(|e| format!("{v}: {e}"))).collect()
        }
        let float = |v: &serde_json::Value| match v {
            serde_json::Value::String(s) if s == "inf" => Ok(f32::INFINITY),
            serde_json::Value::String(s) if s == "-inf" => Ok(f32::NEG_INFINITY),
            _ => v.as_f64().map(|v| v as f32).ok_or_else(|| format!("{v} is not a number, \"inf\" or \"-inf\"")),
        };
        let data = match json.dtype.as_str() {
            "float32" => StateData::Float32(json.data.iter().map(float).collect::<Result<_, _>>()?),
            "int32" => StateData::Int32(integers(&json.data)?),
            "uint8" => StateData::Uint8(integers(&json.data)?),
            "uint64" => StateData::Uint64(integers(&json.data)?),
            other => return Err(format!("dtype `{other}` is not one of float32, int32, uint8, uint64")),
        };
        if json.shape.iter().product::<usize>() != data.len() {
            return Err(format!("{} values do not fill the shape {:?}", data.len(), json.shape));
        }
        Ok(StateTensor { shape: json.shape, data })
    }
}
