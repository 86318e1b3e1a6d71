//! Every rule that ships keeps its promises.

use quantc_pattern::{Library, RuleSet};
use quantc_rewrite::check_examples;

#[test]
fn every_example_holds() {
    let rules = RuleSet::builtin().unwrap_or_else(|e| panic!("{e}"));
    assert!(!rules.rules.is_empty());
    let failures: Vec<String> = rules.rules.iter().flat_map(check_examples).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn backends_load() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    for name in ["x86", "qnnpack"] {
        let backend = library.backend(name).unwrap_or_else(|e| panic!("{e}"));
        assert!(backend.patterns.iter().all(|p| !p.dtype_configs.is_empty()), "{name}");
    }
}
