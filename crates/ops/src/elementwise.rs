//! Functions of two or three elements, with broadcasting.

use quantc_tensor::{DType, Scale, ScaledInt, Tensor, TensorType, Value, math, with_data};

use crate::dims::{broadcast, broadcast_shapes};
use crate::spec::required;
use crate::strided::{map2, runs, signed_broadcast};
use crate::{EvalCx, InferCx, InputSpec, IntegerUse, OpClass, OpError, Operator, Signature};

const TWO: &[InputSpec] = &[required("input"), required("other")];

/// The arithmetic of an element type.
trait Number: Copy {
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn div(self, o: Self) -> Self;
    fn pow(self, o: Self) -> Self;
    fn max(self, o: Self) -> Self;
    fn min(self, o: Self) -> Self;
    fn remainder(self, o: Self) -> Self;
    fn fmod(self, o: Self) -> Self;
}

macro_rules! float {
    ($t:ty, $pow:expr) => {
        impl Number for $t {
            fn add(self, o: Self) -> Self {
                self + o
            }
            fn sub(self, o: Self) -> Self {
                self - o
            }
            fn mul(self, o: Self) -> Self {
                self * o
            }
            fn div(self, o: Self) -> Self {
                self / o
            }
            fn pow(self, o: Self) -> Self {
                $pow(self, o)
            }
            // A NaN operand gives NaN, as in PyTorch.
            fn max(self, o: Self) -> Self {
                if self > o || self.is_nan() { self } else { o }
            }
            fn min(self, o: Self) -> Self {
                if self < o || self.is_nan() { self } else { o }
            }
            fn remainder(self, o: Self) -> Self {
                let r = self % o;
                if r != 0.0 && (r < 0.0) != (o < 0.0) { r + o } else { r }
            }
            fn fmod(self, o: Self) -> Self {
                self % o
            }
        }
    };
}
float!(f32, math::pow_f32);
float!(f64, f64::powf);

macro_rules! int {
    ($t:ty) => {
        impl Number for $t {
            fn add(self, o: Self) -> Self {
                self.wrapping_add(o)
            }
            fn sub(self, o: Self) -> Self {
                self.wrapping_sub(o)
            }
            fn mul(self, o: Self) -> Self {
                self.wrapping_mul(o)
            }
            // Division by zero is refused before; the fallback value is never seen.
            fn div(self, o: Self) -> Self {
                if o == 0 { 0 } else { self.wrapping_div(o) }
            }
            fn pow(self, o: Self) -> Self {
                match u32::try_from(o) {
                    Ok(e) => self.wrapping_pow(e),
                    Err(_) => (self as f64).powf(o as f64) as $t,
                }
            }
            fn max(self, o: Self) -> Self {
                Ord::max(self, o)
            }
            fn min(self, o: Self) -> Self {
                Ord::min(self, o)
            }
            fn remainder(self, o: Self) -> Self {
                let r = Number::fmod(self, o);
                if r != 0 && (r < 0) != (o < 0) { r.wrapping_add(o) } else { r }
            }
            fn fmod(self, o: Self) -> Self {
                if o == 0 { 0 } else { self.wrapping_rem(o) }
            }
        }
    };
}
int!(i32);
int!(i64);

/// Which function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    Remainder,
    Fmod,
}

fn arithmetic<T: Number + quantc_tensor::Element>(kind: Kind, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    let shape = broadcast(a.shape(), b.shape())?;
    let (x, y) = ((a.slice::<T>()?, a.shape()), (b.slice::<T>()?, b.shape()));
    if matches!(kind, Kind::Div | Kind::Remainder | Kind::Fmod)
        && T::DTYPE.is_int()
        && y.0.iter().any(|&v| v == T::default())
    {
        return Err(OpError::new("integer division by zero"));
    }
    let data = match kind {
        Kind::Add => map2(x, y, &shape, T::add),
        Kind::Sub => map2(x, y, &shape, T::sub),
        Kind::Mul => map2(x, y, &shape, T::mul),
        Kind::Div => map2(x, y, &shape, T::div),
        Kind::Pow => map2(x, y, &shape, T::pow),
        Kind::Max => map2(x, y, &shape, T::max),
        Kind::Min => map2(x, y, &shape, T::min),
        Kind::Remainder => map2(x, y, &shape, T::remainder),
        Kind::Fmod => map2(x, y, &shape, T::fmod),
    };
    Ok(Tensor::from_vec(&shape, data)?)
}

