//! The table of PyTorch's names: every row is backed by a test that runs, or says why it is missing, and the page is the table.

use std::collections::HashSet;
use std::fs;

use quantc::pytorch::{SECTIONS, Status, find, page};
use quantc_testkit::workspace_root;

/// Whether a file has a test of that name that runs by default.
fn runs(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else { return false };
    // The attributes right before it.
    let before: Vec<&str> =
        text[..at].lines().rev().map(str::trim).skip(usize::from(!text[..at].ends_with('\n'))).collect();
    let attributes: Vec<&str> = before.into_iter().take_while(|l| l.starts_with("#[") || l.starts_with("//")).collect();
    attributes.contains(&"#[test]") && !attributes.iter().any(|a| a.starts_with("#[ignore"))
}

#[test]
fn every_row_runs_in_a_test_or_says_why_it_is_missing() {
    let (mut names, mut wrong) = (HashSet::new(), Vec::new());
    for entry in SECTIONS.iter().flat_map(|s| s.entries) {
        let mut refuse = |what: &str| wrong.push(format!("{}: {what}", entry.name));
        if !names.insert(entry.name) {
            refuse("twice");
        }
        if entry.status != Status::Same && entry.note.len() < 15 {
            refuse("no note that says how, or why");
        }
        if entry.status == Status::Missing {
            continue;
        }
        if let Some(op) = entry.ours.strip_prefix("op ")
            && quantc_ops::lookup(op).is_none()
        {
            refuse("there is no such operator");
        }
        let (file, test) = entry.test.split_once("::").unwrap_or((entry.test, ""));
        match fs::read_to_string(workspace_root().join(file)) {
            Ok(text) if runs(&text, test) => {}
            Ok(_) => refuse(&format!("{file} has no test `{test}` that runs by default")),
            Err(error) => refuse(&format!("{file}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_that_does_not_run_is_not_accepted() {
    let text = "#[test]\nfn runs() {}\n#[test]\n#[ignore = \"long\"]\nfn waits() {}\nfn helps() {}\n    #[test]\n    fn inside() {}";
    assert!(runs(text, "runs") && runs(text, "inside"));
    assert!(!runs(text, "waits") && !runs(text, "helps") && !runs(text, "nothing"));
}

/// By today's path, by the package that hands it on, by an older path, by a part of a name; rows do not stand for several classes.
#[test]
fn rows_are_found_by_every_name() {
    for (name, row) in [
        ("torch.ao.quantization.observer.MinMaxObserver", "torch.ao.quantization.observer.MinMaxObserver"),
        ("torch.ao.quantization.MinMaxObserver", "torch.ao.quantization.observer.MinMaxObserver"),
        ("torch.quantization.MinMaxObserver", "torch.ao.quantization.observer.MinMaxObserver"),
        ("torch.quantization.quantize_fx.prepare_fx", "torch.ao.quantization.quantize_fx.prepare_fx"),
        ("torch.nn.quantized.InstanceNorm3d", "torch.ao.nn.quantized.InstanceNorm3d"),
        ("torch.nn.quantizable.LSTM", "torch.ao.nn.quantizable.LSTM"),
        ("torch.nn.intrinsic.qat.ConvBnReLU3d", "torch.ao.nn.intrinsic.qat.ConvBnReLU3d"),
        ("torch.nn.qat.Conv3d", "torch.ao.nn.qat.Conv3d"),
        ("quantspec", ""),
        ("transform_for", "torch.ao.quantization.quantizer.Quantizer.transform_for_annotation"),
        ("matchallnode", "torch.ao.quantization.utils.MatchAllNode"),
    ] {
        let found: Vec<&str> = find(name).into_iter().map(|entry| entry.name).collect();
        assert_eq!(found.contains(&row), !row.is_empty(), "{name}: {found:?}");
    }
    assert_eq!(find("torch.quantization.MinMaxObserver").len(), 1);
    let several = SECTIONS.iter().flat_map(|s| s.entries).filter(|e| e.name.contains(" / ") || e.name.contains('*'));
    assert_eq!(several.map(|e| e.name).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_page_is_the_table() {
    let path = workspace_root().join("docs/pytorch-map.md");
    let page = page().unwrap_or_else(|e| panic!("{e}"));
    if std::env::var_os("QUANTC_BLESS").is_some() {
        fs::write(&path, &page).unwrap_or_else(|e| panic!("{e}"));
    }
    // The patterns are those of the backends, a cell for each.
    let conv = "| `(torch.nn.Conv2d, torch.nn.ReLU)` | own | own | own | own | own |";
    let norm = "| `torch.nn.LayerNorm` |  | own | own |  |  |";
    assert!(page.contains(conv) && page.contains(norm) && page.matches("| shared |").count() > 50);
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/pytorch-map.md is not the table: run with QUANTC_BLESS=1");
}

#[test]
fn the_graphs_of_the_introduction_are_those_of_the_file_test() {
    let read = |path: &str| fs::read_to_string(workspace_root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (page, test) = (read("docs/pytorch.md"), read("tests/backend/linear-relu.qtest"));
    let blocks: Vec<&str> = page.split("```text\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        assert!(test.contains(block), "not in tests/backend/linear-relu.qtest:\n{block}");
    }
}
