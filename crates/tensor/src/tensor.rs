//! Tensors: reference-counted ndarrays, always in standard (row-major, contiguous) layout.

use half::f16;
use ndarray::{ArcArray, ArrayViewD, IxDyn};

use crate::{DType, Shape, TensorType};

/// A tensor error: sizes or types that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of elements does not fit the shape.
    #[error("{len} elements do not fill the shape {shape:?}")]
    Length {
        /// Elements given.
        len: usize,
        /// The shape asked for.
        shape: Vec<usize>,
    },
    /// Another element type was needed.
    #[error("expected dtype {expected}, got {got}")]
    DType {
        /// Needed.
        expected: DType,
        /// Found.
        got: DType,
    },
}

type Data<T> = ArcArray<T, IxDyn>;

/// A dense tensor. Cloning shares the data. Every tensor is in standard layout, so its elements are always one slice.
#[derive(Clone, Debug)]
pub enum Tensor {
    /// f32 elements.
    F32(Data<f32>),
    /// f64 elements.
    F64(Data<f64>),
    /// f16 elements.
    F16(Data<f16>),
    /// i8 elements.
    I8(Data<i8>),
    /// u8 elements.
    U8(Data<u8>),
    /// i16 elements.
    I16(Data<i16>),
    /// i32 elements.
    I32(Data<i32>),
    /// i64 elements.
    I64(Data<i64>),
    /// Boolean elements.
    Bool(Data<bool>),
}

/// A Rust type that is an element type.
pub trait Element: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// The corresponding data type.
    const DTYPE: DType;
    #[doc(hidden)]
    fn wrap(data: Data<Self>) -> Tensor;
    #[doc(hidden)]
    fn get(tensor: &Tensor) -> Option<&Data<Self>>;
    #[doc(hidden)]
    fn get_mut(tensor: &mut Tensor) -> Option<&mut Data<Self>>;
}

macro_rules! elements {
    ($($t:ty => $v:ident),*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$v;
            fn wrap(data: Data<Self>) -> Tensor {
                Tensor::$v(data)
            }
            fn get(tensor: &Tensor) -> Option<&Data<Self>> {
                match tensor {
                    Tensor::$v(data) => Some(data),
                    _ => None,
                }
            }
            fn get_mut(tensor: &mut Tensor) -> Option<&mut Data<Self>> {
                match tensor {
                    Tensor::$v(data) => Some(data),
                    _ => None,
                }
            }
        }
    )*};
}
elements!(f32 => F32, f64 => F64, f16 => F16, i8 => I8, u8 => U8, i16 => I16, i32 => I32, i64 => I64, bool => Bool);

/// Runs an expression with the typed array of any tensor: `with_data!(tensor, |data| data.len())`.
#[macro_export]
macro_rules! with_data {
    ($tensor:expr, |$data:ident| $body:expr) => {
        match $tensor {
            $crate::Tensor::F32($data) => $body,
            $crate::Tensor::F64($data) => $body,
            $crate::Tensor::F16($data) => $body,
            $crate::Tensor::I8($data) => $body,
            $crate::Tensor::U8($data) => $body,
            $crate::Tensor::I16($data) => $body,
            $crate::Tensor::I32($data) => $body,
            $crate::Tensor::I64($data) => $body,
            $crate::Tensor::Bool($data) => $body,
        }
    };
}

impl Tensor {
    /// A tensor from its elements in row-major order.
    ///
    /// # Errors
    /// If the number of elements is not the product of the shape.
    pub fn from_vec<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Tensor, TensorError> {
        let len = data.len();
        ArcArray::from_shape_vec(IxDyn(shape), data)
            .map(T::wrap)
            .map_err(|_| TensorError::Length { len, shape: shape.to_vec() })
    }

    /// A tensor filled with one value.
    pub fn full<T: Element>(shape: &[usize], value: T) -> Tensor {
        T::wrap(ArcArray::from_elem(IxDyn(shape), value))
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::full(&[], value)
    }

    /// A tensor of rank 1.
    pub fn vector<T: Element>(values: Vec<T>) -> Tensor {
        T::wrap(ndarray::Array1::from_vec(values).into_dyn().into_shared())
    }

