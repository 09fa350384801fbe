//! This test program, started again as a child that runs one of its tests with a directory to work in.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const DIR: &str = "GADGET_TEST_STORE_DIR";

/// `test` is the path of a function that begins with [`dir`].
pub(super) fn start(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("store::sqlite::tests::{test}"), "--nocapture", "--quiet"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// In a child, the directory that it was given; else it is not the child's turn.
pub(super) fn dir() -> Option<OsString> {
    std::env::var_os(DIR)
}
