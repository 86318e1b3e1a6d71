//! Test support: graph and tensor generators, file-test runner, data-folder lookup.
#![forbid(unsafe_code)]
