//! Expressions of conditions and templates: facts about matched values, attributes, arithmetic.

use std::sync::Arc;

use quantc_ops::{Attr, AttrSpec, Float};
use quantc_tensor::{Dim, Shape, round};

use crate::ast::VarId;
use crate::in_range::in_range;
use crate::matcher::{Binding, Bindings, Host};

/// An expression. It has a value or none: an absent optional attribute, an unknown size. A condition holds only if its value
/// is `true`.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A literal.
    Literal(Attr),
    /// A variable bound to an attribute.
    Field(VarId),
    /// `(attr ?record name)`, the default if it was not given.
    Attr(VarId, Arc<str>),
    /// A variable bound to a value, as the argument of a function that asks about it.
    Value(VarId),
    /// A function call.
    Call(&'static Function, Vec<Expr>),
}

impl Expr {
    /// Calls `f` for each variable.
    pub(crate) fn variables(&self, f: &mut dyn FnMut(VarId)) {
        match self {
            Expr::Literal(_) => {}
            Expr::Field(v) | Expr::Value(v) | Expr::Attr(v, _) => f(*v),
            Expr::Call(_, args) => args.iter().for_each(|a| a.variables(f)),
        }
    }
}

/// What kind of value an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// An integer or a real number.
    Number,
    /// A string.
    Text,
    /// An element type.
    DType,
    /// A list of numbers.
    List,
    /// In a signature: a number or a list. No expression has it.
    NumberOrList,
    /// In a signature: one and the same for every argument and result that says so. No expression has it.
    Same,
}

impl Type {
    /// Its name in messages and in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "a truth value",
            Type::Number => "a number",
            Type::Text => "a string",
            Type::DType => "a dtype",
            Type::List => "a list",
            Type::NumberOrList => "a number or list",
            Type::Same => "any",
        }
    }

    /// Whether a value of type `given` may stand where this one is declared.
    pub fn accepts(self, given: Type) -> bool {
        match self {
            Type::Same => true,
            Type::NumberOrList => matches!(given, Type::Number | Type::List),
            _ => self == given,
        }
    }

    /// The type of a literal or attribute value.
    pub fn of(value: &Attr) -> Type {
        match value {
            Attr::Int(_) | Attr::Float(_) => Type::Number,
            Attr::Bool(_) => Type::Bool,
            Attr::Str(_) => Type::Text,
            Attr::DType(_) => Type::DType,
            Attr::Ints(_) | Attr::Floats(_) => Type::List,
        }
    }

    /// The type of an operator's attribute.
    pub fn of_attribute(spec: &AttrSpec) -> Type {
        use quantc_ops::AttrDefault as D;
        match spec.default {
            D::Int(_) | D::RequiredInt | D::OptionalInt | D::Float(_) | D::RequiredFloat => Type::Number,
            D::Bool(_) => Type::Bool,
            D::Str(..) | D::RequiredStr => Type::Text,
            D::DType(_) | D::RequiredDType => Type::DType,
            D::Ints(_) | D::RequiredInts | D::OptionalInts | D::Floats(_) | D::RequiredFloats => Type::List,
        }
    }
}

/// What an argument of a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A variable bound to a value.
    Value,
    /// An expression of this type.
    Expr(Type),
    /// An expression over repeated variables, evaluated once per repetition, or a repeated variable itself.
    Each(Type),
}

/// A function of the expression language.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Kinds of its arguments; the last one repeats if `variadic`.
    pub args: &'static [Arg],
    /// Whether the last argument may come any number of times.
    pub variadic: bool,
    /// What it gives.
    pub result: Type,
    /// One sentence.
    pub doc: &'static str,
}

const fn function(name: &'static str, args: &'static [Arg], result: Type, doc: &'static str) -> Function {
    Function { name, args, variadic: false, result, doc }
}

const fn variadic(name: &'static str, args: &'static [Arg], result: Type, doc: &'static str) -> Function {
    Function { name, args, variadic: true, result, doc }
}

