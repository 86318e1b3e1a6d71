//! Each file in `tests/malformed` has one mistake, and gets one message with its place, a caret and mostly a hint.

use std::fs;
use std::path::{Path, PathBuf};

use quantc_pattern::{Library, Source};

fn files(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(&dir).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files
}

fn load(path: &Path) -> (String, std::sync::Arc<Source>) {
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(path).expect("readable");
    let source = Source::new(&format!("{stem}.qpat"), &text);
    (stem, source)
}

#[test]
fn every_malformed_file_gets_one_message() {
    let files = files("malformed");
    assert!(files.len() >= 25, "{}", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/malformed");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files {
            let (stem, source) = load(&path);
            let Err(errors) = Library::parse(&[source]) else { panic!("{stem} must not load") };
            assert_eq!(errors.0.len(), 1, "{stem}: {errors}");
            insta::assert_snapshot!(stem, errors);
        }
    });
}

#[test]
fn every_file_with_a_lint_loads_and_gets_one_message() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/lint");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files("lint") {
            let (stem, source) = load(&path);
            let library = Library::parse(&[source]).unwrap_or_else(|e| panic!("{stem}: {e}"));
            let lints = library.lint();
            assert_eq!(lints.len(), 1, "{stem}: {lints:?}");
            insta::assert_snapshot!(stem, lints[0]);
        }
    });
}

#[test]
fn what_ships_has_no_lint() {
    let library = Library::builtin().unwrap_or_else(|e| panic!("{e}"));
    let lints: Vec<String> = library.lint().iter().map(ToString::to_string).collect();
    assert!(lints.is_empty(), "{}", lints.join("\n\n"));
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let text = "(phase canonical)\n(rule a\n  :doc \"d\" :class wrong\n  :match (rellu ?x)\n  :replace ?x\n  \
                :inputs (x f32[2])\n  :example (relu y) => x)\n\n(rule b :doc \"d\"\n(rule c)\n(backend d :doc \"d\"\n  \
                (dtype-config s :input u7)\n  (patern))\n";
    let Err(errors) = Library::parse(&[Source::new("t.qpat", text)]) else { panic!("must not load") };
    let at: Vec<String> = errors.0.iter().map(|e| format!("{}: {}", e.span, e.message)).collect();
    insta::assert_snapshot!(at.join("\n"));
}
