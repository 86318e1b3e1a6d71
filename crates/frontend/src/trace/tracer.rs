//! The tracer and its proxies.

use std::collections::HashMap;
use std::sync::Arc;

use quantc_ir::{Graph, IrError, Origin, ValueRef};
use quantc_ops::Attrs;
use quantc_tensor::{Tensor, TensorType};

use super::{Init, TraceError, Weights};

/// A module: something with parameters and submodules that computes its outputs from its inputs.
pub trait Module {
    /// Its type, as it appears in origins and in QConfigMapping (`Conv2d`).
    fn type_name(&self) -> &str;

    /// Whether its calls are its own whatever is inside (FX `is_leaf_module`): true for the modules of [`super::nn`].
    fn is_leaf(&self) -> bool {
        false
    }

    /// Its submodules by name (PyTorch `named_children`); leaves have none that anyone sees.
    fn children(&self) -> Vec<(String, &dyn Module)> {
        Vec::new()
    }

    /// Records what it computes.
    ///
    /// # Errors
    /// If an operator rejects its inputs, or a parameter has no value.
    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError>;
}

/// A value of the model being traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy(ValueRef);

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*);)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// If the operator rejects the types.
        pub fn $name(self, t: &mut Tracer $(, $arg: Proxy)*) -> Result<Proxy, TraceError> {
            t.call1(stringify!($name), &[self $(, $arg)*], Attrs::new())
        }
    )*};
}

#[allow(clippy::should_implement_trait)] // The operators can fail and need the tracer, so they can't be those of std::ops.
impl Proxy {
    operators! {
        /// `self + other`, with broadcasting.
        add(other);
        /// `self - other`, with broadcasting.
        sub(other);
        /// `self * other`, with broadcasting.
        mul(other);
        /// `self / other`, with broadcasting.
        div(other);
        /// Matrix product.
        matmul(other);
        /// `max(self, 0)`.
        relu();
        /// `min(max(self, 0), 6)`.
        relu6();
        /// Logistic function.
        sigmoid();
        /// Hyperbolic tangent.
        tanh();
        /// GELU with erf.
        gelu();
        /// `self * sigmoid(self)`.
        silu();
        /// `self * relu6(self + 3) / 6`.
        hardswish();
        /// Exponential.
        exp();
        /// Square root.
        sqrt();
        /// `-self`.
        neg();
    }

    /// Softmax over a dimension.
    ///
    /// # Errors
    /// If there is no such dimension.
    pub fn softmax(self, t: &mut Tracer, dim: i64) -> Result<Proxy, TraceError> {
        t.call1("softmax", &[self], Attrs::new().with("dim", dim))
    }

    /// All dimensions from `start_dim` on as one.
    ///
    /// # Errors
    /// If there is no such dimension.
    pub fn flatten(self, t: &mut Tracer, start_dim: i64) -> Result<Proxy, TraceError> {
        t.call1("flatten", &[self], Attrs::new().with("start_dim", start_dim))
    }

    /// Another shape: 0 copies a size of the input, -1 is what is left.
    ///
    /// # Errors
    /// If the sizes do not fit.
    pub fn reshape(self, t: &mut Tracer, shape: &[i64]) -> Result<Proxy, TraceError> {
        t.call1("reshape", &[self], Attrs::new().with("shape", shape))
    }

    /// Dimensions in another order.
    ///
    /// # Errors
    /// If `dims` is no permutation.
    pub fn permute(self, t: &mut Tracer, dims: &[i64]) -> Result<Proxy, TraceError> {
        t.call1("permute", &[self], Attrs::new().with("dims", dims))
    }

    /// Mean over dimensions.
    ///
    /// # Errors
    /// If there is no such dimension.
    pub fn mean(self, t: &mut Tracer, dims: &[i64], keepdim: bool) -> Result<Proxy, TraceError> {
        t.call1("mean", &[self], Attrs::new().with("dims", dims).with("keepdim", keepdim))
    }

    /// The type of the value.
    pub fn ty(self, t: &Tracer) -> &TensorType {
        t.graph.ty(self.0)
    }
}