/// Every function. `attr` is built in: `(attr ?record name)`.
pub static FUNCTIONS: &[Function] = {
    use Arg::Value as V;
    use Type::{Bool, DType, List, Number, NumberOrList, Same};
    const B: Arg = Arg::Expr(Bool);
    const N: Arg = Arg::Expr(Number);
    const D: Arg = Arg::Expr(DType);
    const L: Arg = Arg::Expr(List);
    const S: Arg = Arg::Expr(Same);
    &[
        function("constant", &[V], Bool, "whether the value is computed from parameters alone"),
        function("present", &[V], Bool, "whether the optional input was given"),
        function("scalar", &[V], Number, "the value of a constant of one element"),
        function("ints", &[V], List, "the elements of a constant integer tensor"),
        function("dtype", &[V], DType, "the element type"),
        function("rank", &[V], Number, "the number of dimensions"),
        function("shape", &[V], List, "the sizes, if every one is known"),
        function("dim", &[V, N], Number, "one size, if it is known; negative counts from the end"),
        function("numel", &[V], Number, "the number of elements, if it is known"),
        function("same-type", &[V, V], Bool, "whether two values surely have the same element type and shape"),
        function(
            "keeps",
            &[V, L, N],
            Bool,
            "whether a reshape of the value to this shape surely keeps so many of its first dimensions, known or not",
        ),
        function(
            "covers",
            &[V, L],
            Bool,
            "whether the value broadcast with this shape is surely the value: each size is 1, -1 or the value's own",
        ),
        function(
            "in-range",
            &[V, N, N],
            Bool,
            "whether every integer of the value surely lies between the two: its element type has no others, the call that gives it \
             clamps to these `quant_min` and `quant_max`, or only moves elements that lie there",
        ),
        variadic("=", &[S, S], Bool, "whether all are equal; an integer equals the same real number"),
        function("/=", &[S, S], Bool, "whether they differ"),
        function("<", &[N, N], Bool, "less"),
        function("<=", &[N, N], Bool, "less or equal"),
        function(">", &[N, N], Bool, "greater"),
        function(">=", &[N, N], Bool, "greater or equal"),
        function("near", &[N, N], Bool, "whether they are equal within a relative 1e-6"),
        variadic("in", &[S, S], Bool, "whether the first equals one of the others"),
        variadic("and", &[B], Bool, "whether all hold"),
        variadic("or", &[B], Bool, "whether one holds"),
        function("not", &[B], Bool, "whether it does not hold"),
        function(
            "given",
            &[S],
            Bool,
            "whether the expression has a value: an optional attribute was given, a size is known",
        ),
        function("else", &[S, S], Same, "the first, or the second if the first has no value"),
        function("except", &[S, S], Same, "the first, or no value if it equals the second"),
        variadic("+", &[N, N], Number, "sum"),
        function("-", &[N, N], Number, "difference"),
        variadic("*", &[N, N], Number, "product"),
        function("/", &[N, N], Number, "quotient; of integers only if there is no remainder"),
        variadic("min", &[N, N], Number, "smallest"),
        variadic("max", &[N, N], Number, "largest"),
        function("lowest", &[D], Number, "the lowest value of a quantized element type"),
        function("highest", &[D], Number, "the highest value of a quantized element type"),
        function("quantize", &[N, N, N, D], Number, "a real number quantized: number, scale, zero point, element type"),
        function("has", &[L, N], Bool, "whether a list has an element"),
        function("len", &[L], Number, "the length of a list"),
        function("at", &[L, N], Number, "an element of a list, counted from 0"),
        function("drop", &[L, N], List, "a list without so many of its first elements"),
        function("compose", &[L, L], List, "the permutation that applies the first, then the second"),
        variadic("concat", &[Arg::Expr(NumberOrList)], List, "lists and numbers joined to one list"),
        function("count", &[Arg::Each(Same)], Number, "the number of repetitions"),
        function("list", &[Arg::Each(Number)], List, "the values of all repetitions"),
        function("all", &[Arg::Each(Bool)], Bool, "whether it holds for every repetition"),
        function("first", &[Arg::Each(Same)], Same, "the value of the first repetition"),
    ]
};

/// The function of that name.
pub fn find_function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

/// Bindings an expression is evaluated under.
pub struct Env<'a, H: Host> {
    /// What the values belong to.
    pub host: &'a H,
    /// The bindings.
    pub bindings: &'a Bindings<H>,
    /// Which repetition repeated variables stand for.
    pub repetition: Option<usize>,
}

