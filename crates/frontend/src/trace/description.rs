//! Model descriptions in JSON.

use std::collections::HashMap;
use std::path::Path;

use quantc_ir::Graph;
use quantc_ops::names::suggest;
use quantc_ops::{Attr, AttrDefault, Attrs, with_article};
use quantc_tensor::{DType, TensorType};

use super::expr::{self, Expr, ExprKind, Literal, Statement};
use super::input::parse_type;
use super::json::{self, Json, Spanned, position};
use super::leaf;
use super::nn::{FloatFunctional, FloatFunctionalCall, Method, Sequential};
use super::tracer::first;
use super::{Module, Proxy, TraceError, Tracer, Weights};

/// A model description: a tree of modules with their hyper-parameters, and a `forward` for each composite one.
///
/// ```json
/// {
///   "name": "net",
///   "inputs": {"x": "f32[N,3,32,32]"},
///   "outputs": ["logits"],
///   "define": {
///     "Block": {
///       "parameters": {"channels": null, "kernel": 3},
///       "modules": {
///         "conv": {"type": "Conv2d", "in_channels": "$channels", "out_channels": "$channels", "kernel_size": "$kernel", "padding": 1},
///         "relu": "ReLU"
///       },
///       "forward": ["return relu(conv(x) + x)"]
///     }
///   },
///   "modules": {
///     "blocks": [{"type": "Block", "channels": 3}, {"type": "Block", "channels": 3}],
///     "fc": {"type": "Linear", "in_features": 3072, "out_features": 10}
///   },
///   "forward": ["return fc(flatten(blocks(x)))"]
/// }
/// ```
///
/// `define` holds classes of modules; `parameters` are their hyper-parameters with defaults (null: required), used as `$name`. A list
/// of modules is a `Sequential`; a string is a type without hyper-parameters. A class takes `x`, or what `inputs` names. Leaf types and
/// their hyper-parameters are those of `torch.nn`; in `forward` any operator can be
/// called with its attributes by name; `self.0(x)` calls a submodule whose name is no word.
pub struct Description {
    name: String,
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<String>,
    root: Composite,
    file: Option<String>,
}

/// A class instance: submodules and a `forward`.
struct Composite {
    type_name: String,
    inputs: Vec<String>,
    modules: Vec<(String, Box<dyn Module>)>,
    forward: Vec<(Statement, (usize, usize))>,
    parameters: Scope,
}

/// The whole model, held to the number of its outputs.
struct Root<'d> {
    root: &'d Composite,
    outputs: usize,
}

impl Module for Root<'_> {
    fn type_name(&self) -> &str {
        self.root.type_name()
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        let results = self.root.forward(t, inputs)?;
        match self.root.forward.last() {
            Some((_, start)) if results.len() != self.outputs => {
                Err(TraceError::outputs(results.len(), self.outputs).at(*start))
            }
            _ => Ok(results),
        }
    }
}

/// Values of a class's hyper-parameters.
pub(super) type Scope = HashMap<String, Json>;

impl Description {
    /// Reads a description from a file.
    ///
    /// # Errors
    /// If it can't be read, or as [`Description::parse`].
    pub fn from_file(path: &Path) -> Result<Description, TraceError> {
        let file = path.display().to_string();
        let named = |e: TraceError| TraceError { file: Some(file.clone()), ..e };
        let source = std::fs::read_to_string(path)
            .map_err(|e| named(TraceError::new(format!("can't read the description: {e}"))))?;
        let description = Description::parse(&source).map_err(named)?;
        Ok(Description { file: Some(file), ..description })
    }

