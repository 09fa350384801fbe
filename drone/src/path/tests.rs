use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

struct World {
    _temporary: tempfile::TempDir,
    root: Root,
}

/// A project with a file, a directory and links of every kind, beside a secret.
fn world() -> World {
    let temporary = tempfile::tempdir().unwrap();
    let workspace = temporary.path();
    fs::write(workspace.join("secret"), "s").unwrap();
    fs::create_dir_all(workspace.join("outside")).unwrap();
    let project = workspace.join("project");
    fs::create_dir_all(project.join("src/deep")).unwrap();
    fs::create_dir_all(project.join(OWN)).unwrap();
    fs::write(project.join("src/main.rs"), "fn main() {}").unwrap();
    symlink("main.rs", project.join("src/inner")).unwrap();
    symlink("../secret", project.join("to-secret")).unwrap();
    symlink(workspace.join("secret"), project.join("absolute")).unwrap();
    symlink("../outside", project.join("out")).unwrap();
    symlink("nowhere", project.join("broken")).unwrap();
    symlink(".gadget", project.join("own")).unwrap();
    symlink("loop", project.join("loop")).unwrap();
    World { root: Root::open(&project).unwrap(), _temporary: temporary }
}

fn resolved(world: &World, path: &str) -> String {
    match world.root.resolve(path) {
        Ok(inside) => inside.show(),
        Err(error) => ToolError::from(error).code,
    }
}

#[test]
fn paths_inside_resolve_to_what_they_mean() {
    let world = world();
    let absolute = world.root.real().join("src/main.rs");
    for (path, means) in [
        ("", "."),
        (".", "."),
        ("src/main.rs", "src/main.rs"),
        ("./src//deep/../main.rs", "src/main.rs"),
        ("src/inner", "src/main.rs"),
        ("src/new/file.rs", "src/new/file.rs"),
        (absolute.to_str().unwrap(), "src/main.rs"),
    ] {
        assert_eq!(resolved(&world, path), means, "{path}");
    }
}

#[test]
fn nothing_leads_out() {
    let world = world();
    for path in [
        "..",
        "../secret",
        "src/../../secret",
        "/etc/passwd",
        "to-secret",
        "absolute",
        "out",
        "out/new-file",
        "out/../secret",
        "src/../out/x/y",
        ".gadget",
        "./.gadget/workspace.json",
        "src/../.gadget/x",
        "own",
        "own/workspace.json",
    ] {
        assert_eq!(resolved(&world, path), "PATH_ESCAPE", "{path}");
    }
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_told_apart() {
    let world = world();
    for (path, code) in [
        ("broken", "NOT_FOUND"),
        ("broken/x", "NOT_FOUND"),
        ("no/../../secret", "NOT_FOUND"),
        ("src/main.rs/x", "NOT_A_DIRECTORY"),
        ("a\0b", "INVALID_PARAMETER"),
        ("loop", "IO"),
    ] {
        assert_eq!(resolved(&world, path), code, "{path}");
    }
}

#[test]
fn a_link_swapped_in_after_resolving_is_not_followed_out() {
    let world = world();
    let inside = world.root.resolve("src/main.rs").unwrap();
    let project = world.root.real();
    fs::rename(project.join("src"), project.join("old")).unwrap();
    fs::write(project.join("../outside/main.rs"), "secret").unwrap();
    symlink("../outside", project.join("src")).unwrap();
    assert!(matches!(world.root.open_file(&inside), Err(PathError::Escape { .. })));
}

#[test]
fn pipes_and_directories_are_no_files() {
    let world = world();
    let pipe = world.root.real().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in ["pipe", "src"] {
        let inside = world.root.resolve(path).unwrap();
        assert!(matches!(world.root.open_file(&inside), Err(PathError::NotAFile { .. })), "{path}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What resolves, means a place inside: checked with the system's own idea of paths.
    #[test]
    fn no_combination_of_links_and_dots_leads_out(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "..", ".", "src", "deep", "out", "to-secret", "absolute", "inner", "new", "own", "broken", "", "main.rs",
            ]),
            1..8,
        ),
        is_absolute in any::<bool>(),
    ) {
        let world = world();
        let mut path = parts.join("/");
        if is_absolute {
            path = format!("{}/{path}", world.root.real().display());
        }
        if let Ok(inside) = world.root.resolve(&path) {
            prop_assert!(inside.as_path().components().all(|part| matches!(part, Component::Normal(_))));
            prop_assert!(!inside.as_path().starts_with(OWN));
            let absolute = world.root.absolute(&inside);
            let existing = absolute.ancestors().find(|ancestor| ancestor.exists()).unwrap();
            prop_assert_eq!(existing.canonicalize().unwrap(), existing);
            prop_assert!(existing.starts_with(world.root.real()));
        }
    }
}
