//! Entries of `configs`, read and checked.

use quantc_ops::lookup;
use serde_json::Value as Json;

use super::OBSERVATION_TYPES;
use super::dtypes::{self, Read};
use super::read::{Fields, FormError};
use super::tree::{Node, operands};
use crate::backend::ObservationType;
use crate::torch_names::{Meaning, TorchName, find, suggest};

/// One entry.
pub(super) struct Entry {
    /// Its pattern as the document has it: entries with the same one replace each other.
    pub(super) pattern: String,
    /// The pattern in words.
    pub(super) shown: String,
    /// The tree of operators, or why there is none.
    pub(super) tree: Result<Tree, Absent>,
    /// How the output is observed.
    pub(super) observed: ObservationType,
    /// How it is with a number as one of two operands.
    pub(super) with_number: ObservationType,
    /// Supported types, as PyTorch lists them, and those that quantc has not.
    pub(super) dtypes: Vec<Read>,
}

/// What an entry's pattern means here.
pub(super) struct Tree {
    /// The calls, batch norms behind layers folded.
    pub(super) node: Node,
    /// Whether the two operands of a call with another below it may be in either order.
    pub(super) either: bool,
    /// The numbers of dimensions that it is for; empty for any.
    pub(super) ranks: &'static [usize],
    /// An attribute that the bottom call must have.
    pub(super) attribute: Option<(&'static str, i64)>,
    /// Whether a batch norm was folded.
    pub(super) folded: bool,
}

/// Why a pattern means no tree.
pub(super) enum Absent {
    /// It does nothing, and is gone before patterns are matched.
    Nothing,
    /// There is no such operator, or no such pattern.
    Because(String),
}

/// Keys of an entry that say how PyTorch builds modules: no pattern of quantc's needs them.
const MODULE_KEYS: &[&str] = &[
    "root_module",
    "qat_module",
    "reference_quantized_module_for_root",
    "fused_module",
    "fuser_method",
    "root_node_getter",
    "extra_inputs_getter",
];

const KEYS: &[&str] = &[
    "pattern",
    "pattern_complex_format",
    "observation_type",
    "dtype_configs",
    "num_tensor_args_to_observation_type",
    "input_type_to_index",
];

impl Entry {
    /// Reads the entry at a place.
    pub(super) fn read(at: &str, value: &Json) -> Result<Entry, FormError> {
        let fields = Fields::new(at, value)?;
        let keys: Vec<&str> = KEYS.iter().chain(MODULE_KEYS).copied().collect();
        fields.only(&keys)?;
        let (pattern, parts) = match (fields.get("pattern"), fields.get("pattern_complex_format")) {
            (Some((at, pattern)), None) => (pattern, Parts::forward(&at, pattern)?),
            (None, Some((at, pattern))) => (pattern, Parts::complex(&at, pattern)?),
            _ => return Err(FormError::new(at, "has either `pattern` or `pattern_complex_format`")),
        };
        let observed = match fields.get("observation_type") {
            Some((at, value)) => observation_type(&at, value)?,
            None => ObservationType::OutputUseDifferentObserverAsInput,
        };
        let by_count = fields.get("num_tensor_args_to_observation_type");
        let count = |key: &str| match &by_count {
            None => Ok(observed),
            Some((at, value)) => {
                let counts = Fields::new(at, value)?;
                counts.only(&["0", "1", "2"])?;
                counts.get(key).map_or(Ok(observed), |(at, value)| observation_type(&at, value))
            }
        };
        let (tensors, with_number) = (count("2")?, count("1")?);
        if let Some((at, value)) = fields.get("input_type_to_index") {
            check_indices(&at, value, &parts)?;
        }
        let dtypes = fields.list("dtype_configs")?.unwrap_or_default().iter().enumerate();
        let dtypes = dtypes.map(|(i, d)| dtypes::from_json(&format!("{at}.dtype_configs[{i}]"), d));
        Ok(Entry {
            pattern: pattern.to_string(),
            shown: parts.shown(),
            dtypes: dtypes.collect::<Result<_, _>>()?,
            tree: parts.tree(),
            observed: tensors,
            with_number,
        })
    }
}

fn observation_type(at: &str, value: &Json) -> Result<ObservationType, FormError> {
    let known = || OBSERVATION_TYPES.iter().map(|o| o.0);
    let Some(name) = value.as_str() else {
        let names: Vec<&str> = known().collect();
        return Err(FormError::new(at, "must be a name").hint(names.join(", ")));
    };
    // `str()` of the Python object has the class before it.
    let plain = name.strip_prefix("ObservationType.").unwrap_or(name);
    let found = OBSERVATION_TYPES.iter().find(|o| o.0 == plain);
    found
        .map(|o| o.1)
        .ok_or_else(|| FormError::new(at, format!("there is no observation type `{name}`")).nearest(plain, known()))
}

/// Positions of weight and bias: those of the function, which quantc knows.
fn check_indices(at: &str, value: &Json, parts: &Parts) -> Result<(), FormError> {
    let fields = Fields::new(at, value)?;
    fields.only(&["weight", "bias"])?;
    let Parts::Forward(names) = parts else { return Ok(()) };
    let Some((name, positions)) = names.iter().find_map(|n| Some((n.name, n.parameters?))) else { return Ok(()) };
    for (key, position) in ["weight", "bias"].into_iter().zip(positions) {
        if fields.int(key)?.is_some_and(|given| usize::try_from(given) != Ok(position)) {
            let place = fields.place(key);
            return Err(FormError::new(&place, format!("the {key} of {name} is its argument {position}")));
        }
    }
    Ok(())
}

/// A pattern's names.
enum Parts {
    /// One name, or a tuple in order of execution.
    Forward(Vec<&'static TorchName>),
    /// Calls before their operands.
    Complex(Complex),
}

enum Complex {
    Any,
    Call(&'static TorchName, Vec<Complex>),
}

fn name(at: &str, value: &Json) -> Result<&'static TorchName, FormError> {
    let Some(text) = value.as_str() else { return Err(FormError::new(at, "must be a name")) };
    find(text).ok_or_else(|| {
        let what = if text.contains('.') { "class or function" } else { "method" };
        let error = FormError::new(at, format!("quantc knows no {what} `{text}` of PyTorch"));
        match suggest(text) {
            Some(best) => error.hint(format!("did you mean `{best}`?")),
            None => error,
        }
    })
}

impl Parts {
    fn forward(at: &str, value: &Json) -> Result<Parts, FormError> {
        let Some(list) = value.as_array() else { return Ok(Parts::Forward(vec![name(at, value)?])) };
        if list.is_empty() {
            return Err(FormError::new(at, "is empty"));
        }
        let names = list.iter().enumerate().map(|(i, part)| name(&format!("{at}[{i}]"), part));
        Ok(Parts::Forward(names.collect::<Result<_, _>>()?))
    }