    /// Reads a description from its text.
    ///
    /// # Errors
    /// With line and column: if it is no JSON, a member is missing or unknown, or a module's type or hyper-parameters are wrong.
    pub fn parse(source: &str) -> Result<Description, TraceError> {
        let document = json::parse(source)?;
        let builder = Builder { source, classes: Vec::new() };
        let top = builder.object(&document, &["name", "inputs", "outputs", "define", "type", "modules", "forward"])?;
        let name = match top.get("name") {
            Some(v) => builder.string(v)?,
            None => "model".to_owned(),
        };
        let inputs = builder.members(builder.required(&top, "inputs", &document)?)?;
        let mut types = Vec::with_capacity(inputs.len());
        for (input, ty) in inputs {
            let ty = parse_type(&builder.string(ty)?).map_err(|e| e.at(builder.position(ty)))?;
            types.push((input.clone(), ty));
        }
        let classes = top.get("define").map(|v| builder.members(v)).transpose()?.unwrap_or_default();
        let builder = Builder { classes: classes.iter().map(|(k, v)| (k.as_str(), v)).collect(), ..builder };
        let type_name = match top.get("type") {
            Some(v) => builder.string(v)?,
            None => "Module".to_owned(),
        };
        let inputs = types.iter().map(|(n, _)| n.clone()).collect();
        let root = builder.composite(&type_name, &document, &top, inputs, Scope::new(), 0)?;
        let outputs = match top.get("outputs") {
            Some(v) => builder.names(v)?,
            None => vec!["output".to_owned()],
        };
        Ok(Description { name, inputs: types, outputs, root, file: None })
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path and type of every module, the root's path empty, each before its children (PyTorch `named_modules`).
    pub fn modules(&self) -> Vec<(String, String)> {
        fn add(found: &mut Vec<(String, String)>, path: String, module: &dyn Module) {
            found.push((path.clone(), module.type_name().to_owned()));
            for (name, child) in module.children() {
                add(found, if path.is_empty() { name } else { format!("{path}.{name}") }, child);
            }
        }
        let mut found = Vec::new();
        add(&mut found, String::new(), &self.root);
        found
    }

    /// Traces the model.
    ///
    /// # Errors
    /// With line and column, and the module's path: if a call does not fit its inputs or a weight is missing.
    pub fn trace(&self, weights: Weights) -> Result<Graph, TraceError> {
        self.trace_with(Tracer::new(&self.name, weights))
    }

    /// As [`Description::trace`], with a tracer that was set up.
    ///
    /// # Errors
    /// As [`Description::trace`].
    pub fn trace_with(&self, tracer: Tracer) -> Result<Graph, TraceError> {
        let inputs: Vec<_> = self.inputs.iter().map(|(n, ty)| (n.as_str(), ty.clone())).collect();
        let outputs: Vec<_> = self.outputs.iter().map(String::as_str).collect();
        tracer
            .run(&Root { root: &self.root, outputs: outputs.len() }, &inputs, &outputs)
            .map_err(|e| TraceError { file: e.file.clone().or(self.file.clone()), ..e })
    }
}

/// Members of an object by name.
type Members<'j> = HashMap<&'j str, &'j Spanned>;

/// Makes modules from JSON.
pub(super) struct Builder<'s, 'j> {
    source: &'s str,
    /// The classes of `define`.
    pub(super) classes: Vec<(&'j str, &'j Spanned)>,
}

impl<'j> Builder<'_, 'j> {
    fn position(&self, v: &Spanned) -> (usize, usize) {
        position(self.source, v.offset)
    }

    pub(super) fn error(&self, at: &Spanned, message: impl Into<String>) -> TraceError {
        TraceError::new(message).at(self.position(at))
    }

    pub(super) fn string(&self, v: &Spanned) -> Result<String, TraceError> {
        match &v.value {
            Json::String(s) => Ok(s.clone()),
            other => Err(self.error(v, format!("expected a string, found {}", other.kind()))),
        }
    }

