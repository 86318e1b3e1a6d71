//! The types that an observer quantizes to.

use std::fmt;
use std::str::FromStr;

use quantc_tensor::DType;
use serde::{Deserialize, Serialize};

/// The `dtype` argument of an observer (the `torch.dtype` of the `quantize` it stands for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum ObserverDType {
    /// Unsigned 8 bits.
    Quint8,
    /// Signed 8 bits.
    Qint8,
    /// Signed 16 bits.
    Int16,
    /// Unsigned 16 bits.
    Uint16,
    /// Signed 32 bits.
    Qint32,
    /// Unsigned 4 bits, two to a byte.
    Quint4x2,
    /// IEEE binary16: rounded, not quantized.
    Float16,
    /// IEEE binary32: left as it is.
    Float32,
}

impl ObserverDType {
    /// Every type.
    pub const ALL: &[ObserverDType] = &[
        ObserverDType::Quint8,
        ObserverDType::Qint8,
        ObserverDType::Int16,
        ObserverDType::Uint16,
        ObserverDType::Qint32,
        ObserverDType::Quint4x2,
        ObserverDType::Float16,
        ObserverDType::Float32,
    ];

    /// PyTorch's name.
    pub fn name(self) -> &'static str {
        match self {
            ObserverDType::Quint8 => "quint8",
            ObserverDType::Qint8 => "qint8",
            ObserverDType::Int16 => "int16",
            ObserverDType::Uint16 => "uint16",
            ObserverDType::Qint32 => "qint32",
            ObserverDType::Quint4x2 => "quint4x2",
            ObserverDType::Float16 => "float16",
            ObserverDType::Float32 => "float32",
        }
    }

    /// The full range of an integer type; `None` for a float.
    pub fn quantized_range(self) -> Option<(i32, i32)> {
        match self {
            ObserverDType::Quint8 => Some((0, 255)),
            ObserverDType::Qint8 => Some((-128, 127)),
            ObserverDType::Int16 => Some((i32::from(i16::MIN), i32::from(i16::MAX))),
            ObserverDType::Uint16 => Some((0, i32::from(u16::MAX))),
            ObserverDType::Qint32 => Some((i32::MIN, i32::MAX)),
            ObserverDType::Quint4x2 => Some((0, 15)),
            ObserverDType::Float16 | ObserverDType::Float32 => None,
        }
    }

    /// The element type of a tensor that holds such integers, one to an element; `None` for a float. There is no unsigned 16-bit
    /// element type: its values are held as i32.
    pub fn storage(self) -> Option<DType> {
        match self {
            ObserverDType::Quint8 | ObserverDType::Quint4x2 => Some(DType::U8),
            ObserverDType::Qint8 => Some(DType::I8),
            ObserverDType::Int16 => Some(DType::I16),
            ObserverDType::Uint16 | ObserverDType::Qint32 => Some(DType::I32),
            ObserverDType::Float16 | ObserverDType::Float32 => None,
        }
    }
}

/// The 8-bit types of kernels are the same in both vocabularies; a 4-bit type is not the 8-bit type that stores it.
impl PartialEq<ObserverDType> for DType {
    fn eq(&self, other: &ObserverDType) -> bool {
        match other {
            ObserverDType::Quint8 => *self == DType::U8,
            ObserverDType::Qint8 => *self == DType::I8,
            ObserverDType::Int16 => *self == DType::I16,
            ObserverDType::Qint32 => *self == DType::I32,
            ObserverDType::Float32 => *self == DType::F32,
            ObserverDType::Uint16 | ObserverDType::Quint4x2 | ObserverDType::Float16 => false,
        }
    }
}

/// The text form's name where there is one, else PyTorch's.
impl fmt::Display for ObserverDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = DType::ALL.iter().find(|d| **d == *self);
        f.write_str(same.map_or(self.name(), |d| d.name()))
    }
}

impl From<ObserverDType> for &'static str {
    fn from(dtype: ObserverDType) -> &'static str {
        dtype.name()
    }
}

/// A name that is no type of an observer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dtype `{0}` is not one of quint8, qint8, int16, uint16, qint32, quint4x2, float16, float32")]
pub struct UnknownObserverDType(pub String);

impl FromStr for ObserverDType {
    type Err = UnknownObserverDType;

    /// PyTorch's names; `torch.int8` quantizes as `torch.qint8` does, and so on; `u8` and `i8` are the text form's.
    fn from_str(s: &str) -> Result<ObserverDType, UnknownObserverDType> {
        match s {
            "uint8" | "u8" => Ok(ObserverDType::Quint8),
            "int8" | "i8" => Ok(ObserverDType::Qint8),
            "int32" => Ok(ObserverDType::Qint32),
            _ => ObserverDType::ALL
                .iter()
                .copied()
                .find(|d| d.name() == s)
                .ok_or_else(|| UnknownObserverDType(s.to_owned())),
        }
    }
}

impl TryFrom<String> for ObserverDType {
    type Error = UnknownObserverDType;

    fn try_from(s: String) -> Result<ObserverDType, UnknownObserverDType> {
        s.parse()
    }
}