/// One module being traced.
struct Frame {
    /// Path and type of the module.
    path: String,
    ty: String,
    /// The module that calls count for: this one, or the leaf around it.
    owner: (String, String),
    leaf: bool,
}

/// Decides which modules are leaves, given path, type and what the module itself says.
type IsLeaf = Box<dyn Fn(&str, &str, bool) -> bool>;

/// Records the calls of a model into a graph.
pub struct Tracer {
    graph: Graph,
    weights: Weights,
    frames: Vec<Frame>,
    counts: HashMap<(String, &'static str), u32>,
    is_leaf: IsLeaf,
}

impl Tracer {
    /// A tracer of an empty graph.
    pub fn new(name: &str, weights: Weights) -> Tracer {
        Tracer {
            graph: Graph::new(name),
            weights,
            frames: Vec::new(),
            counts: HashMap::new(),
            is_leaf: Box::new(|_, _, own| own),
        }
    }

    /// Replaces the rule that says which modules are leaves (FX `Tracer.is_leaf_module`). It gets a module's path, its type,
    /// and what the module says itself. The calls inside a leaf all carry the leaf's path and type.
    pub fn set_is_leaf(&mut self, rule: impl Fn(&str, &str, bool) -> bool + 'static) {
        self.is_leaf = Box::new(rule);
    }

    /// Traces a model: `inputs` by name and type in the order of its `forward`, `outputs` the names of its results.
    ///
    /// # Errors
    /// As [`Module::forward`]; or if the number of outputs differs, or a weight file has tensors that belong to no module.
    pub fn trace(
        model: &dyn Module,
        name: &str,
        inputs: &[(&str, TensorType)],
        outputs: &[&str],
        weights: Weights,
    ) -> Result<Graph, TraceError> {
        Tracer::new(name, weights).run(model, inputs, outputs)
    }

    /// As [`Tracer::trace`], with a tracer that was set up.
    ///
    /// # Errors
    /// As [`Tracer::trace`].
    pub fn run(
        mut self,
        model: &dyn Module,
        inputs: &[(&str, TensorType)],
        outputs: &[&str],
    ) -> Result<Graph, TraceError> {
        let inputs: Vec<Proxy> =
            inputs.iter().map(|(name, ty)| Proxy(self.graph.placeholder(name, ty.clone()).into())).collect();
        let results = self.enter(String::new(), model, &inputs)?;
        if results.len() != outputs.len() {
            return Err(TraceError::outputs(results.len(), outputs.len()));
        }
        let named: Vec<(Arc<str>, ValueRef)> =
            outputs.iter().zip(&results).map(|(name, p)| (Arc::from(*name), p.0)).collect();
        self.graph.set_outputs(&named);
        self.weights.finish()?;
        self.graph.eliminate_dead();
        Ok(self.graph)
    }

    fn enter(&mut self, path: String, module: &dyn Module, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        if self.frames.len() > 64 {
            return Err(TraceError::new("modules are nested too deeply").with_hint("does one contain itself?"));
        }
        let ty = module.type_name().to_owned();
        let outer = self.frames.last().filter(|f| f.leaf).map(|f| f.owner.clone());
        let leaf = outer.is_some() || (self.is_leaf)(&path, &ty, module.is_leaf());
        let owner = outer.unwrap_or_else(|| (path.clone(), ty.clone()));
        self.frames.push(Frame { path, ty, owner, leaf });
        let result = module.forward(self, inputs);
        let frame = self.frames.pop();
        match frame {
            Some(f) => result.map_err(|e| e.in_module(&f.path, &f.ty)),
            None => result,
        }
    }

    /// The path of a child or parameter of the module being traced.
    fn path_of(&self, name: &str) -> String {
        match self.frames.last() {
            Some(f) if !f.path.is_empty() => format!("{}.{name}", f.path),
            _ => name.to_owned(),
        }
    }

    /// Traces a submodule.
    ///
    /// # Errors
    /// As [`Module::forward`].
    pub fn module(&mut self, name: &str, module: &dyn Module, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let path = self.path_of(name);
        self.enter(path, module, inputs)
    }