    pub(super) fn list<'a>(&self, v: &'a Spanned) -> Result<&'a [Spanned], TraceError> {
        match &v.value {
            Json::Array(items) => Ok(items),
            other => Err(self.error(v, format!("expected a list, found {}", other.kind()))),
        }
    }

    /// A list of different names.
    fn names(&self, v: &Spanned) -> Result<Vec<String>, TraceError> {
        let mut names = Vec::new();
        for v in self.list(v)? {
            let name = self.string(v)?;
            if names.contains(&name) {
                return Err(self.error(v, format!("`{name}` is named twice")));
            }
            names.push(name);
        }
        Ok(names)
    }

    fn members<'a>(&self, v: &'a Spanned) -> Result<&'a [(String, Spanned)], TraceError> {
        match &v.value {
            Json::Object(members) => Ok(members),
            other => Err(self.error(v, format!("expected an object, found {}", other.kind()))),
        }
    }

    fn object<'a>(&self, v: &'a Spanned, known: &[&str]) -> Result<Members<'a>, TraceError> {
        let members = self.members(v)?;
        if let Some((name, value)) = members.iter().find(|(n, _)| !known.contains(&n.as_str())) {
            return Err(self
                .error(value, format!("unknown member `{name}`"))
                .with_hint(format!("known: {}", known.join(", "))));
        }
        Ok(members.iter().map(|(n, v)| (n.as_str(), v)).collect())
    }

    fn required<'a>(&self, members: &Members<'a>, name: &str, of: &Spanned) -> Result<&'a Spanned, TraceError> {
        members.get(name).copied().ok_or_else(|| self.error(of, format!("the member `{name}` is missing")))
    }

    fn composite(
        &self,
        type_name: &str,
        class: &Spanned,
        members: &Members<'_>,
        inputs: Vec<String>,
        parameters: Scope,
        depth: usize,
    ) -> Result<Composite, TraceError> {
        let mut modules = Vec::new();
        if let Some(given) = members.get("modules") {
            for (name, module) in self.members(given)? {
                let made = self.module(module, &parameters, depth + 1).map_err(|e| e.inside(name))?;
                modules.push((name.clone(), made));
            }
        }
        let mut forward = Vec::new();
        let given = self.required(members, "forward", class)?;
        let lines = self.list(given)?;
        for line in lines {
            let text = self.string(line)?;
            let (row, column) = self.position(line);
            // Text starts after the quote.
            let start = (row, column + 1);
            let statement = expr::parse(&text).map_err(|e| {
                let inner = e.position.map_or(0, |p| p.1);
                TraceError { position: Some((start.0, start.1 + inner)), ..e }
            })?;
            forward.push((statement, start));
        }
        if !matches!(forward.last(), Some((Statement::Return(_), _))) {
            let last = lines.last().unwrap_or(given);
            return Err(self.error(last, format!("the forward of {type_name} does not end with a return")));
        }
        Ok(Composite { type_name: type_name.to_owned(), inputs, modules, forward, parameters })
    }

    pub(super) fn module(&self, v: &Spanned, scope: &Scope, depth: usize) -> Result<Box<dyn Module>, TraceError> {
        if depth > 64 {
            return Err(self.error(v, "modules are nested too deeply").with_hint("does a class contain itself?"));
        }
        let none = Vec::new();
        let (type_name, given) = match &v.value {
            Json::String(s) => (s.clone(), &none),
            Json::Array(items) => {
                return Ok(Box::new(self.sequence(items, scope, depth)?));
            }
            Json::Object(members) => match members.iter().find(|(n, _)| n == "type") {
                Some((_, ty)) => (self.string(ty)?, members),
                None => return Err(self.error(v, "the member `type` is missing")),
            },
            other => return Err(self.error(v, format!("expected a module, found {}", other.kind()))),
        };
        let made = || {
            // Hyper-parameters with `$name` replaced.
            let mut values = Vec::with_capacity(given.len());
            for (name, value) in given.iter().filter(|(n, _)| n != "type") {
                values.push((name.as_str(), Spanned { offset: value.offset, value: self.substitute(value, scope)? }));
            }
            match self.classes.iter().find(|(n, _)| *n == type_name) {
                Some((name, class)) => self.instance(v, name, class, values, depth),
                None => leaf::build(self, v, &type_name, values),
            }
        };
        made().map_err(|e: TraceError| e.in_module("", &type_name))
    }

    /// A `Sequential` of modules.
    pub(super) fn sequence(&self, items: &[Spanned], scope: &Scope, depth: usize) -> Result<Sequential, TraceError> {
        let make = |(i, m): (usize, &Spanned)| self.module(m, scope, depth + 1).map_err(|e| e.inside(&i.to_string()));
        Ok(Sequential { modules: items.iter().enumerate().map(make).collect::<Result<_, _>>()? })
    }

    fn substitute(&self, v: &Spanned, scope: &Scope) -> Result<Json, TraceError> {
        Ok(match &v.value {
            Json::String(s) if s.starts_with('$') => {
                let Some(value) = scope.get(&s[1..]) else {
                    return Err(self.error(v, format!("`{s}` is no parameter of the class")));
                };
                value.clone()
            }
            Json::Array(items) => Json::Array(
                items
                    .iter()
                    .map(|i| Ok(Spanned { offset: i.offset, value: self.substitute(i, scope)? }))
                    .collect::<Result<_, TraceError>>()?,
            ),
            Json::Object(members) => Json::Object(
                members
                    .iter()
                    .map(|(n, m)| Ok((n.clone(), Spanned { offset: m.offset, value: self.substitute(m, scope)? })))
                    .collect::<Result<_, TraceError>>()?,
            ),
            other => other.clone(),
        })
    }

    fn instance(
        &self,
        at: &Spanned,
        name: &str,
        class: &Spanned,
        values: Vec<(&str, Spanned)>,
        depth: usize,
    ) -> Result<Box<dyn Module>, TraceError> {
        let members = self.object(class, &["parameters", "inputs", "modules", "forward"])?;
        let declared = members.get("parameters").map(|p| self.members(p)).transpose()?.unwrap_or_default();
        let mut scope = Scope::new();
        for (parameter, default) in declared {
            let value = values.iter().find(|(n, _)| n == parameter).map(|(_, v)| &v.value).unwrap_or(&default.value);
            if matches!(value, Json::Null) {
                return Err(self.error(at, format!("{name} needs `{parameter}`")));
            }
            scope.insert(parameter.clone(), value.clone());
        }
        if let Some((unknown, v)) = values.iter().find(|(n, _)| !scope.contains_key(*n)) {
            let known: Vec<_> = declared.iter().map(|(n, _)| n.as_str()).collect();
            return Err(self
                .error(v, format!("{name} has no `{unknown}`"))
                .with_hint(format!("it has: {}", known.join(", "))));
        }
        let inputs = match members.get("inputs") {
            Some(v) => self.names(v)?,
            None => vec!["x".to_owned()],
        };
        Ok(Box::new(self.composite(name, class, &members, inputs, scope, depth)?))
    }
}