impl<H: Host> Clone for Env<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<H: Host> Copy for Env<'_, H> {}

impl<'a, H: Host> Env<'a, H> {
    /// Bindings outside any repetition.
    pub fn new(host: &'a H, bindings: &'a Bindings<H>) -> Env<'a, H> {
        Env { host, bindings, repetition: None }
    }

    /// The same for one repetition.
    pub fn at(self, repetition: usize) -> Env<'a, H> {
        Env { repetition: Some(repetition), ..self }
    }

    /// What a variable is bound to.
    pub fn binding(&self, var: VarId) -> Option<&'a Binding<H>> {
        match self.bindings.get(var)? {
            Binding::Seq(items) => items.get(self.repetition?),
            other => Some(other),
        }
    }

    fn value(&self, expr: &Expr) -> Option<H::Value> {
        let Expr::Value(var) = expr else { return None };
        match self.binding(*var)? {
            Binding::Value(v) => Some(*v),
            _ => None,
        }
    }

    /// Number of repetitions of the repeated variables in an expression.
    fn repetitions(&self, expr: &Expr) -> usize {
        match expr {
            Expr::Field(var) | Expr::Attr(var, _) | Expr::Value(var) => self.var_repetitions(*var),
            Expr::Call(_, args) => args.iter().map(|a| self.repetitions(a)).max().unwrap_or(0),
            Expr::Literal(_) => 0,
        }
    }

    /// Number of repetitions of a variable, 0 if it is not repeated.
    pub fn var_repetitions(&self, var: VarId) -> usize {
        match self.bindings.get(var) {
            Some(Binding::Seq(items)) => items.len(),
            _ => 0,
        }
    }

    /// Whether a condition holds.
    pub fn holds(&self, condition: &Expr) -> bool {
        self.eval(condition) == Some(Attr::Bool(true))
    }

    /// The value of an expression.
    pub fn eval(&self, expr: &Expr) -> Option<Attr> {
        match expr {
            Expr::Literal(a) => Some(a.clone()),
            Expr::Field(var) => match self.binding(*var)? {
                Binding::Field(a) => a.clone(),
                _ => None,
            },
            Expr::Attr(var, name) => match self.binding(*var)? {
                Binding::Record(node) => {
                    let (op, attrs) = self.host.call(*node);
                    op.signature().attr(attrs, name)
                }
                _ => None,
            },
            Expr::Value(_) => None,
            Expr::Call(function, args) => self.call(function.name, args),
        }
    }

    fn call(&self, name: &str, args: &[Expr]) -> Option<Attr> {
        match name {
            "constant" => self.value(&args[0]).map(|v| Attr::from(self.host.is_constant(v))),
            "present" => Some(Attr::from(self.value(&args[0]).is_some())),
            "scalar" => self.host.constant(self.value(&args[0])?)?.as_scalar_f32().map(Attr::from),
            "dtype" => Some(Attr::from(self.host.ty(self.value(&args[0])?)?.dtype)),
            "rank" => Some(Attr::from(self.host.ty(self.value(&args[0])?)?.shape.rank())),
            "ints" => {
                let tensor = self.host.constant(self.value(&args[0])?)?;
                tensor.dtype().is_int().then(|| Attr::Ints(tensor.to_i64_vec()))
            }
            "shape" => {
                let sizes = self.host.ty(self.value(&args[0])?)?.shape.to_known()?;
                Some(Attr::Ints(sizes.into_iter().map(|n| n as i64).collect()))
            }
            "dim" => {
                let dims = self.host.ty(self.value(&args[0])?)?.shape.dims();
                let i = int(&self.eval(&args[1])?)?;
                let i = if i < 0 { i + dims.len() as i64 } else { i };
                dims.get(usize::try_from(i).ok()?)?.known().map(Attr::from)
            }
            "numel" => self.host.ty(self.value(&args[0])?)?.shape.numel().map(Attr::from),
            "same-type" => {
                let (a, b) = (self.value(&args[0])?, self.value(&args[1])?);
                let (a, b) = (self.host.ty(a)?, self.host.ty(b)?);
                let unknown = a.shape.dims().contains(&Dim::Unknown);
                Some(Attr::from(a == b && !unknown))
            }
            "keeps" => {
                let shape = &self.host.ty(self.value(&args[0])?)?.shape;
                let count = usize::try_from(int(&self.eval(&args[2])?)?).ok()?;
                keeps(shape, &ints(self.eval(&args[1])?)?, count).map(Attr::from)
            }
            "covers" => {
                let shape = &self.host.ty(self.value(&args[0])?)?.shape;
                Some(Attr::from(covers(shape, &ints(self.eval(&args[1])?)?)))
            }
            "in-range" => {
                let (low, high) = (int(&self.eval(&args[1])?)?, int(&self.eval(&args[2])?)?);
                Some(Attr::from(in_range(self.host, self.value(&args[0])?, low, high)))
            }
            "and" => Some(Attr::from(args.iter().all(|a| self.holds(a)))),
            "or" => Some(Attr::from(args.iter().any(|a| self.holds(a)))),
            "not" => match self.eval(&args[0])? {
                Attr::Bool(b) => Some(Attr::Bool(!b)),
                _ => None,
            },
            "given" => Some(Attr::from(self.eval(&args[0]).is_some())),
            "else" => self.eval(&args[0]).or_else(|| self.eval(&args[1])),
            "count" => Some(Attr::from(self.repetitions(&args[0]))),
            "first" => self.at(0).eval(&args[0]),
            "all" => {
                let n = self.repetitions(&args[0]);
                Some(Attr::from((0..n).all(|i| self.at(i).holds(&args[0]))))
            }
            "list" => {
                let n = self.repetitions(&args[0]);
                list((0..n).map(|i| self.at(i).eval(&args[0])).collect::<Option<Vec<_>>>()?)
            }
            "concat" => {
                let mut items = Vec::new();
                for arg in args {
                    match self.eval(arg)? {
                        Attr::Ints(v) => items.extend(v.into_iter().map(Attr::Int)),
                        Attr::Floats(v) => items.extend(v.into_iter().map(Attr::Float)),
                        other => items.push(other),
                    }
                }
                list(items)
            }
            _ => strict(name, &args.iter().map(|a| self.eval(a)).collect::<Option<Vec<_>>>()?),
        }
    }
}

