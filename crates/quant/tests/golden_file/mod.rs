//! Reads the golden files.

use quantc_testkit::workspace_root;
use serde_json::Value as Json;

/// A golden file of this folder.
pub fn read(name: &str) -> Json {
    let path = workspace_root().join("crates/quant/tests/golden").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}