pub(super) fn integer(v: &Json) -> Option<i64> {
    match v {
        Json::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
        _ => None,
    }
}

impl Module for Composite {
    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn children(&self) -> Vec<(String, &dyn Module)> {
        self.modules.iter().map(|(name, module)| (name.clone(), &**module)).collect()
    }

    fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
        if inputs.len() != self.inputs.len() {
            return Err(TraceError::new(format!(
                "it takes {} inputs ({}), {} given",
                self.inputs.len(),
                self.inputs.join(", "),
                inputs.len()
            )));
        }
        let mut values: HashMap<&str, Proxy> =
            self.inputs.iter().map(String::as_str).zip(inputs.iter().copied()).collect();
        for (statement, start) in &self.forward {
            match statement {
                Statement::Return(results) => {
                    if let [Expr { kind: ExprKind::Call { .. }, .. }] = &results[..] {
                        return self.eval(t, &results[0], &values, *start);
                    }
                    return results.iter().map(|e| self.eval1(t, e, &values, *start)).collect();
                }
                Statement::Assign(names, value) => {
                    let results = self.eval(t, value, &values, *start)?;
                    // A module with more outputs than wanted gives its first.
                    if results.len() < names.len() || (names.len() > 1 && results.len() > names.len()) {
                        let message = format!("{} values for {} names", results.len(), names.len());
                        return Err(TraceError::new(message).at((start.0, start.1 + value.column)));
                    }
                    values.extend(names.iter().map(String::as_str).zip(results));
                }
            }
        }
        Err(TraceError::new("forward ends without a return"))
    }
}

impl Composite {
    fn eval1(
        &self,
        t: &mut Tracer,
        e: &Expr,
        values: &HashMap<&str, Proxy>,
        start: (usize, usize),
    ) -> Result<Proxy, TraceError> {
        first(self.eval(t, e, values, start)?, "the expression").map_err(|e| e.at(start))
    }

    fn eval(
        &self,
        t: &mut Tracer,
        e: &Expr,
        values: &HashMap<&str, Proxy>,
        start: (usize, usize),
    ) -> Result<Vec<Proxy>, TraceError> {
        let here = (start.0, start.1 + e.column);
        let fail = |message: String| TraceError::new(message).at(here);
        match &e.kind {
            ExprKind::Name(name) => {
                match values.get(name.as_str()) {
                    Some(v) => Ok(vec![*v]),
                    None => Err(fail(format!("there is no value `{name}`"))
                        .with_hint("assign it before, or call it: `name(x)`")),
                }
            }
            ExprKind::Number(v) => Ok(vec![t.scalar(*v as f32)]),
            ExprKind::Call { callee, args, attrs } => {
                let args = args.iter().map(|a| self.eval1(t, a, values, start)).collect::<Result<Vec<_>, _>>()?;
                if let Some((name, module)) =
                    self.modules.iter().find(|(n, _)| n == callee.strip_prefix("self.").unwrap_or(callee))
                {
                    if let Some((attr, _)) = attrs.first() {
                        return Err(fail(format!("`{callee}` is a module, it takes no `{attr}` here")));
                    }
                    return t.module(name, module.as_ref(), &args).map_err(|e| e.at(here));
                }
                if let Some((name, method)) = self.functional(callee) {
                    let call = self
                        .attributes(method.op(), attrs)
                        .and_then(|attrs| t.module(name, &FloatFunctionalCall { method, attrs }, &args));
                    return call.map_err(|e| e.at(here));
                }
                let Some(op) = quantc_ops::lookup(callee) else {
                    let modules: Vec<_> = self.modules.iter().map(|(n, _)| n.as_str()).collect();
                    let operators = quantc_ops::operators().map(|op| op.name());
                    let hint = suggest(callee, modules.iter().copied().chain(operators)).unwrap_or_else(|| {
                        format!("submodules here: {}; `quantc ops` lists the operators", modules.join(", "))
                    });
                    return Err(fail(format!("there is no submodule or operator `{callee}`")).with_hint(hint));
                };
                let given = self.attributes(op.name(), attrs).map_err(|e| e.at(here))?;
                t.call(callee, &args, given).map_err(|e| e.at(here))
            }
        }
    }