/// `add`, `sub`, `mul`, `div`, `pow`, `maximum`, `minimum`, `remainder`, `fmod`.
pub struct Binary {
    sig: &'static Signature,
    kind: Kind,
}

macro_rules! binary {
    ($id:ident, $name:literal, $kind:ident, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Binary = Binary {
            sig: &Signature { name: $name, doc: $doc, inputs: TWO, attrs: &[], class: OpClass::Elementwise },
            kind: Kind::$kind,
        };
    };
}
binary!(ADD, "add", Add, "a + b (torch.add).");
binary!(SUB, "sub", Sub, "a - b (torch.sub).");
binary!(
    MUL,
    "mul",
    Mul,
    "a * b (torch.mul); of two scaled values with one scale each the exact integer product at scale s_a * s_b."
);
binary!(DIV, "div", Div, "a / b; integers are truncated towards zero (torch.div, ONNX Div).");
binary!(POW, "pow", Pow, "a to the power b (torch.pow).");
binary!(MAXIMUM, "maximum", Max, "The larger; NaN if either is (torch.maximum).");
binary!(MINIMUM, "minimum", Min, "The smaller; NaN if either is (torch.minimum).");
binary!(
    REMAINDER,
    "remainder",
    Remainder,
    "Remainder with the sign of the divisor (torch.remainder, ONNX Mod with fmod=0)."
);
binary!(FMOD, "fmod", Fmod, "Remainder with the sign of the dividend (torch.fmod, ONNX Mod with fmod=1).");

/// The arithmetic of two values with broadcasting, as an operator of the table names it.
fn binary_value(kind: Kind, a: &Value, b: &Value) -> Result<Value, OpError> {
    if let (Kind::Mul, Value::Scaled(x), Value::Scaled(y)) = (kind, a, b)
        && let (Some(sx), Some(sy)) = (x.code_scale(), y.code_scale())
    {
        let ints = arithmetic::<i32>(kind, &x.ints, &y.ints)?;
        return Ok(Value::Scaled(ScaledInt::sums(ints, Scale::PerTensor(sx * sy))));
    }
    let (a, b) = (a.to_tensor(), b.to_tensor());
    let out = match (a.dtype(), b.dtype()) {
        (DType::F32, DType::F32) => arithmetic::<f32>(kind, &a, &b)?,
        (DType::F64, DType::F64) => arithmetic::<f64>(kind, &a, &b)?,
        (DType::I32, DType::I32) => arithmetic::<i32>(kind, &a, &b)?,
        (DType::I64, DType::I64) => arithmetic::<i64>(kind, &a, &b)?,
        (x, y) => return Err(OpError::new(format!("arithmetic of {x} and {y}"))),
    };
    Ok(out.into())
}

/// `a + b` of values.
///
/// # Errors
/// If shapes or types do not fit.
pub fn add(a: &Value, b: &Value) -> Result<Value, OpError> {
    binary_value(Kind::Add, a, b)
}

/// `a - b` of values.
///
/// # Errors
/// If shapes or types do not fit.
pub fn sub(a: &Value, b: &Value) -> Result<Value, OpError> {
    binary_value(Kind::Sub, a, b)
}

/// `a * b` of values.
///
/// # Errors
/// If shapes or types do not fit.
pub fn mul(a: &Value, b: &Value) -> Result<Value, OpError> {
    binary_value(Kind::Mul, a, b)
}

