//! PyTorch's quantized element types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DType;

/// The element type of a quantized tensor (`torch.quint8`, `torch.qint8`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QDType {
    /// Signed 8 bits (`torch.qint8`).
    QInt8,
    /// Unsigned 8 bits (`torch.quint8`).
    QUInt8,
    /// Signed 32 bits (`torch.qint32`).
    QInt32,
    /// Unsigned 4 bits, two in a byte (`torch.quint4x2`).
    QUInt4x2,
    /// Unsigned 2 bits, four in a byte (`torch.quint2x4`).
    QUInt2x4,
}

impl QDType {
    /// Every type.
    pub const ALL: &[QDType] = &[QDType::QInt8, QDType::QUInt8, QDType::QInt32, QDType::QUInt4x2, QDType::QUInt2x4];

    /// PyTorch's name: `quint8`, `quint4x2`, ...
    pub fn name(self) -> &'static str {
        match self {
            QDType::QInt8 => "qint8",
            QDType::QUInt8 => "quint8",
            QDType::QInt32 => "qint32",
            QDType::QUInt4x2 => "quint4x2",
            QDType::QUInt2x4 => "quint2x4",
        }
    }

    /// The lowest and highest value, both inclusive.
    pub fn range(self) -> (i32, i32) {
        match self {
            QDType::QInt8 => (-128, 127),
            QDType::QUInt8 => (0, 255),
            QDType::QInt32 => (i32::MIN, i32::MAX),
            QDType::QUInt4x2 => (0, 15),
            QDType::QUInt2x4 => (0, 3),
        }
    }

    /// The element type of what [`QuantizedTensor::int_repr`](super::QuantizedTensor::int_repr) gives.
    pub fn storage(self) -> DType {
        match self {
            QDType::QInt8 => DType::I8,
            QDType::QInt32 => DType::I32,
            QDType::QUInt8 | QDType::QUInt4x2 | QDType::QUInt2x4 => DType::U8,
        }
    }

    /// How many elements share one element of the storage type.
    pub fn per_byte(self) -> usize {
        match self {
            QDType::QUInt4x2 => 2,
            QDType::QUInt2x4 => 4,
            QDType::QInt8 | QDType::QUInt8 | QDType::QInt32 => 1,
        }
    }

    /// Whether an element is smaller than a byte.
    pub fn is_packed(self) -> bool {
        self.per_byte() > 1
    }
}

impl fmt::Display for QDType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no quantized element type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown quantized dtype `{0}` (hint: qint8, quint8, qint32, quint4x2 or quint2x4)")]
pub struct UnknownQDType(pub String);

impl FromStr for QDType {
    type Err = UnknownQDType;

    fn from_str(s: &str) -> Result<Self, UnknownQDType> {
        QDType::ALL.iter().copied().find(|d| d.name() == s).ok_or_else(|| UnknownQDType(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pytorchs() {
        for &dtype in QDType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            let (lo, hi) = dtype.range();
            assert_eq!(
                i64::from(hi) - i64::from(lo) + 1,
                1 << (8 * dtype.storage().size() / dtype.per_byte()),
                "{dtype}"
            );
        }
        assert!("uint8".parse::<QDType>().is_err());
    }
}
