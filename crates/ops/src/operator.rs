//! What an operator is.

use std::fmt;
use std::hash::{Hash, Hasher};

use quantc_tensor::{DType, TensorType, Value};

use crate::dims::check_size;
use crate::{Attr, Attrs, EvalCx, InferCx, InputInfo, OpError};

/// Whether an input must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Must be given.
    Required,
    /// May be `none` or left out at the end.
    Optional,
    /// Any number of values; only as the last input.
    Variadic,
}

/// One input of a signature.
#[derive(Clone, Copy, Debug)]
pub struct InputSpec {
    /// Name, for messages and docs.
    pub name: &'static str,
    /// Whether it must be given.
    pub kind: InputKind,
}

/// Kind and default of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum AttrDefault {
    /// Integer with a default.
    Int(i64),
    /// Float with a default.
    Float(f32),
    /// Flag with a default.
    Bool(bool),
    /// Word with a default, and every word it may be.
    Str(&'static str, &'static [&'static str]),
    /// Element type with a default.
    DType(DType),
    /// Integer list with a default.
    Ints(&'static [i64]),
    /// Float list with a default.
    Floats(&'static [f32]),
    /// Integer that must be given.
    RequiredInt,
    /// Float that must be given.
    RequiredFloat,
    /// Word that must be given.
    RequiredStr,
    /// Element type that must be given.
    RequiredDType,
    /// Integer list that must be given.
    RequiredInts,
    /// Float list that must be given.
    RequiredFloats,
    /// Integer that may be absent.
    OptionalInt,
    /// Integer list that may be absent.
    OptionalInts,
}

impl AttrDefault {
    /// Whether a value is of this kind.
    pub fn accepts(&self, value: &Attr) -> bool {
        use AttrDefault as D;
        matches!(
            (self, value),
            (D::Int(_) | D::RequiredInt | D::OptionalInt, Attr::Int(_))
                | (D::Float(_) | D::RequiredFloat, Attr::Float(_))
                | (D::Bool(_), Attr::Bool(_))
                | (D::Str(..) | D::RequiredStr, Attr::Str(_))
                | (D::DType(_) | D::RequiredDType, Attr::DType(_))
                | (D::Ints(_) | D::RequiredInts | D::OptionalInts, Attr::Ints(_))
                | (D::Floats(_) | D::RequiredFloats, Attr::Floats(_))
        )
    }

    /// The kind's name, for messages.
    pub fn kind(&self) -> &'static str {
        use AttrDefault as D;
        match self {
            D::Int(_) | D::RequiredInt | D::OptionalInt => "integer",
            D::Float(_) | D::RequiredFloat => "float",
            D::Bool(_) => "bool",
            D::Str(..) | D::RequiredStr => "string",
            D::DType(_) | D::RequiredDType => "dtype",
            D::Ints(_) | D::RequiredInts | D::OptionalInts => "list of integers",
            D::Floats(_) | D::RequiredFloats => "list of floats",
        }
    }

    /// The words it may be, if it is a word out of a list.
    pub fn choices(&self) -> Option<&'static [&'static str]> {
        match self {
            AttrDefault::Str(_, choices) => Some(choices),
            _ => None,
        }
    }

    /// Whether the attribute must be given.
    pub fn is_required(&self) -> bool {
        use AttrDefault as D;
        matches!(
            self,
            D::RequiredInt | D::RequiredFloat | D::RequiredStr | D::RequiredDType | D::RequiredInts | D::RequiredFloats
        )
    }

    /// The default value, if there is one.
    pub fn value(&self) -> Option<Attr> {
        Some(match self {
            AttrDefault::Int(v) => Attr::from(*v),
            AttrDefault::Float(v) => Attr::from(*v),
            AttrDefault::Bool(v) => Attr::from(*v),
            AttrDefault::Str(v, _) => Attr::from(*v),
            AttrDefault::DType(v) => Attr::from(*v),
            AttrDefault::Ints(v) => Attr::from(*v),
            AttrDefault::Floats(v) => Attr::from(v.to_vec()),
            _ => return None,
        })
    }
}

/// One attribute of a signature.
#[derive(Clone, Copy, Debug)]
pub struct AttrSpec {
    /// Name.
    pub name: &'static str,
    /// Kind and default.
    pub default: AttrDefault,
    /// One sentence.
    pub doc: &'static str,
}

/// What rewriting, layout choice and costing may assume about an operator, so that nobody else needs to list operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpClass {
    /// Real work (convolution, matmul, recurrent): never duplicated.
    Heavy,
    /// Output element i depends on input element i alone; one tensor input, shape kept.
    Unary,
    /// Elementwise with broadcasting over several inputs.
    Elementwise,
    /// Moves elements without computing (reshape, transpose, slice, concat, pad with zeros, gather). All that a result holds are elements of inputs of its
    /// type; `pad` alone fills in others.
    Movement,
    /// Pooling windows.
    Pool,
    /// Reductions, normalisations.
    Reduction,
    /// Shape arithmetic and everything else.
    Other,
    /// quantize, dequantize, observers.
    Quantization,
}

