//! The patterns that each backend of PyTorch's has here, generated from the backends themselves.

use std::collections::BTreeMap;
use std::fmt::Write;

use quantc_pattern::{Library, export_backend};
use serde_json::Value as Json;

use super::{Section, missing};
use crate::Error;

const NOTHING: &str = "its pattern does nothing outside training: calls are removed before patterns are matched";
const NO_OPERATOR: &str = "its pattern is in no backend: there is no such operator";

/// What every backend of PyTorch's lists, and none here.
pub(super) const SECTION: Section = Section {
    title: "Patterns that no backend has",
    entries: &[
        missing("torch.nn.Dropout", NOTHING),
        missing("torch.nn.functional.dropout", NOTHING),
        missing("torch.nn.Identity", NOTHING),
        missing("torch.Tensor.contiguous", NOTHING),
        missing("torch.Tensor.detach", NOTHING),
        missing("torch.nn.PixelUnshuffle", NO_OPERATOR),
        missing("torch.nn.functional.pixel_unshuffle", NO_OPERATOR),
        missing("torch.repeat_interleave", NO_OPERATOR),
        missing("torch.stack", "it is unsqueeze and cat, which have patterns"),
        missing("operator.floordiv", "it computes sizes, which are not quantized"),
    ],
};

/// Backends that PyTorch has by that name, and x86, which has more than PyTorch's.
const BACKENDS: &[&str] = &["fbgemm", "native", "onednn", "qnnpack", "x86"];

/// The table: a row for each pattern, a column for each backend. Modules of quantization-aware training are left out.
///
/// # Errors
/// If an embedded backend cannot be read.
pub(super) fn table() -> Result<String, Error> {
    let library = Library::builtin()?;
    let mut rows: BTreeMap<String, [&str; BACKENDS.len()]> = BTreeMap::new();
    for (column, name) in BACKENDS.iter().enumerate() {
        let document = export_backend(library.backend(name)?).document;
        for entry in document["configs"].as_array().into_iter().flatten() {
            let pattern = spelled(entry.get("pattern").unwrap_or(&entry["pattern_complex_format"]));
            if !pattern.contains(".qat.") {
                rows.entry(pattern).or_default()[column] = observation(&entry["observation_type"]);
            }
        }
    }
    let mut text = "\n## Patterns of backends\n\nWhat `get_fbgemm_backend_config` and its like list, and how the output is observed: on its own, by the \
        input's observer (shared), or not at all. `crates/pattern/tests/golden_backend_config.rs` holds the first four columns to torch 2.8.0, names and \
        types, and says what x86 has not (`NOT_ON_X86`).\n\n"
        .to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| pattern | {} |\n|---|{}", BACKENDS.join(" | "), "---|".repeat(BACKENDS.len()));
    // What x86 alone has is no pattern of PyTorch's.
    for (pattern, cells) in
        rows.into_iter().filter(|row| row.1[..BACKENDS.len() - 1].iter().any(|cell| !cell.is_empty()))
    {
        let _ = writeln!(text, "| `{pattern}` | {} |", cells.join(" | "));
    }
    Ok(text)
}

/// A pattern in Python's words: names, and tuples of them.
fn spelled(pattern: &Json) -> String {
    match pattern {
        Json::Array(parts) => format!("({})", parts.iter().map(spelled).collect::<Vec<_>>().join(", ")),
        name => name.as_str().unwrap_or_default().to_owned(),
    }
}

fn observation(kind: &Json) -> &'static str {
    match kind.as_str() {
        Some("OUTPUT_SHARE_OBSERVER_WITH_INPUT") => "shared",
        Some("INPUT_OUTPUT_NOT_OBSERVED") => "not observed",
        _ => "own",
    }
}