fn same_dtype(cx: &InferCx<'_>, i: usize, j: usize, name: &str) -> Result<DType, OpError> {
    let (a, b) = (cx.ty(i)?.dtype, cx.ty(j)?.dtype);
    if a == b {
        Ok(a)
    } else {
        Err(OpError::new(format!("`{name}` of {a} and {b}")).with_hint("convert one with `to`"))
    }
}

impl Operator for Binary {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32, DType::F64, DType::I32, DType::I64])?;
        let dtype = same_dtype(cx, 0, 1, self.sig.name)?;
        Ok(vec![TensorType { dtype, shape: broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)? }])
    }

    fn integer_use(&self) -> IntegerUse {
        if self.kind == Kind::Mul { IntegerUse::Computed } else { IntegerUse::Unseen }
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![binary_value(self.kind, cx.value(0)?, cx.value(1)?)?])
    }
}

/// Comparisons: bool of two equal types.
pub struct Compare {
    sig: &'static Signature,
    accept: fn(Option<std::cmp::Ordering>) -> bool,
}

macro_rules! compare {
    ($id:ident, $name:literal, $accept:expr, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Compare = Compare {
            sig: &Signature { name: $name, doc: $doc, inputs: TWO, attrs: &[], class: OpClass::Elementwise },
            accept: $accept,
        };
    };
}
compare!(EQUAL, "equal", |o| o.is_some_and(|o| o.is_eq()), "a == b (torch.eq).");
compare!(NOT_EQUAL, "not_equal", |o| o.is_none_or(|o| o.is_ne()), "a != b (torch.ne).");
compare!(LESS, "less", |o| o.is_some_and(|o| o.is_lt()), "a < b (torch.lt).");
compare!(LESS_EQUAL, "less_equal", |o| o.is_some_and(|o| o.is_le()), "a <= b (torch.le).");
compare!(GREATER, "greater", |o| o.is_some_and(|o| o.is_gt()), "a > b (torch.gt).");
compare!(GREATER_EQUAL, "greater_equal", |o| o.is_some_and(|o| o.is_ge()), "a >= b (torch.ge).");

impl Operator for Compare {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        same_dtype(cx, 0, 1, self.sig.name)?;
        let shape = broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: DType::Bool, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = broadcast(a.shape(), b.shape())?;
        fn go<T: quantc_tensor::Element + PartialOrd>(
            a: &Tensor,
            b: &Tensor,
            shape: &[usize],
            accept: fn(Option<std::cmp::Ordering>) -> bool,
        ) -> Result<Vec<bool>, OpError> {
            let (x, y) = ((a.slice::<T>()?, a.shape()), (b.slice::<T>()?, b.shape()));
            Ok(map2(x, y, shape, |x, y| accept(x.partial_cmp(&y))))
        }
        let data = match a.dtype() {
            DType::F32 => go::<f32>(&a, &b, &shape, self.accept),
            DType::F64 => go::<f64>(&a, &b, &shape, self.accept),
            DType::F16 => go::<quantc_tensor::f16>(&a, &b, &shape, self.accept),
            DType::I8 => go::<i8>(&a, &b, &shape, self.accept),
            DType::U8 => go::<u8>(&a, &b, &shape, self.accept),
            DType::I16 => go::<i16>(&a, &b, &shape, self.accept),
            DType::I32 => go::<i32>(&a, &b, &shape, self.accept),
            DType::I64 => go::<i64>(&a, &b, &shape, self.accept),
            DType::Bool => go::<bool>(&a, &b, &shape, self.accept),
        }?;
        Ok(vec![Tensor::from_vec(&shape, data)?.into()])
    }
}

/// `logical_and`, `logical_or`, `logical_xor`.
pub struct Logical {
    sig: &'static Signature,
    f: fn(bool, bool) -> bool,
}

