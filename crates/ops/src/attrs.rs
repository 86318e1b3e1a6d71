//! Attributes of a call: names from the operator's signature, values comparable and hashable so that a whole record can be
//! interned.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use quantc_tensor::DType;

use crate::operator::Signature;
use crate::{AttrDefault, OpError};

/// An f32 compared, ordered and hashed by its bits (total order), so that attributes can be keys.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f32);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Float {}
impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl Hash for Float {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}
impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug of f32 is the shortest text that reads back to the same bits and always shows a dot or exponent.
        write!(f, "{:?}", self.0)
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A real number.
    Float(Float),
    /// A flag.
    Bool(bool),
    /// A word.
    Str(String),
    /// An element type.
    DType(DType),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of real numbers.
    Floats(Vec<Float>),
}

/// A noun with its article, for messages: `an integer`.
pub fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

impl Attr {
    /// The kind's name, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Attr::Int(_) => "integer",
            Attr::Float(_) => "float",
            Attr::Bool(_) => "bool",
            Attr::Str(_) => "string",
            Attr::DType(_) => "dtype",
            Attr::Ints(_) => "list of integers",
            Attr::Floats(_) => "list of floats",
        }
    }
}

macro_rules! from {
    ($($t:ty => |$v:ident| $e:expr;)*) => {$(
        impl From<$t> for Attr {
            fn from($v: $t) -> Self {
                $e
            }
        }
    )*};
}
from! {
    i64 => |v| Attr::Int(v);
    i32 => |v| Attr::Int(i64::from(v));
    usize => |v| Attr::Int(v as i64);
    f32 => |v| Attr::Float(Float(v));
    bool => |v| Attr::Bool(v);
    &str => |v| Attr::Str(v.to_owned());
    String => |v| Attr::Str(v);
    DType => |v| Attr::DType(v);
    Vec<i64> => |v| Attr::Ints(v);
    &[i64] => |v| Attr::Ints(v.to_vec());
    Vec<f32> => |v| Attr::Floats(v.into_iter().map(Float).collect());
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            f.write_str("[")?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    f.write_str(",")?;
                }
                write!(f, "{item}")?;
            }
            f.write_str("]")
        }
        match self {
            Attr::Int(v) => write!(f, "{v}"),
            Attr::Float(v) => write!(f, "{v}"),
            Attr::Bool(v) => write!(f, "{v}"),
            Attr::Str(v) => write!(f, "{v:?}"),
            Attr::DType(v) => write!(f, "{v}"),
            Attr::Ints(v) => list(f, v),
            Attr::Floats(v) => list(f, v),
        }
    }
}

/// The attributes of one call. Only those that differ from the signature's default are kept ([`Attrs::check`]), so equal
/// records mean equal calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs(
    /// By name: a few at most, and a graph has many records.
    Vec<(&'static str, Attr)>,
);

impl Attrs {
    /// No attributes.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// The record with one more attribute (replacing one of the same name).
    pub fn with(mut self, name: &'static str, value: impl Into<Attr>) -> Attrs {
        self.set(name, value);
        self
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Attr>) {
        match self.find(name) {
            Ok(at) => self.0[at].1 = value.into(),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (name, value.into()));
            }
        }
    }

    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| (*n).cmp(name))
    }

    /// The stored value, `None` if absent (a default is not looked up here: see [`Signature::attr`]).
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Attr)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds the record to a signature: every name known, every kind right (an integer is accepted for a float, an empty
    /// integer list for a list of floats), every word one of its choices, required ones present; values equal to their
    /// default are dropped.
    ///
    /// # Errors
    /// Naming the attribute and what the operator has instead.
    pub fn check(mut self, sig: &Signature) -> Result<Attrs, OpError> {
        for (name, value) in &mut self.0 {
            let Some(spec) = sig.attrs.iter().find(|s| s.name == *name) else {
                let known: Vec<_> = sig.attrs.iter().map(|s| s.name).collect();
                return Err(OpError::new(format!("`{}` has no attribute `{name}`", sig.name)).with_hint(
                    if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) },
                ));
            };
            let promoted = match (&spec.default, &*value) {
                (AttrDefault::Float(_) | AttrDefault::RequiredFloat, Attr::Int(v)) => Some(Attr::from(*v as f32)),
                (AttrDefault::Floats(_) | AttrDefault::RequiredFloats, Attr::Ints(v)) => {
                    Some(Attr::from(v.iter().map(|&v| v as f32).collect::<Vec<f32>>()))
                }
                _ => None,
            };
            if let Some(promoted) = promoted {
                *value = promoted;
            }
            if !spec.default.accepts(value) {
                return Err(OpError::new(format!(
                    "attribute `{name}` of `{}` is {}, it must be {}",
                    sig.name,
                    with_article(value.kind()),
                    with_article(spec.default.kind())
                )));
            }
            if let (Some(choices), Attr::Str(word)) = (spec.default.choices(), &*value)
                && !choices.contains(&word.as_str())
            {
                let error = OpError::new(format!("attribute `{name}` of `{}` can't be {word:?}", sig.name));
                return Err(error.with_hint(format!("one of {choices:?}")));
            }
        }
        for spec in sig.attrs {
            if spec.default.is_required() && self.get(spec.name).is_none() {
                return Err(OpError::new(format!("`{}` needs the attribute `{}`", sig.name, spec.name)));
            }
        }
        self.0.retain(|(name, value)| {
            sig.attrs.iter().find(|s| s.name == *name).and_then(|s| s.default.value()).as_ref() != Some(value)
        });
        Ok(self)
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value}")?;
        }
        f.write_str("}")
    }
}