    /// The value of a parameter of the module being traced, without recording it.
    ///
    /// # Errors
    /// If the weights have no such tensor, or one of another shape.
    pub fn weight(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, TraceError> {
        let name = self.path_of(name);
        self.weights.get(&name, shape, init)
    }

    /// A parameter of the module being traced; the same one when a module is called again.
    ///
    /// # Errors
    /// As [`Tracer::weight`].
    pub fn param(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Proxy, TraceError> {
        let path = self.path_of(name);
        if let Ok(id) = self.graph.get_attr(&path) {
            return Ok(Proxy(id.into()));
        }
        let tensor = self.weights.get(&path, shape, init)?;
        Ok(Proxy(self.graph.param(&path, tensor).into()))
    }

    /// A constant of the module being traced, derived from its parameters; the same one when a module is called again.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Proxy {
        let path = self.path_of(name);
        match self.graph.get_attr(&path) {
            Ok(id) => Proxy(id.into()),
            Err(_) => Proxy(self.graph.param(&path, tensor).into()),
        }
    }

    /// A scalar constant.
    pub fn scalar(&mut self, value: f32) -> Proxy {
        let name = self.graph.fresh_param_name(&self.path_of("constant"));
        Proxy(self.graph.param(&name, Tensor::scalar(value)).into())
    }

    /// Records a call of any operator; it is named after the module and the operator.
    ///
    /// # Errors
    /// If there is no such operator, or it rejects inputs or attributes.
    pub fn call(&mut self, op: &str, inputs: &[Proxy], attrs: Attrs) -> Result<Vec<Proxy>, TraceError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let name = match self.frames.last() {
            Some(f) if !f.owner.0.is_empty() => format!("{}.{op}", f.owner.0),
            _ => op.to_owned(),
        };
        self.record(&name, op, &inputs, attrs)
    }

    /// [`Tracer::call`] of an operator with one output.
    ///
    /// # Errors
    /// As [`Tracer::call`].
    pub fn call1(&mut self, op: &str, inputs: &[Proxy], attrs: Attrs) -> Result<Proxy, TraceError> {
        first(self.call(op, inputs, attrs)?, op)
    }

    /// Records the call that stands for a leaf module: it is named after the module alone.
    ///
    /// # Errors
    /// As [`Tracer::call`].
    pub fn main_call(&mut self, op: &str, inputs: &[Option<Proxy>], attrs: Attrs) -> Result<Vec<Proxy>, TraceError> {
        let name = match self.frames.last() {
            Some(f) if !f.path.is_empty() => f.path.clone(),
            _ => op.to_owned(),
        };
        self.record(&name, op, inputs, attrs)
    }

    fn record(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[Option<Proxy>],
        attrs: Attrs,
    ) -> Result<Vec<Proxy>, TraceError> {
        let op = quantc_ops::lookup(op).ok_or_else(|| TraceError::new(format!("there is no operator `{op}`")))?;
        let (path, ty) = self.frames.last().map_or(("", ""), |f| (&*f.owner.0, &*f.owner.1));
        let index = self.counts.entry((path.to_owned(), op.name())).or_default();
        let origin = Origin::new(path, ty, op.name(), *index);
        *index += 1;
        let refs: Vec<_> = inputs.iter().map(|p| p.map(|p| p.0)).collect();
        let id = self.graph.call(name, op, &refs, attrs, &[origin]).map_err(from_ir)?;
        let outputs = 0..self.graph.node(id).types().len() as u32;
        Ok(outputs.map(|output| Proxy(ValueRef { node: id, output })).collect())
    }
}

fn from_ir(e: IrError) -> TraceError {
    match e {
        IrError::Op { op, source, .. } => {
            // Operators' messages mostly name them already.
            let message = source.message;
            let message = if message.contains(op.as_str()) { message } else { format!("{op}: {message}") };
            TraceError { hint: source.hint, ..TraceError::new(message) }
        }
        other => TraceError::new(other.to_string()),
    }
}

/// The first of the outputs of a call.
pub(crate) fn first(outputs: Vec<Proxy>, what: &str) -> Result<Proxy, TraceError> {
    outputs.first().copied().ok_or_else(|| TraceError::new(format!("`{what}` has no outputs")))
}