macro_rules! logical {
    ($id:ident, $name:literal, $f:expr, $doc:literal) => {
        #[doc = $doc]
        pub static $id: Logical = Logical {
            sig: &Signature { name: $name, doc: $doc, inputs: TWO, attrs: &[], class: OpClass::Elementwise },
            f: $f,
        };
    };
}
logical!(LOGICAL_AND, "logical_and", |a, b| a && b, "Both (torch.logical_and).");
logical!(LOGICAL_OR, "logical_or", |a, b| a || b, "Either (torch.logical_or).");
logical!(LOGICAL_XOR, "logical_xor", |a, b| a != b, "Exactly one (torch.logical_xor).");

impl Operator for Logical {
    fn signature(&self) -> &'static Signature {
        self.sig
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::Bool])?;
        cx.expect_dtype(1, &[DType::Bool])?;
        let shape = broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: DType::Bool, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = broadcast(a.shape(), b.shape())?;
        let data = map2((a.slice::<bool>()?, a.shape()), (b.slice()?, b.shape()), &shape, self.f);
        Ok(vec![Tensor::from_vec(&shape, data)?.into()])
    }
}

/// `where`.
pub struct Where;

impl Operator for Where {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "where",
                doc: "x where the condition holds, else y (torch.where).",
                inputs: &[required("condition"), required("input"), required("other")],
                attrs: &[],
                class: OpClass::Elementwise,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::Bool])?;
        let dtype = same_dtype(cx, 1, 2, "where")?;
        let shape = broadcast_shapes(&broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?, &cx.ty(2)?.shape)?;
        Ok(vec![TensorType { dtype, shape }])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (c, x, y) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let shape = broadcast(&broadcast(c.shape(), x.shape())?, y.shape())?;
        let cond = c.slice::<bool>()?;
        let strides = [
            &*signed_broadcast(c.shape(), &shape),
            &*signed_broadcast(x.shape(), &shape),
            &*signed_broadcast(y.shape(), &shape),
        ];
        fn pick<T: quantc_tensor::Element>(
            cond: &[bool],
            x: &[T],
            y: &Tensor,
            shape: &[usize],
            strides: [&[isize]; 3],
        ) -> Result<Tensor, OpError> {
            let y = y.slice::<T>()?;
            let mut out = Vec::with_capacity(shape.iter().product());
            runs(shape, strides, [0; 3], |starts, steps, len| {
                let at = |i: usize, j: usize| (starts[i] + steps[i] * j as isize) as usize;
                out.extend((0..len).map(|j| if cond[at(0, j)] { x[at(1, j)] } else { y[at(2, j)] }));
            });
            Ok(Tensor::from_vec(shape, out)?)
        }
        let out = with_data!(&x, |d| pick(cond, d.as_slice().unwrap_or(&[]), &y, &shape, strides))?;
        Ok(vec![out.into()])
    }
}

/// `prelu`.
pub struct PRelu;

impl Operator for PRelu {
    fn signature(&self) -> &'static Signature {
        const {
            &Signature {
                name: "prelu",
                doc: "x, or slope * x below 0; the slope is broadcast to x (ONNX PRelu; torch.nn.functional.prelu has a slope of [C]).",
                inputs: &[required("input"), required("slope")],
                attrs: &[],
                class: OpClass::Elementwise,
            }
        }
    }

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.expect_dtype(0, &[DType::F32])?;
        cx.expect_dtype(1, &[DType::F32])?;
        broadcast_shapes(&cx.ty(0)?.shape, &cx.ty(1)?.shape)?;
        Ok(vec![cx.ty(0)?.clone()])
    }

    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError> {
        let (x, slope) = (cx.tensor(0)?, cx.tensor(1)?);
        if broadcast(x.shape(), slope.shape())? != x.shape() {
            return Err(OpError::new(format!("prelu: slope {:?} is larger than input {:?}", slope.shape(), x.shape())));
        }
        let data = map2((x.slice()?, x.shape()), (slope.slice()?, slope.shape()), x.shape(), math::leaky_relu_f32);
        Ok(vec![Tensor::from_vec(x.shape(), data)?.into()])
    }
}
