//! PyTorch's names of operators: modules, functions and methods of tensors, and which calls of quantc's operators each stands for. One
//! table, read in both directions.

mod table;

use quantc_ops::names::nearest;

use table::{ALIASES, ROWS};

/// What a name is in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A class of modules: `torch.nn.Conv2d`.
    Module,
    /// A function: `torch.nn.functional.conv2d`, `torch.add`, `operator.add`.
    Function,
    /// A method of a tensor, by its name alone: `reshape`.
    Method,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Calls of these operators, each on the result of the one before; the names are in the operator table.
    Calls(&'static [&'static str]),
    /// Its input: it does nothing outside training, and quantc removes it before patterns are matched.
    Input,
    /// No such calls, and why.
    Nothing(&'static str),
}

/// A name of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TorchName {
    /// The public name, dotted; of a method the word alone.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it stands for.
    pub meaning: Meaning,
    /// The numbers of dimensions that the call's first operand may have; empty: any. `BatchNorm2d` and `BatchNorm3d` are one operator.
    pub ranks: &'static [usize],
    /// The operand of the first call that is the weight which PyTorch quantizes.
    pub weight: Option<usize>,
    /// The positions of weight and bias among a function's arguments (`input_type_to_index`).
    pub parameters: Option<[usize; 2]>,
    /// An attribute of the call that has always this value.
    pub attribute: Option<(&'static str, i64)>,
}

impl TorchName {
    /// The operator, if the name stands for one call.
    pub fn operator(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Calls([op]) => Some(op),
            _ => None,
        }
    }

    /// The module's type as origins have it: the class name.
    pub fn module_type(&self) -> Option<&'static str> {
        (self.kind == Kind::Module).then(|| self.name.rsplit('.').next().unwrap_or(self.name))
    }

    /// Whether it is one of PyTorch's plain names, and no class that quantization puts in the place of others (`torch.ao.nn`).
    pub fn is_plain(&self) -> bool {
        !self.name.starts_with("torch.ao.")
    }

    /// Whether it is a function or method that overwrites its input.
    pub fn is_in_place(&self) -> bool {
        self.name.ends_with('_') || self.name.starts_with("operator.i")
    }
}

/// Every name, in the order of the table.
pub fn all() -> &'static [TorchName] {
    ROWS
}

/// Names of the functions that have several: the name, and the one in the table.
pub fn aliases() -> &'static [(&'static str, &'static str)] {
    ALIASES
}

/// The row of a name, in any of its usual spellings: with the modules that define it (`torch.nn.modules.conv.Conv2d`), as PyTorch prints
/// it (`_operator.add`, `torch._C._nn.linear`), or as it is imported (`nn.Conv2d`, `F.relu`). A word without a dot is a method.
pub fn find(name: &str) -> Option<&'static TorchName> {
    let plain = public(name);
    let name = ALIASES.iter().find(|(alias, _)| *alias == plain).map_or(plain.as_str(), |(_, name)| name);
    ROWS.iter().find(|row| row.name == name)
}

/// The name most like one that is not in the table.
pub fn suggest(name: &str) -> Option<String> {
    nearest(&public(name), ROWS.iter().map(|row| row.name).chain(ALIASES.iter().map(|a| a.0)))
}

/// What spellings begin with, and what the public name does.
const PREFIXES: &[(&str, &str)] = &[
    ("nn.functional.", "torch.nn.functional."),
    ("F.", "torch.nn.functional."),
    ("nn.", "torch.nn."),
    ("nni.", "torch.ao.nn.intrinsic."),
    ("nniqat.", "torch.ao.nn.intrinsic.qat."),
    ("nnqat.", "torch.ao.nn.qat."),
    ("torch.nn.intrinsic.", "torch.ao.nn.intrinsic."),
    ("torch.nn.qat.", "torch.ao.nn.qat."),
    ("torch._C._nn.", "torch.nn.functional."),
    ("torch._VariableFunctionsClass.", "torch."),
    ("torch._C._VariableFunctions.", "torch."),
    ("_operator.", "operator."),
    ("torch.Tensor.", ""),
    ("Tensor.", ""),
];

/// The public form of a spelling: classes without the modules that define them.
fn public(name: &str) -> String {
    let name = name.trim();
    let found = PREFIXES.iter().find_map(|(prefix, public)| Some(format!("{public}{}", name.strip_prefix(prefix)?)));
    let name = found.unwrap_or_else(|| name.to_owned());
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(at) = parts.iter().position(|p| *p == "modules").filter(|at| at + 2 < parts.len()) {
        // `modules.conv.Conv2d`: the class is exported where `modules` is.
        parts.drain(at..parts.len() - 1);
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use quantc_ops::lookup;

    use super::*;

    #[test]
    fn the_table_names_operators_that_exist_each_name_once() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(!ROWS[..i].iter().any(|r| r.name == row.name), "{} twice", row.name);
            if let Meaning::Calls(ops) = row.meaning {
                let first = ops.first().and_then(|op| lookup(op)).unwrap_or_else(|| panic!("{}: {ops:?}", row.name));
                assert!(ops.iter().all(|op| lookup(op).is_some()), "{}: {ops:?}", row.name);
                assert!(row.weight.is_none_or(|w| w < first.signature().inputs.len()), "{}", row.name);
            }
            assert_eq!(row.kind == Kind::Method, !row.name.contains('.'), "{}", row.name);
            assert!(row.parameters.is_none() || row.kind == Kind::Function, "{}", row.name);
        }
        for (i, (alias, name)) in ALIASES.iter().enumerate() {
            assert!(ROWS.iter().any(|r| r.name == *name) && !ROWS.iter().any(|r| r.name == *alias), "{alias}");
            assert!(!ALIASES[..i].iter().any(|a| a.0 == *alias), "{alias} twice");
        }
    }

    #[test]
    fn spellings_are_one_name_and_mistakes_have_a_hint() {
        for (spelling, name) in [
            ("torch.nn.modules.conv.Conv2d", "torch.nn.Conv2d"),
            ("nn.Conv2d", "torch.nn.Conv2d"),
            ("torch._C._nn.linear", "torch.nn.functional.linear"),
            ("torch._VariableFunctionsClass.conv2d", "torch.nn.functional.conv2d"),
            ("_operator.add", "operator.add"),
            ("torch.ao.nn.intrinsic.modules.fused.ConvReLU2d", "torch.ao.nn.intrinsic.ConvReLU2d"),
            ("torch.nn.intrinsic.qat.modules.conv_fused.ConvBn2d", "torch.ao.nn.intrinsic.qat.ConvBn2d"),
            ("torch.Tensor.reshape", "reshape"),
            ("F.relu", "torch.nn.functional.relu"),
            ("torch.conv2d", "torch.nn.functional.conv2d"),
        ] {
            assert_eq!(find(spelling).map(|r| r.name), Some(name), "{spelling}");
        }
        assert_eq!(find("torch.nn.Conv4d"), None);
        assert_eq!(suggest("torch.nn.Conv4d").as_deref(), Some("torch.nn.Conv1d"));
        let conv = find("torch.nn.Conv2d").expect("a row");
        assert_eq!((conv.operator(), conv.module_type(), conv.weight), (Some("conv2d"), Some("Conv2d"), Some(1)));
    }
}