    /// A tensor from any ndarray; copied to standard layout where it is not.
    pub fn from_array<T: Element>(array: ndarray::ArrayD<T>) -> Tensor {
        if array.is_standard_layout() {
            T::wrap(array.into_shared())
        } else {
            T::wrap(array.as_standard_layout().into_owned().into_shared())
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Tensor::F32(_) => DType::F32,
            Tensor::F64(_) => DType::F64,
            Tensor::F16(_) => DType::F16,
            Tensor::I8(_) => DType::I8,
            Tensor::U8(_) => DType::U8,
            Tensor::I16(_) => DType::I16,
            Tensor::I32(_) => DType::I32,
            Tensor::I64(_) => DType::I64,
            Tensor::Bool(_) => DType::Bool,
        }
    }

    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        with_data!(self, |d| d.shape())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        with_data!(self, |d| d.len())
    }

    /// Bytes of all elements.
    pub fn byte_len(&self) -> usize {
        self.numel() * self.dtype().size()
    }

    /// The tensor's type, every dimension known.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype(), Shape::known(self.shape()))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// If the element type is another.
    pub fn slice<T: Element>(&self) -> Result<&[T], TensorError> {
        T::get(self).and_then(|d| d.as_slice()).ok_or(TensorError::DType { expected: T::DTYPE, got: self.dtype() })
    }

    /// The elements in row-major order, writable: copied first if another tensor shares them.
    ///
    /// # Errors
    /// If the element type is another.
    pub fn slice_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        let got = self.dtype();
        T::get_mut(self).and_then(|d| d.as_slice_mut()).ok_or(TensorError::DType { expected: T::DTYPE, got })
    }

    /// A tensor of zeros (`false`).
    pub fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
        match dtype {
            DType::F32 => Tensor::full(shape, 0f32),
            DType::F64 => Tensor::full(shape, 0f64),
            DType::F16 => Tensor::full(shape, f16::ZERO),
            DType::I8 => Tensor::full(shape, 0i8),
            DType::U8 => Tensor::full(shape, 0u8),
            DType::I16 => Tensor::full(shape, 0i16),
            DType::I32 => Tensor::full(shape, 0i32),
            DType::I64 => Tensor::full(shape, 0i64),
            DType::Bool => Tensor::full(shape, false),
        }
    }

    /// An ndarray view.
    ///
    /// # Errors
    /// If the element type is another.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>, TensorError> {
        T::get(self).map(|d| d.view()).ok_or(TensorError::DType { expected: T::DTYPE, got: self.dtype() })
    }

    /// The same elements in another shape; shares the data.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor, TensorError> {
        fn go<T: Element>(data: &Data<T>, shape: &[usize]) -> Result<Tensor, TensorError> {
            let len = data.len();
            data.clone()
                .into_shape_with_order(IxDyn(shape))
                .map(T::wrap)
                .map_err(|_| TensorError::Length { len, shape: shape.to_vec() })
        }
        with_data!(self, |d| go(d, shape))
    }

    /// Rows `start..end` of axis 0 (a copy).
    ///
    /// # Errors
    /// If the range is outside the tensor or the tensor has rank 0.
    pub fn rows(&self, start: usize, end: usize) -> Result<Tensor, TensorError> {
        fn go<T: Element>(data: &Data<T>, start: usize, end: usize) -> Result<Tensor, TensorError> {
            let mut shape = data.shape().to_vec();
            let bad = TensorError::Length { len: data.len(), shape: vec![start, end] };
            let Some(&first) = shape.first() else { return Err(bad) };
            let (Some(all), true) = (data.as_slice(), start <= end && end <= first) else { return Err(bad) };
            let row = all.len().checked_div(first).unwrap_or(0);
            shape[0] = end - start;
            Tensor::from_vec(&shape, all[start * row..end * row].to_vec())
        }
        with_data!(self, |d| go(d, start, end))
    }

    /// Elements converted to another type, as ONNX `Cast` and PyTorch `to` do it: float to integer truncates and
    /// saturates (NaN gives 0), integer to a narrower integer wraps, anything to bool is `!= 0`. To f16 goes by way of f32, as in PyTorch:
    /// f64 is rounded twice, and what is beyond 65504 becomes infinite.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        macro_rules! to {
            ($data:expr, $from:ty) => {
                match dtype {
                    DType::F32 => Tensor::F32($data.mapv(|v| <$from>::to_f64(v) as f32).into_shared()),
                    DType::F64 => Tensor::F64($data.mapv(|v| <$from>::to_f64(v)).into_shared()),
                    DType::F16 => Tensor::F16($data.mapv(|v| f16::from_f32(<$from>::to_f64(v) as f32)).into_shared()),
                    DType::I8 => Tensor::I8($data.mapv(|v| <$from>::to_i64(v) as i8).into_shared()),
                    DType::U8 => Tensor::U8($data.mapv(|v| <$from>::to_i64(v) as u8).into_shared()),
                    DType::I16 => Tensor::I16($data.mapv(|v| <$from>::to_i64(v) as i16).into_shared()),
                    DType::I32 => Tensor::I32($data.mapv(|v| <$from>::to_i64(v) as i32).into_shared()),
                    DType::I64 => Tensor::I64($data.mapv(|v| <$from>::to_i64(v)).into_shared()),
                    DType::Bool => Tensor::Bool($data.mapv(|v| <$from>::to_f64(v) != 0.0).into_shared()),
                }
            };
        }
        match self {
            Tensor::F32(d) => to!(d, f32),
            Tensor::F64(d) => to!(d, f64),
            Tensor::F16(d) => to!(d, f16),
            Tensor::I8(d) => to!(d, i8),
            Tensor::U8(d) => to!(d, u8),
            Tensor::I16(d) => to!(d, i16),
            Tensor::I32(d) => to!(d, i32),
            Tensor::I64(d) => to!(d, i64),
            Tensor::Bool(d) => to!(d, bool),
        }
    }

    /// The elements as i64 (integers, booleans; floats truncated): for shapes, axes and indices.
    pub fn to_i64_vec(&self) -> Vec<i64> {
        match self.cast(DType::I64) {
            Tensor::I64(d) => d.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// The elements as f32.
    pub fn to_f32_vec(&self) -> Vec<f32> {
        match self.cast(DType::F32) {
            Tensor::F32(d) => d.iter().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// The only element, as f32; `None` unless there is exactly one.
    pub fn as_scalar_f32(&self) -> Option<f32> {
        if self.numel() == 1 { self.to_f32_vec().first().copied() } else { None }
    }

    /// Equality of type, shape and bits (so NaN equals NaN and 0.0 differs from -0.0).
    pub fn bits_eq(&self, other: &Tensor) -> bool {
        if self.shape() != other.shape() {
            return false;
        }
        match (self, other) {
            (Tensor::F32(a), Tensor::F32(b)) => a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()),
            (Tensor::F64(a), Tensor::F64(b)) => a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()),
            (Tensor::F16(a), Tensor::F16(b)) => a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()),
            (Tensor::I8(a), Tensor::I8(b)) => a == b,
            (Tensor::U8(a), Tensor::U8(b)) => a == b,
            (Tensor::I16(a), Tensor::I16(b)) => a == b,
            (Tensor::I32(a), Tensor::I32(b)) => a == b,
            (Tensor::I64(a), Tensor::I64(b)) => a == b,
            (Tensor::Bool(a), Tensor::Bool(b)) => a == b,
            _ => false,
        }
    }
}

/// Lossless widening used by [`Tensor::cast`].
trait Widen {
    fn to_f64(self) -> f64;
    fn to_i64(self) -> i64;
}

macro_rules! widen {
    ($($t:ty),*) => {$(
        impl Widen for $t {
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn to_i64(self) -> i64 {
                self as i64
            }
        }
    )*};
}
widen!(f32, f64, i8, u8, i16, i32, i64);

impl Widen for f16 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn to_i64(self) -> i64 {
        self.to_f32() as i64
    }
}

impl Widen for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
    fn to_i64(self) -> i64 {
        i64::from(self)
    }
}
