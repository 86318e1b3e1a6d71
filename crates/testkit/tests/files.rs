//! The file tests of the project: `tests/` at the root of the workspace.

use quantc_testkit::{file_tests, workspace_root};

#[test]
fn every_file_gives_what_it_says() {
    file_tests(workspace_root().join("tests"));
}