    /// The module and the method of a call of a `FloatFunctional`'s method.
    fn functional(&self, callee: &str) -> Option<(&str, Method)> {
        let (module, method) = callee.strip_prefix("self.").unwrap_or(callee).rsplit_once('.')?;
        let (name, module) = self.modules.iter().find(|(n, _)| n == module)?;
        (module.type_name() == FloatFunctional.type_name()).then_some(())?;
        Some((name, Method::ALL.iter().copied().find(|m| m.name() == method)?))
    }

    /// The attributes of a call, as the operator wants them.
    fn attributes(&self, op: &str, attrs: &[(String, Literal)]) -> Result<Attrs, TraceError> {
        let fail = |message: String| TraceError::new(message);
        let mut given = Attrs::new();
        for (name, literal) in attrs {
            let specs = quantc_ops::lookup(op).map_or(&[][..], |op| op.signature().attrs);
            let Some(spec) = specs.iter().find(|s| s.name == name) else {
                let known: Vec<_> = specs.iter().map(|s| s.name).collect();
                return Err(
                    fail(format!("{op} has no attribute `{name}`")).with_hint(format!("it has: {}", known.join(", ")))
                );
            };
            let value = self.literal(literal, &spec.default);
            given.set(
                spec.name,
                value.ok_or_else(|| {
                    fail(format!("attribute `{name}` of {op} must be {}", with_article(spec.default.kind())))
                })?,
            );
        }
        Ok(given)
    }

    /// The attribute's value as the kind that the operator wants.
    fn literal(&self, literal: &Literal, wanted: &AttrDefault) -> Option<Attr> {
        let floats = |items: &[f64]| Attr::from(items.iter().map(|v| *v as f32).collect::<Vec<f32>>());
        let is_float = matches!(wanted, AttrDefault::Float(_) | AttrDefault::RequiredFloat);
        let is_floats = matches!(wanted, AttrDefault::Floats(_) | AttrDefault::RequiredFloats);
        let value = match literal {
            Literal::Parameter(name) => match self.parameters.get(name)? {
                Json::Bool(v) => Attr::from(*v),
                Json::String(v) => return self.literal(&Literal::Word(v.clone()), wanted),
                Json::Number(v) if is_float => Attr::from(*v as f32),
                number @ Json::Number(_) => Attr::from(integer(number)?),
                Json::Array(items) => {
                    Attr::from(items.iter().map(|i| integer(&i.value)).collect::<Option<Vec<i64>>>()?)
                }
                _ => return None,
            },
            Literal::Int(v) if is_float => Attr::from(*v as f32),
            Literal::Int(v) => Attr::from(*v),
            Literal::Float(v) => Attr::from(*v as f32),
            Literal::Bool(v) => Attr::from(*v),
            Literal::Word(v) => match v.parse::<DType>() {
                Ok(dtype) if matches!(wanted, AttrDefault::DType(_) | AttrDefault::RequiredDType) => Attr::from(dtype),
                _ => Attr::from(v.as_str()),
            },
            Literal::List(items) if is_floats => {
                let number = |l: &Literal| match l {
                    Literal::Int(v) => Some(*v as f64),
                    Literal::Float(v) => Some(*v),
                    _ => None,
                };
                floats(&items.iter().map(number).collect::<Option<Vec<_>>>()?)
            }
            Literal::List(items) => {
                let int = |l: &Literal| match l {
                    Literal::Int(v) => Some(*v),
                    Literal::Parameter(name) => integer(self.parameters.get(name)?),
                    _ => None,
                };
                Attr::from(items.iter().map(int).collect::<Option<Vec<i64>>>()?)
            }
        };
        wanted.accepts(&value).then_some(value)
    }
}
