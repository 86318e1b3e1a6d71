//! What an operator sees when it is typed or evaluated.

use std::cell::Cell;

use quantc_tensor::{DType, Tensor, TensorType, Value};

use crate::attrs::with_article;
use crate::{Attr, Attrs, OpError, Signature};

/// What is known of one input at compile time.
#[derive(Clone, Debug)]
pub struct InputInfo<'a> {
    /// Its type.
    pub ty: TensorType,
    /// Its value, if it is a constant.
    pub value: Option<&'a Tensor>,
}

impl<'a> InputInfo<'a> {
    /// What is known of an input once it has its value.
    pub fn of(value: &'a Value) -> InputInfo<'a> {
        let dense = if let Value::Dense(tensor) = value { Some(tensor) } else { None };
        InputInfo { ty: TensorType::new(value.dtype(), value.shape()), value: dense }
    }
}

macro_rules! attr_getters {
    () => {
        fn attr(&self, name: &str) -> Result<Attr, OpError> {
            self.sig
                .attr(self.attrs, name)
                .ok_or_else(|| OpError::new(format!("`{}` needs the attribute `{name}`", self.sig.name)))
        }

        fn wrong(&self, name: &str, got: &Attr) -> OpError {
            OpError::new(format!("attribute `{name}` of `{}` can't be {}", self.sig.name, with_article(got.kind())))
        }

        /// An integer attribute or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn int(&self, name: &str) -> Result<i64, OpError> {
            match self.attr(name)? {
                Attr::Int(v) => Ok(v),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// A float attribute or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn float(&self, name: &str) -> Result<f32, OpError> {
            match self.attr(name)? {
                Attr::Float(v) => Ok(v.0),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// A flag or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn bool(&self, name: &str) -> Result<bool, OpError> {
            match self.attr(name)? {
                Attr::Bool(v) => Ok(v),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// A string attribute or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn str(&self, name: &str) -> Result<String, OpError> {
            match self.attr(name)? {
                Attr::Str(v) => Ok(v),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// An element type attribute or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn dtype(&self, name: &str) -> Result<DType, OpError> {
            match self.attr(name)? {
                Attr::DType(v) => Ok(v),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// An integer list or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn ints(&self, name: &str) -> Result<Vec<i64>, OpError> {
            match self.attr(name)? {
                Attr::Ints(v) => Ok(v),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// A float list or its default.
        ///
        /// # Errors
        /// If it is absent or of another kind.
        pub fn floats(&self, name: &str) -> Result<Vec<f32>, OpError> {
            match self.attr(name)? {
                Attr::Floats(v) => Ok(v.iter().map(|f| f.0).collect()),
                other => Err(self.wrong(name, &other)),
            }
        }

        /// Whether an optional attribute was given.
        pub fn has(&self, name: &str) -> bool {
            self.attrs.get(name).is_some()
        }
    };
}

/// The view of a call while types are inferred.
pub struct InferCx<'a> {
    sig: &'static Signature,
    inputs: &'a [Option<InputInfo<'a>>],
    attrs: &'a Attrs,
    asked_for_values: Cell<bool>,
}

impl<'a> InferCx<'a> {
    /// A view of a call.
    pub fn new(sig: &'static Signature, inputs: &'a [Option<InputInfo<'a>>], attrs: &'a Attrs) -> InferCx<'a> {
        InferCx { sig, inputs, attrs, asked_for_values: Cell::new(false) }
    }

    attr_getters!();

    /// Number of inputs, absent ones included.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The attributes as stored.
    pub fn attrs(&self) -> &'a Attrs {
        self.attrs
    }

    /// The type of input `i`, `None` if absent.
    pub fn opt_ty(&self, i: usize) -> Option<&TensorType> {
        self.inputs.get(i).and_then(|x| x.as_ref()).map(|x| &x.ty)
    }

    /// The type of input `i`.
    ///
    /// # Errors
    /// If it is absent.
    pub fn ty(&self, i: usize) -> Result<&TensorType, OpError> {
        self.opt_ty(i).ok_or_else(|| OpError::new(format!("`{}` needs its input number {i}", self.sig.name)))
    }

    /// The constant value of input `i`, if it has one.
    pub fn value(&self, i: usize) -> Option<&'a Tensor> {
        self.asked_for_values.set(true);
        self.inputs.get(i).and_then(|x| x.as_ref()).and_then(|x| x.value)
    }

    /// Whether an input's value was asked for: then the result may depend on more than types and attributes.
    pub fn asked_for_values(&self) -> bool {
        self.asked_for_values.get()
    }

    /// Integers that come either as attribute `name` or as the constant input `i`; `Ok(None)` if they are only known when
    /// the model runs. Falls back to the attribute's default.
    ///
    /// # Errors
    /// If neither is there.
    pub fn ints_or_input(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, OpError> {
        if self.opt_ty(i).is_some() {
            return Ok(self.value(i).map(Tensor::to_i64_vec));
        }
        self.ints(name).map(Some)
    }

    /// Fails unless input `i` has one of the dtypes.
    ///
    /// # Errors
    /// Naming the operator, the input and the dtypes.
    pub fn expect_dtype(&self, i: usize, dtypes: &[DType]) -> Result<DType, OpError> {
        let got = self.ty(i)?.dtype;
        if dtypes.contains(&got) {
            return Ok(got);
        }
        let names: Vec<_> = dtypes.iter().map(|d| d.name()).collect();
        Err(OpError::new(format!("input {i} of `{}` is {got}, it must be {}", self.sig.name, names.join(" or "))))
    }
}

/// The view of a call while it is evaluated.
pub struct EvalCx<'a> {
    sig: &'static Signature,
    inputs: &'a [Option<Value>],
    attrs: &'a Attrs,
}

impl<'a> EvalCx<'a> {
    /// A view of a call.
    pub fn new(sig: &'static Signature, inputs: &'a [Option<Value>], attrs: &'a Attrs) -> EvalCx<'a> {
        EvalCx { sig, inputs, attrs }
    }

    attr_getters!();

    /// Number of inputs, absent ones included.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are no inputs.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The attributes as stored.
    pub fn attrs(&self) -> &'a Attrs {
        self.attrs
    }

    /// Input `i`, `None` if absent.
    pub fn opt_value(&self, i: usize) -> Option<&'a Value> {
        self.inputs.get(i).and_then(|x| x.as_ref())
    }

    /// Input `i`.
    ///
    /// # Errors
    /// If it is absent.
    pub fn value(&self, i: usize) -> Result<&'a Value, OpError> {
        self.opt_value(i).ok_or_else(|| OpError::new(format!("`{}` needs its input number {i}", self.sig.name)))
    }

    /// Input `i` as a plain tensor (a scaled value becomes f32).
    ///
    /// # Errors
    /// If it is absent.
    pub fn tensor(&self, i: usize) -> Result<Tensor, OpError> {
        Ok(self.value(i)?.to_tensor())
    }

    /// Input `i` as a plain tensor, `None` if absent.
    pub fn opt_tensor(&self, i: usize) -> Option<Tensor> {
        self.opt_value(i).map(Value::to_tensor)
    }

    /// Integers that come either as attribute `name` or as input `i`.
    ///
    /// # Errors
    /// If neither is there.
    pub fn ints_or_input(&self, name: &str, i: usize) -> Result<Vec<i64>, OpError> {
        match self.opt_value(i) {
            Some(v) => Ok(v.to_tensor().to_i64_vec()),
            None => self.ints(name),
        }
    }
}