/// Functions that need all their arguments.
fn strict(name: &str, args: &[Attr]) -> Option<Attr> {
    match name {
        "=" => Some(Attr::from(args[1..].iter().all(|a| equal(&args[0], a)))),
        "/=" => Some(Attr::from(!equal(&args[0], &args[1]))),
        "in" => Some(Attr::from(args[1..].iter().any(|a| equal(&args[0], a)))),
        "<" | "<=" | ">" | ">=" | "near" => {
            let (a, b) = (real(&args[0])?, real(&args[1])?);
            Some(Attr::from(match name {
                "<" => a < b,
                "<=" => a <= b,
                ">" => a > b,
                ">=" => a >= b,
                _ => near(a, b),
            }))
        }
        "+" => fold(args, i64::checked_add, |a, b| a + b),
        "-" => fold(args, i64::checked_sub, |a, b| a - b),
        "*" => fold(args, i64::checked_mul, |a, b| a * b),
        "/" => fold(args, |a, b| if b != 0 && a % b == 0 { Some(a / b) } else { None }, |a, b| a / b),
        "min" => fold(args, |a, b| Some(a.min(b)), f32::min),
        "max" => fold(args, |a, b| Some(a.max(b)), f32::max),
        "except" => (!equal(&args[0], &args[1])).then(|| args[0].clone()),
        "lowest" => range(&args[0]).map(|r| Attr::from(r.0)),
        "highest" => range(&args[0]).map(|r| Attr::from(r.1)),
        "quantize" => {
            let (x, scale, (lo, hi)) = (real(&args[0])?, real(&args[1])?, range(&args[3])?);
            let zero_point = i32::try_from(int(&args[2])?).ok()?;
            Some(Attr::from(round::quantize(x, 1.0 / scale, zero_point, lo, hi)))
        }
        "has" => match &args[0] {
            Attr::Ints(v) => Some(Attr::from(int(&args[1]).is_some_and(|i| v.contains(&i)))),
            Attr::Floats(v) => Some(Attr::from(real(&args[1]).is_some_and(|r| v.iter().any(|f| f.0 == r)))),
            _ => None,
        },
        "len" => match &args[0] {
            Attr::Ints(v) => Some(Attr::from(v.len())),
            Attr::Floats(v) => Some(Attr::from(v.len())),
            _ => None,
        },
        "at" => {
            let i = usize::try_from(int(&args[1])?).ok()?;
            match &args[0] {
                Attr::Ints(v) => v.get(i).map(|v| Attr::Int(*v)),
                Attr::Floats(v) => v.get(i).map(|v| Attr::Float(*v)),
                _ => None,
            }
        }
        "drop" => {
            let from = usize::try_from(int(&args[1])?).ok()?;
            match &args[0] {
                Attr::Ints(v) => v.get(from..).map(|v| Attr::Ints(v.to_vec())),
                Attr::Floats(v) => v.get(from..).map(|v| Attr::Floats(v.to_vec())),
                _ => None,
            }
        }
        "compose" => match (&args[0], &args[1]) {
            (Attr::Ints(first), Attr::Ints(second)) if first.len() == second.len() => second
                .iter()
                .map(|&i| first.get(usize::try_from(i).ok()?).copied())
                .collect::<Option<Vec<i64>>>()
                .map(Attr::Ints),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a reshape to `target` keeps the first `count` dimensions of a shape; `None` if there is no such reshape.
fn keeps(shape: &Shape, target: &[i64], count: usize) -> Option<bool> {
    // Each unknown size is one and the same, whatever it is: under names of their own they cancel like symbols.
    let named = |(i, dim): (usize, &Dim)| match dim {
        Dim::Unknown => Dim::symbol(&format!("\0{i}")),
        dim => dim.clone(),
    };
    let shape: Shape = shape.dims().iter().enumerate().map(named).collect();
    let result = quantc_ops::reshape::reshaped(&shape, target, false).ok()?;
    let (from, to) = (shape.dims().get(..count)?, result.dims().get(..count)?);
    Some(from == to)
}

/// Whether a value of this shape, broadcast with `target`, is surely the value.
fn covers(shape: &Shape, target: &[i64]) -> bool {
    let fits = |(dim, size): (&Dim, &i64)| matches!(size, 1 | -1) || dim.known().is_some_and(|n| n as i64 == *size);
    target.len() <= shape.rank() && shape.dims().iter().rev().zip(target.iter().rev()).all(fits)
}

/// Whether two real numbers are equal within a relative 1e-6.
pub(crate) fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

fn range(a: &Attr) -> Option<(i32, i32)> {
    match a {
        Attr::DType(d) => d.quantized_range(),
        _ => None,
    }
}

fn int(a: &Attr) -> Option<i64> {
    match a {
        Attr::Int(v) => Some(*v),
        _ => None,
    }
}

fn ints(a: Attr) -> Option<Vec<i64>> {
    match a {
        Attr::Ints(v) => Some(v),
        _ => None,
    }
}

fn real(a: &Attr) -> Option<f32> {
    match a {
        Attr::Int(v) => Some(*v as f32),
        Attr::Float(v) => Some(v.0),
        _ => None,
    }
}

fn equal(a: &Attr, b: &Attr) -> bool {
    match (a, b) {
        (Attr::Int(_), Attr::Float(_)) | (Attr::Float(_), Attr::Int(_)) => real(a) == real(b),
        (Attr::Float(a), Attr::Float(b)) => a.0 == b.0,
        _ => a == b,
    }
}

fn fold(args: &[Attr], ints: impl Fn(i64, i64) -> Option<i64>, reals: impl Fn(f32, f32) -> f32) -> Option<Attr> {
    if let Some(all) = args.iter().map(int).collect::<Option<Vec<_>>>() {
        return all[1..].iter().try_fold(all[0], |a, b| ints(a, *b)).map(Attr::Int);
    }
    let all = args.iter().map(real).collect::<Option<Vec<_>>>()?;
    Some(Attr::from(all[1..].iter().fold(all[0], |a, b| reals(a, *b))))
}

fn list(items: Vec<Attr>) -> Option<Attr> {
    if let Some(ints) = items.iter().map(int).collect::<Option<Vec<_>>>() {
        return Some(Attr::Ints(ints));
    }
    items.iter().map(|a| real(a).map(Float)).collect::<Option<Vec<_>>>().map(Attr::Floats)
}
