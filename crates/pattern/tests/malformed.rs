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

/// Whatever the file of a user is called, it is at fault and not the embedded one that it repeats.
#[test]
fn a_duplicate_of_an_embedded_rule_is_the_fault_of_the_other_file() {
    let rule = |name: &str| {
        format!(
            "(phase canonical)\n(rule {name} :for $op [relu relu6]\n  :doc \"d\" :class exact :match ($op ($op ?y)) :replace ($op ?y)\n  \
             :inputs (x f32[2]) :example ($op ($op x)) => ($op x))\n"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["aaa.qpat", "zzz.qpat"] {
        let path = folder.path().join(file);
        fs::write(&path, rule("own")).expect("written");
        let (library, names) = Library::with_paths(std::slice::from_ref(&path)).unwrap_or_else(|e| panic!("{e}"));
        let found = library.lint();
        let [lint] = &found[..] else { panic!("{found:?}") };
        assert_eq!(lint.span.source.name, names[0], "{lint}");
        // In a backend, it repeats the rules that run for every backend.
        let backend = format!("(backend own :extends x86 :doc \"d\"\n{})\n", rule("mine"));
        fs::write(&path, backend).expect("written");
        let (library, names) = Library::with_paths(std::slice::from_ref(&path)).unwrap_or_else(|e| panic!("{e}"));
        let found = library.lint();
        let [lint] = &found[..] else { panic!("{found:?}") };
        assert_eq!(lint.span.source.name, names[0], "{lint}");
    }
    // A file in the place of an embedded one, which sorts before others, that defines a rule of one of them.
    let at = folder.path().join("rewrite");
    fs::create_dir(&at).expect("made");
    let path = at.join("canonical-activation.qpat");
    fs::write(&path, rule("relu-of-relu").replace("[relu relu6]", "[relu]")).expect("written");
    let Err(errors) = Library::with_paths(&[path]) else { panic!("must not load") };
    let text = errors.to_string();
    assert!(text.contains("there is already a rule `relu-of-relu/relu`"), "{text}");
    assert!(text.contains("the other one is at patterns/rewrite/canonical-clamp.qpat"), "{text}");
}

/// A backend may run what the one it extends does not.
#[test]
fn a_pattern_of_its_own_takes_the_place_of_what_was_unsupported() {
    let own = "(backend own :extends x86 :doc \"d\"\n  (pattern softmax :doc \"d\" :match (softmax ?x) :observation different :dtypes (activation)))";
    let mut sources = quantc_pattern::builtin_sources();
    sources.push(Source::new("own.qpat", own));
    let library = Library::parse(&sources).unwrap_or_else(|e| panic!("{e}"));
    let own = library.backend("own").expect("defined");
    assert!(!own.unsupported.contains_key("softmax") && own.unsupported.contains_key("log_softmax"));
    assert!(library.lint().is_empty(), "{:?}", library.lint());
}
