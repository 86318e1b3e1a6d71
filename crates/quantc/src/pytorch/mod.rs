//! What each class and function of PyTorch's quantization is here: the table behind `quantc ops --pytorch` and `docs/pytorch-map.md`. A row
//! names our item, which the compiler checks, and a test that runs it, which a test checks; or it says why there is nothing.

mod analysis;
mod backend;
mod eager;
mod fused;
mod modules;
mod observers;
mod patterns;
mod presets;
mod pt2e;
mod tensors;
mod workflow;

use std::fmt::Write;

use serde::Serialize;

use crate::Error;

/// How PyTorch's item is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The same, under the same name where it is a name of ours too.
    Same,
    /// There, but not the same: the note says how.
    Differs,
    /// Not there: the note says why.
    Missing,
}

impl Status {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Status::Same => "same",
            Status::Differs => "differs",
            Status::Missing => "missing",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Entry {
    /// PyTorch's dotted name.
    pub name: &'static str,
    /// Our Rust path, operator or command; empty if there is none.
    pub ours: &'static str,
    /// How it is here.
    pub status: Status,
    /// How it differs, or why it is missing.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub note: &'static str,
    /// The test that runs it, as `file::function`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub test: &'static str,
}

/// A subject with its rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// Its rows.
    pub entries: &'static [Entry],
}

/// The whole table.
pub const SECTIONS: &[Section] = &[
    tensors::SECTION,
    observers::SECTION,
    presets::SECTION,
    backend::SECTION,
    workflow::SECTION,
    eager::SECTION,
    pt2e::SECTION,
    modules::SECTION,
    fused::SECTION,
    analysis::SECTION,
    patterns::SECTION,
];

/// Packages as they were called before PyTorch moved them to torch.ao, where the old names still lead.
const OLDER: &[(&str, &str)] = &[
    ("torch.quantization._numeric_suite", "torch.ao.ns._numeric_suite"),
    ("torch.quantization.", "torch.ao.quantization."),
    ("torch.nn.quantized.", "torch.ao.nn.quantized."),
    ("torch.nn.quantizable.", "torch.ao.nn.quantizable."),
    ("torch.nn.intrinsic.", "torch.ao.nn.intrinsic."),
    ("torch.nn.qat.", "torch.ao.nn.qat."),
];

/// The rows with this in PyTorch's name or in ours, whatever the case. What `torch.ao.quantization` gives its users is found there too, not only
/// in the submodule that has it; older names stand for those of today.
pub fn find(name: &str) -> Vec<&'static Entry> {
    let name = name.to_lowercase();
    let older = OLDER.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
    let name = older.unwrap_or(name);
    let package = "torch.ao.quantization.";
    let member = name.strip_prefix(package).map(|member| format!(".{member}"));
    let wanted = |entry: &&Entry| {
        let (theirs, ours) = (entry.name.to_lowercase(), entry.ours.to_lowercase());
        let reexported = || member.as_ref().is_some_and(|m| theirs.starts_with(package) && theirs.ends_with(m));
        theirs.contains(&name) || ours.contains(&name) || reexported()
    };
    SECTIONS.iter().flat_map(|section| section.entries).filter(wanted).collect()
}

/// A row for an item (type, trait, function) of ours.
macro_rules! item {
    ($($path:ident)::+, $name:literal, $test:literal) => {{
        // Only that it exists is of interest.
        #[allow(unused_imports)]
        use $($path)::+ as _;
        $crate::pytorch::same(concat!($("::", stringify!($path)),+), $name, $test)
    }};
    ($($path:ident)::+, $name:literal, $test:literal, $note:literal) => {
        $crate::pytorch::differs($crate::pytorch::item!($($path)::+, $name, $test), $note)
    };
}
use item;

/// A row for a method of ours.
macro_rules! method {
    ($($path:ident)::+, $name:literal, $test:literal) => {{
        let _ = $($path)::+;
        $crate::pytorch::same(concat!($("::", stringify!($path)),+), $name, $test)
    }};
    ($($path:ident)::+, $name:literal, $test:literal, $note:literal) => {
        $crate::pytorch::differs($crate::pytorch::method!($($path)::+, $name, $test), $note)
    };
}
use method;

/// `path` begins with `::`.
const fn same(path: &'static str, name: &'static str, test: &'static str) -> Entry {
    let (_, path) = path.split_at(2);
    Entry { name, ours: path, status: Status::Same, note: "", test }
}

const fn differs(entry: Entry, note: &'static str) -> Entry {
    Entry { status: Status::Differs, note, ..entry }
}

/// A row for an operator of ours, as `op NAME`.
const fn operator(ours: &'static str, name: &'static str, test: &'static str) -> Entry {
    Entry { name, ours, status: Status::Same, note: "", test }
}

/// A row for what there is nothing for.
const fn missing(name: &'static str, why: &'static str) -> Entry {
    Entry { name, ours: "", status: Status::Missing, note: why, test: "" }
}

/// The table as a page, and the patterns of backends.
///
/// # Errors
/// If an embedded backend cannot be read.
pub fn page() -> Result<String, Error> {
    let mut page = "# PyTorch's quantization here\n\n\
        Generated from the table in `crates/quantc/src/pytorch`; `quantc ops --pytorch` prints it. The compiler checks that our items exist, a \
        test that the tests do.\n"
        .to_owned();
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n| PyTorch | here | | note | test |\n|---|---|---|---|---|\n", section.title);
        for Entry { name, ours, status, note, test } in section.entries {
            let code = |s: &str| if s.is_empty() { String::new() } else { format!("`{s}`") };
            let test = test.strip_prefix("crates/").unwrap_or(test);
            let _ = writeln!(page, "| `{name}` | {} | {} | {note} | {} |", code(ours), status.name(), code(test));
        }
    }
    page.push_str(&patterns::table()?);
    Ok(page)
}