    fn complex(at: &str, value: &Json) -> Result<Parts, FormError> {
        match Complex::read(at, value)? {
            Complex::Any => Err(FormError::new(at, "matches everything").hint("a call before its operands")),
            call => Ok(Parts::Complex(call)),
        }
    }

    fn shown(&self) -> String {
        match self {
            Parts::Forward(names) => match &names[..] {
                [one] => one.name.to_owned(),
                names => format!("({})", names.iter().map(|n| n.name).collect::<Vec<_>>().join(", ")),
            },
            Parts::Complex(pattern) => pattern.shown(),
        }
    }

    fn tree(&self) -> Result<Tree, Absent> {
        let (node, names) = match self {
            Parts::Forward(names) => (forward(names)?, &names[..]),
            Parts::Complex(pattern) => (pattern.node()?, &[][..]),
        };
        let (node, folded) = node.ok_or(Absent::Nothing)?.folded();
        // A fused module has its operands in whichever order the model has them.
        let either = matches!(names, [name] if !name.is_plain());
        let bottom = node.bottom();
        // A batch norm that is folded, or any other call, is for what the layer is for.
        let named = names.iter().find(|n| matches!(n.meaning, Meaning::Calls([op, ..]) if *op == bottom.op));
        Ok(Tree {
            ranks: named.map_or(&[], |n| n.ranks),
            attribute: named.and_then(|n| n.attribute),
            either,
            folded,
            node,
        })
    }
}

/// The calls of names one behind the other.
fn forward(names: &[&'static TorchName]) -> Result<Option<Node>, Absent> {
    let mut node: Option<Node> = None;
    for name in names {
        let ops = match name.meaning {
            Meaning::Calls(ops) => ops,
            Meaning::Input => continue,
            Meaning::Nothing(why) => return Err(Absent::Because(why.to_owned())),
        };
        for (i, op) in ops.iter().enumerate() {
            if i == 0 && node.is_some() && operands(op) == 2 {
                let why =
                    format!("{} has two operands: a tuple with it in this place never matches in PyTorch", name.name);
                return Err(Absent::Because(why));
            }
            let weight = name.weight.filter(|_| i == 0);
            if weight.is_some() && node.is_some() {
                return Err(Absent::Because(format!("{} is a layer behind another call", name.name)));
            }
            node = Some(Node::new(op, weight).on(node));
        }
    }
    Ok(node)
}

impl Complex {
    fn read(at: &str, value: &Json) -> Result<Complex, FormError> {
        if value.as_str().is_some_and(|v| v.rsplit('.').next() == Some("MatchAllNode")) {
            return Ok(Complex::Any);
        }
        let Some(list) = value.as_array() else { return Ok(Complex::Call(name(at, value)?, Vec::new())) };
        let Some((root, rest)) = list.split_first() else { return Err(FormError::new(at, "is empty")) };
        let root = name(&format!("{at}[0]"), root)?;
        let rest = rest.iter().enumerate().map(|(i, part)| Complex::read(&format!("{at}[{}]", i + 1), part));
        Ok(Complex::Call(root, rest.collect::<Result<_, _>>()?))
    }

    fn shown(&self) -> String {
        match self {
            Complex::Any => "MatchAllNode".to_owned(),
            Complex::Call(name, rest) if rest.is_empty() => name.name.to_owned(),
            Complex::Call(name, rest) => {
                let rest: Vec<String> = rest.iter().map(Complex::shown).collect();
                format!("({}, {})", name.name, rest.join(", "))
            }
        }
    }

    /// The calls; `None` for any value.
    fn node(&self) -> Result<Option<Node>, Absent> {
        let Complex::Call(name, rest) = self else { return Ok(None) };
        let node = forward(&[name])?;
        let Some(mut node) = node else {
            // What does nothing is its operand.
            return rest.first().map_or(Ok(None), Complex::node);
        };
        let inputs = lookup(node.op).map_or(0, |op| op.signature().inputs.len());
        if rest.len() > inputs || (!node.children.is_empty() && !rest.is_empty()) {
            return Err(Absent::Because(format!("{} with {} operands", name.name, rest.len())));
        }
        for (i, operand) in rest.iter().enumerate() {
            node.children.extend(operand.node()?.map(|inner| (i, inner)));
        }
        Ok(Some(node))
    }
}
