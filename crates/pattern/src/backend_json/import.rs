//! A backend from PyTorch's dictionary.

use indexmap::IndexMap;
use quantc_ops::lookup;
use quantc_tensor::DType;
use serde_json::Value as Json;

use super::BackendJsonError;
use super::entry::{Absent, Entry, Tree};
use super::read::{Fields, FormError};
use super::text;
use super::tree::{Node, operands};
use crate::backend::{DTypeConfig, DTypeWithConstraints, ObservationType};
use crate::library::Library;
use crate::parse::unsatisfiable;
use crate::source::Source;

/// A backend that was read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its name.
    pub name: String,
    /// The `.qpat` file.
    pub text: String,
    /// What it says less than the document, or otherwise; the text has it as comments too.
    pub warnings: Vec<String>,
}

/// Makes the `.qpat` text of a backend from a `BackendConfig.to_dict` in JSON, and checks it. `name` replaces the document's.
///
/// # Errors
/// If the document is not of the form, names what quantc does not know (all such mistakes at once), or nothing of it can be run.
pub fn import_backend(json: &str, name: Option<&str>) -> Result<Imported, BackendJsonError> {
    let document: Json = serde_json::from_str(json)?;
    let wrong = |error| BackendJsonError::Form(vec![error]);
    let fields = Fields::new("", &document).map_err(|e| wrong(FormError { at: "the document".to_owned(), ..e }))?;
    fields.only(&["name", "configs"]).map_err(wrong)?;
    let given = fields.string("name").map_err(wrong)?.unwrap_or_default();
    let name = backend_name(name.unwrap_or(given)).map_err(wrong)?;
    // As in PyTorch, a later entry with the same pattern takes the place of an earlier one.
    let (mut entries, mut errors) = (IndexMap::new(), Vec::new());
    for (i, value) in fields.list("configs").map_err(wrong)?.unwrap_or_default().iter().enumerate() {
        match Entry::read(&format!("configs[{i}]"), value) {
            Ok(entry) => {
                entries.insert(entry.pattern.clone(), entry);
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(BackendJsonError::Form(errors));
    }
    let mut groups = Groups::default();
    entries.into_values().for_each(|entry| groups.add(entry));
    let Groups { groups, remarks } = groups.finished();
    if groups.is_empty() {
        let left: Vec<String> = remarks.lines(true).collect();
        let error = FormError::new("configs", "nothing of it is a pattern that quantc can run quantized");
        return Err(wrong(if left.is_empty() { error } else { error.hint(left.join("; ")) }));
    }
    let text = text::backend(&name, &groups, &remarks);
    Library::parse(&[Source::new(&format!("{name}.qpat"), &text)])?;
    Ok(Imported { name, text, warnings: remarks.lines(true).collect() })
}

/// The name as a `.qpat` file can have it.
fn backend_name(name: &str) -> Result<String, FormError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    let message = format!("`{name}` is no name of a backend: a letter, then letters, digits, `-`, `_`, `.`");
    Err(FormError::new("name", message).hint("--name NAME"))
}

/// What there is to say about patterns, by what it is.
#[derive(Default)]
pub(super) struct Remarks(IndexMap<(bool, String), Vec<String>>);

impl Remarks {
    /// Something is said less, or otherwise.
    fn warn(&mut self, what: impl Into<String>, pattern: &str) {
        self.add(true, what.into(), pattern);
    }

    /// Nothing is lost.
    fn note(&mut self, what: impl Into<String>, pattern: &str) {
        self.add(false, what.into(), pattern);
    }

    fn add(&mut self, warning: bool, what: String, pattern: &str) {
        let patterns = self.0.entry((warning, what)).or_default();
        if !patterns.iter().any(|p| p == pattern) {
            patterns.push(pattern.to_owned());
        }
    }

    /// The warnings or the notes, one line each.
    pub(super) fn lines(&self, warnings: bool) -> impl Iterator<Item = String> {
        let wanted = self.0.iter().filter(move |((warning, _), _)| *warning == warnings);
        wanted.map(|((_, what), patterns)| format!("{what}: {}", patterns.join(", ")))
    }
}

/// Entries that are one pattern here.
pub(super) struct Group {
    /// The calls; of a call with another below it, that one is the first operand.
    pub(super) node: Node,
    /// Which orders of the two operands it has: as in `node`, swapped.
    pub(super) orders: [bool; 2],
    /// The numbers of dimensions; empty for any.
    pub(super) ranks: Vec<usize>,
    /// How the output is observed.
    pub(super) observed: ObservationType,
    /// The same with a number as one of two operands.
    pub(super) with_number: ObservationType,
    /// The types.
    pub(super) dtypes: Vec<DTypeConfig>,
    /// An attribute that the bottom call must have.
    pub(super) attribute: Option<(&'static str, i64)>,
    /// PyTorch's patterns.
    pub(super) names: Vec<String>,
    /// Whether an entry has it without a batch norm.
    plain: bool,
}

#[derive(Default)]
struct Groups {
    groups: Vec<Group>,
    remarks: Remarks,
}

impl Groups {
    fn add(&mut self, entry: Entry) {
        let shown = entry.shown.clone();
        let tree = match &entry.tree {
            Ok(tree) => tree,
            Err(Absent::Nothing) => {
                return self.remarks.note("left out, gone before patterns are matched (nothing is lost)", &shown);
            }
            Err(Absent::Because(why)) => return self.remarks.warn(format!("left out, {why}"), &shown),
        };
        if tree.node.path().is_none() || tree.node.path().is_some_and(|p| p.iter().skip(1).any(|n| n.weight.is_some()))
        {
            return self.remarks.warn("left out, quantc imports calls one behind the other only, layers first", &shown);
        }
        let dtypes = self.dtypes(&entry, tree);
        if dtypes.is_empty() {
            return self.remarks.warn("left out, none of its types is left", &shown);
        }
        self.join(entry, dtypes);
    }

    /// The configurations that quantc can have.
    fn dtypes(&mut self, entry: &Entry, tree: &Tree) -> Vec<DTypeConfig> {
        let mut out = Vec::new();
        for read in &entry.dtypes {
            match read
                .clone()
                .map_err(|missing| match missing.as_str() {
                    "torch.float16" | "torch.half" => {
                        "half precision is for everything, or dynamic and for the weights".to_owned()
                    }
                    _ => format!("quantc has no {missing}"),
                })
                .and_then(|c| self.adapted(c, entry, tree))
            {
                // Codes of 4 bits are allowed where those of 8 are.
                Ok(config) if out.iter().any(|known| covers(known, &config)) => {
                    self.remarks.note("a dtype_config is the same as one before it, or narrower", &entry.shown);
                }
                Ok(config) => out.push(config),
                Err(why) => self.remarks.warn(format!("a dtype_config is left out, {why}"), &entry.shown),
            }
        }
        out
    }

    /// A configuration as a pattern of quantc can have it.
    fn adapted(&mut self, mut config: DTypeConfig, entry: &Entry, tree: &Tree) -> Result<DTypeConfig, String> {
        if config.half {
            return Ok(config);
        }
        let bottom = tree.node.bottom();
        let weight = config.weight.as_ref().map(|w| w.dtype);
        match (bottom.weight.is_some(), weight) {
            (true, None) => return Err("it has no weight_dtype, and the layer has a weight".to_owned()),
            (true, Some(_)) => {}
            (false, None) => {}
            (false, Some(DType::F32)) => {
                config.weight = None;
                config.bias = None;
            }
            (false, Some(dtype)) if has_parameters(bottom) => {
                return Err(format!("it has weights of {dtype}, and quantc's {} has real ones", bottom.op));
            }
            (false, Some(_)) => {
                self.remarks.note("weight_dtype has no effect, there is no weight", &entry.shown);
                config.weight = None;
                config.bias = None;
            }
        }
        // PyTorch copies the exact parameters of a fixed output to the input, whose values they say nothing about.
        if let (Some(input), Some(output)) = (&mut config.input, &config.output)
            && (output.scale_exact.is_some() || output.zero_point_exact.is_some())
            && input == output
        {
            (input.scale_exact, input.zero_point_exact) = (None, None);
            self.remarks.note("the parameters of the output are not asked of the input", &entry.shown);
        }
        let fields = [("input", &config.input), ("weight", &config.weight), ("output", &config.output)];
        let unmet = fields.iter().find_map(|(field, c)| Some((field, unsatisfiable(field, c.as_ref()?)?)));
        match unmet {
            Some((field, why)) => Err(format!("{field}_dtype: {why}")),
            None => Ok(config),
        }
    }

    /// Adds an entry to the group that it is one pattern with, or makes one.
    fn join(&mut self, entry: Entry, dtypes: Vec<DTypeConfig>) {
        let Ok(Tree { node, either, ranks, attribute, folded }) = entry.tree else { return };
        let (node, swapped) = match node.mirrored() {
            Some(first) if calls_second(&node) => (first, true),
            _ => (node, false),
        };
        let either = either && node.mirrored().is_some();
        let new = Group {
            orders: if either { [true, true] } else { [!swapped, swapped] },
            ranks: ranks.to_vec(),
            observed: entry.observed,
            with_number: if operands(node.bottom().op) == 2 { entry.with_number } else { entry.observed },
            dtypes,
            attribute,
            names: vec![entry.shown],
            plain: !folded,
            node,
        };
        let Some(i) = self.groups.iter().position(|g| g.meets(&new)) else { return self.groups.push(new) };
        let group = &mut self.groups[i];
        if !group.runs_like(&new) {
            let what = format!(
                "left out, to quantc it is the operator of {}, which is observed otherwise or has other types",
                group.names[0]
            );
            return self.remarks.warn(what, &new.names[0]);
        }
        group.take(new);
    }

    fn finished(mut self) -> Groups {
        // Patterns that differ in the number of dimensions or in the order of operands only are one.
        let mut out: Vec<Group> = Vec::new();
        for new in self.groups {
            match out
                .iter_mut()
                .find(|g| g.node == new.node && g.runs_like(&new) && (g.orders == new.orders || g.ranks == new.ranks))
            {
                Some(group) => group.take(new),
                None => out.push(new),
            }
        }
        for group in out.iter().filter(|g| !g.plain) {
            self.remarks.warn("also run without the batch norm, which is folded into the layer", &group.names[0]);
        }
        Groups { groups: out, remarks: self.remarks }
    }
}

impl Group {
    /// Whether something matches both.
    fn meets(&self, other: &Group) -> bool {
        let orders = (0..2).any(|i| self.orders[i] && other.orders[i]);
        let ranks =
            self.ranks.is_empty() || other.ranks.is_empty() || self.ranks.iter().any(|r| other.ranks.contains(r));
        self.node == other.node && self.attribute == other.attribute && orders && ranks
    }

    fn runs_like(&self, other: &Group) -> bool {
        self.observed == other.observed && self.with_number == other.with_number && self.dtypes == other.dtypes
    }

    fn take(&mut self, other: Group) {
        if self.ranks.is_empty() || other.ranks.is_empty() {
            self.ranks.clear();
        } else {
            self.ranks.extend(other.ranks);
            self.ranks.sort_unstable();
            self.ranks.dedup();
        }
        for (own, theirs) in self.orders.iter_mut().zip(other.orders) {
            *own |= theirs;
        }
        self.names.extend(other.names);
        self.plain |= other.plain;
    }
}

/// Whether a configuration allows all weights that another does, and is the same otherwise.
fn covers(known: &DTypeConfig, new: &DTypeConfig) -> bool {
    let any = |c: &DTypeConfig| {
        let weight = c.weight.as_ref().map(|w| DTypeWithConstraints::new(w.dtype));
        DTypeConfig { weight, ..c.clone() }
    };
    known == new || (*known == any(known) && any(new) == *known)
}

/// Whether the call below another is its second operand.
fn calls_second(node: &Node) -> bool {
    match &node.children[..] {
        [(at, inner)] => *at == 1 || calls_second(inner),
        _ => false,
    }
}

/// Whether the operator has inputs that are parameters in PyTorch.
fn has_parameters(node: &Node) -> bool {
    let inputs = lookup(node.op).map_or(&[][..], |op| op.signature().inputs);
    inputs.iter().any(|i| ["weight", "slope", "w"].contains(&i.name))
}
