//! The workspace keeps to the layer table of docs/architecture.md: a crate uses crates of lower layers only.

use std::collections::BTreeMap;
use std::path::Path;

/// Layer of each crate.
const LAYERS: &[(&str, u32)] = &[
    ("tensor", 0),
    ("kernels-gemm", 0),
    ("ops", 1),
    ("kernels", 1),
    ("kernels-simd", 2),
    ("kernels-x86", 3),
    ("kernels-arm", 3),
    ("ir", 2),
    ("frontend", 3),
    ("pattern", 3),
    ("interp", 3),
    ("rewrite", 4),
    ("runtime", 4),
    ("quant", 5),
    ("lower", 5),
    ("testkit", 6),
    ("quantc", 7),
];

/// The dependencies on other crates of the workspace that each crate's manifest declares, without dev-dependencies.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let short = |name: &str| name.strip_prefix("quantc-").unwrap_or(name).to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let used = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .filter_map(|d| d["name"].as_str())
                .filter(|name| name.starts_with("quantc"))
                .map(short)
                .collect();
            (short(package["name"].as_str().expect("name")), used)
        })
        .collect()
}

#[test]
fn crates_use_lower_layers_only() {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let dependencies = dependencies();
    for (name, used) in &dependencies {
        let layer = layers.get(name.as_str()).unwrap_or_else(|| panic!("`{name}` has no layer"));
        for other in used {
            let below = layers.get(other.as_str()).unwrap_or_else(|| panic!("`{name}` uses `{other}`"));
            assert!(below < layer, "`{name}` (layer {layer}) uses `{other}` (layer {below})");
        }
    }
    for (name, _) in LAYERS {
        assert!(dependencies.contains_key(*name), "`{name}` is in the table, not in the workspace");
    }
}

#[test]
fn unsafe_is_for_kernels_only() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in dependencies().keys().filter(|n| !n.starts_with("kernels")) {
        for root in ["lib.rs", "main.rs"] {
            let path = crates.join(name).join("src").join(root);
            if let Ok(text) = std::fs::read_to_string(&path) {
                assert!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", path.display());
            }
        }
    }
}