/// What an operator's evaluation does with the integers of scaled inputs ([`quantc_tensor::ScaledInt`], docs/numerics.md). It can use
/// them only if all its operands have them: of a [`OpClass::Heavy`] operator the first two inputs, else every f32 input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerUse {
    /// It sees reals.
    Unseen,
    /// Its result has the integers of its input.
    HandedOn,
    /// Codes stay codes; of sums it sees the reals.
    Moved,
    /// It computes with codes, which gives sums; of sums it sees the reals.
    Computed,
    /// It quantizes them.
    Quantized,
    /// Its f32 result has codes, whatever its inputs are.
    MakesCodes,
    /// Its f32 result has sums, whatever its inputs are.
    MakesSums,
}

/// An operator's static description.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// The name: PyTorch's functional name where there is one.
    pub name: &'static str,
    /// What it computes, one sentence, with its source.
    pub doc: &'static str,
    /// Inputs in order.
    pub inputs: &'static [InputSpec],
    /// Attributes.
    pub attrs: &'static [AttrSpec],
    /// Class.
    pub class: OpClass,
}

impl Signature {
    /// The value of an attribute, or its default.
    pub fn attr(&self, attrs: &Attrs, name: &str) -> Option<Attr> {
        attrs.get(name).cloned().or_else(|| self.attrs.iter().find(|s| s.name == name).and_then(|s| s.default.value()))
    }

    /// The `'static` form of an attribute's name, if the operator has it.
    pub fn attr_name(&self, name: &str) -> Option<&'static str> {
        self.attrs.iter().find(|s| s.name == name).map(|s| s.name)
    }

    /// Checks the number of inputs and that required ones are present; `given[i]` says whether input i is present.
    ///
    /// # Errors
    /// Naming the missing input or the number expected.
    pub fn check_inputs(&self, given: &[bool]) -> Result<(), OpError> {
        let variadic = self.inputs.last().is_some_and(|i| i.kind == InputKind::Variadic);
        if !variadic && given.len() > self.inputs.len() {
            return Err(OpError::new(format!(
                "`{}` takes at most {} inputs, {} given",
                self.name,
                self.inputs.len(),
                given.len()
            )));
        }
        for (i, spec) in self.inputs.iter().enumerate() {
            if spec.kind == InputKind::Required && !given.get(i).copied().unwrap_or(false) {
                return Err(OpError::new(format!("`{}` needs its input `{}` (number {i})", self.name, spec.name)));
            }
        }
        if variadic && given.iter().skip(self.inputs.len().saturating_sub(1)).any(|g| !g) {
            return Err(OpError::new(format!("`{}` cannot take `none` among its inputs", self.name)));
        }
        Ok(())
    }
}

/// An operator: stateless, registered once in [`crate::table`].
pub trait Operator: Send + Sync + 'static {
    /// The static description.
    fn signature(&self) -> &'static Signature;

    /// Output types from input types (and values, where they are constants).
    ///
    /// # Errors
    /// If the types do not fit.
    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError>;

    /// How many outputs a call has; `None` if that depends on the call.
    fn outputs(&self) -> Option<usize> {
        Some(1)
    }

    /// What [`Operator::eval`] does with the integers of scaled inputs.
    fn integer_use(&self) -> IntegerUse {
        match self.signature() {
            sig if sig.class == OpClass::Movement => IntegerUse::Moved,
            sig if sig.name.starts_with("quantized.") => IntegerUse::MakesSums,
            _ => IntegerUse::Unseen,
        }
    }

    /// Reference evaluation: the definition of what the operator computes.
    ///
    /// # Errors
    /// If sizes or values do not fit.
    fn eval(&self, cx: &EvalCx<'_>) -> Result<Vec<Value>, OpError>;
}

/// A registered operator; copied freely, equal if the names are.
#[derive(Clone, Copy)]
pub struct OpRef(pub &'static dyn Operator);

impl OpRef {
    /// The static description.
    pub fn signature(self) -> &'static Signature {
        self.0.signature()
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.0.signature().name
    }

    /// The class.
    pub fn class(self) -> OpClass {
        self.0.signature().class
    }

    /// See [`Operator::outputs`].
    pub fn outputs(self) -> Option<usize> {
        self.0.outputs()
    }

    /// See [`Operator::integer_use`].
    pub fn integer_use(self) -> IntegerUse {
        self.0.integer_use()
    }

    /// The output types, none too large. See [`Operator::infer`].
    ///
    /// # Errors
    /// As [`Operator::infer`] and [`check_size`].
    pub fn infer(self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let types = self.0.infer(cx)?;
        types.iter().try_for_each(check_size)?;
        Ok(types)
    }

    /// Checks the inputs and evaluates. See [`Operator::eval`].
    ///
    /// # Errors
    /// As [`Signature::check_inputs`], [`OpRef::infer`] and [`Operator::eval`].
    pub fn eval(self, inputs: &[Option<Value>], attrs: &Attrs) -> Result<Vec<Value>, OpError> {
        let given: Vec<bool> = inputs.iter().map(Option::is_some).collect();
        self.signature().check_inputs(&given)?;
        // Nothing is allocated for a result that is too large.
        let infos: Vec<Option<InputInfo<'_>>> = inputs.iter().map(|v| v.as_ref().map(InputInfo::of)).collect();
        self.infer(&InferCx::new(self.signature(), &infos, attrs))?;
        self.0.eval(&EvalCx::new(self.signature(), inputs, attrs))
    }
}

impl PartialEq for OpRef {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for OpRef {}
impl Hash for OpRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
impl PartialOrd for OpRef {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for OpRef {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name().cmp(other.name())
    }
}
impl fmt::Debug for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl fmt::Display for OpRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
