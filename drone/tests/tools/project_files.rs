//! The tools that look at files and change them.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_file_is_written_with_its_directories_read_and_edited() {
    let world = World::new();
    let created = world.text("write", json!({ "path": "src/a.rs", "content": "fn a() {}\n" })).await;
    assert_eq!(created, "created src/a.rs (1 lines, 10 bytes)");
    assert_eq!(world.text("read", json!({ "path": "src/a.rs" })).await, "     1\tfn a() {}\n");
    let edited = world.call("edit", json!({ "path": "src/a.rs", "old": "a()", "new": "b()" })).await;
    assert_eq!(edited.text, "edited src/a.rs");
    assert!(edited.data.unwrap()["diff"].as_str().unwrap().contains("-fn a() {}\n+fn b() {}\n"));
    assert_eq!(world.content("src/a.rs"), "fn b() {}\n");
    let leftovers: Vec<_> = std::fs::read_dir(world.context.workspace.join(".gadget/tmp")).unwrap().collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[tokio::test]
async fn a_replaced_file_keeps_its_permissions_and_a_link_its_target() {
    let world = World::new();
    world.put("run.sh", "old");
    std::fs::set_permissions(world.path("run.sh"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("run.sh", world.path("link")).unwrap();
    world.text("write", json!({ "path": "link", "content": "new" })).await;
    assert_eq!(world.content("run.sh"), "new");
    assert_eq!(std::fs::metadata(world.path("run.sh")).unwrap().permissions().mode() & 0o777, 0o750);
    assert!(std::fs::symlink_metadata(world.path("link")).unwrap().is_symlink());
}

#[tokio::test]
async fn no_tool_reaches_outside_of_the_project() {
    let world = World::new();
    std::fs::write(world.context.workspace.join("secret"), "s").unwrap();
    std::fs::write(world.context.workspace.join(".gadget/workspace.json"), "{}").unwrap();
    symlink("../secret", world.path("link")).unwrap();
    symlink("..", world.path("up")).unwrap();
    for path in
        ["../secret", "/etc/passwd", "link", "up/secret", "up/.gadget/workspace.json", "a/../../secret"]
    {
        for (tool, arguments) in [
            ("read", json!({ "path": path })),
            ("write", json!({ "path": path, "content": "x" })),
            ("edit", json!({ "path": path, "old": "s", "new": "x" })),
            ("list", json!({ "path": path })),
            ("glob", json!({ "path": path, "pattern": "*" })),
            ("grep", json!({ "path": path, "pattern": "s" })),
        ] {
            let code = world.refusal(tool, arguments).await.code;
            assert!(
                code == "PATH_ESCAPE" || (path.starts_with("a/") && code == "NOT_FOUND"),
                "{tool} {path}: {code}"
            );
        }
    }
    assert_eq!(std::fs::read_to_string(world.context.workspace.join("secret")).unwrap(), "s");
}

#[tokio::test]
async fn the_repository_itself_is_changed_by_git_alone() {
    let world = World::new();
    world.put(".git/config", "[core]");
    symlink(".git", world.path("alias")).unwrap();
    for path in [".git/hooks/post-merge", ".git/config", "alias/config"] {
        let error = world.refusal("write", json!({ "path": path, "content": "x" })).await;
        assert_eq!(error.code, "OPERATION_NOT_ALLOWED", "{path}");
    }
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_read_is_not_overwritten() {
    let world = World::new();
    world.put("file", "one\n");
    world.text("read", json!({ "path": "file" })).await;
    world.put("file", "one\nby the user\n");
    for (tool, arguments) in [
        ("edit", json!({ "path": "./file", "old": "one", "new": "two" })),
        ("write", json!({ "path": "file", "content": "two" })),
    ] {
        let error = world.refusal(tool, arguments).await;
        assert_eq!(error.code, "STALE_FILE");
        assert!(error.recovery_hint.unwrap().contains("Read the file again"));
    }
    assert_eq!(world.content("file"), "one\nby the user\n");
    world.text("read", json!({ "path": "file" })).await;
    world.text("edit", json!({ "path": "file", "old": "one", "new": "two" })).await;
    world.text("edit", json!({ "path": "file", "old": "two", "new": "three" })).await;
    assert_eq!(world.content("file"), "three\nby the user\n");
}

#[tokio::test]
async fn what_was_read_before_a_restart_still_guards_after_it() {
    let world = World::new();
    world.put("file", "one\n");
    let outcome = world.call("read", json!({ "path": "file" })).await;
    let mut after = World::at(&world.context.workspace);
    after.context.project_root.clone_from(&world.context.project_root);
    after.context.seen.restore(&outcome);
    world.put("file", "changed\n");
    assert_eq!(after.refusal("write", json!({ "path": "file", "content": "x" })).await.code, "STALE_FILE");
}

#[tokio::test]
async fn binary_and_huge_files_are_handled() {
    let world = World::new();
    world.put("binary", b"\x7fELF\0\0\0");
    assert_eq!(world.refusal("read", json!({ "path": "binary" })).await.code, "BINARY_FILE");
    world.put("latin1", b"caf\xe9\n");
    assert_eq!(world.text("read", json!({ "path": "latin1" })).await, "     1\tcaf\u{fffd}\n");
    let error = world.refusal("edit", json!({ "path": "latin1", "old": "caf", "new": "x" })).await;
    assert_eq!(error.code, "BINARY_FILE");
    world.put("huge", "line of text\n".repeat(3_000_000));
    let text = world.text("read", json!({ "path": "huge", "offset": 2_999_999 })).await;
    assert_eq!(text, "2999999\tline of text\n3000000\tline of text\n");
    let error = world.refusal("edit", json!({ "path": "huge", "old": "line", "new": "x" })).await;
    assert_eq!(error.code, "TOO_LARGE");
    assert_eq!(world.refusal("read", json!({ "path": "." })).await.code, "NOT_A_FILE");
}

#[tokio::test]
async fn files_are_found_by_name_without_what_is_ignored() {
    let world = World::new();
    for file in ["src/a.rs", "src/deep/b.rs", "target/c.rs", ".git/d.rs", "README.md", ".github/e.yml"] {
        world.put(file, "x");
    }
    world.put(".gitignore", "/target\n");
    let glob = |arguments| world.text("glob", arguments);
    assert_eq!(glob(json!({ "pattern": "*.rs" })).await, "src/a.rs\nsrc/deep/b.rs\n");
    assert_eq!(glob(json!({ "pattern": "src/*.rs" })).await, "src/a.rs\n");
    assert_eq!(glob(json!({ "pattern": "**/*.{md,yml}" })).await, ".github/e.yml\nREADME.md\n");
    assert_eq!(glob(json!({ "pattern": "deep/*", "path": "src" })).await, "src/deep/b.rs\n");
    assert_eq!(glob(json!({ "pattern": "*.zig" })).await, "[no file matches]");
    assert_eq!(world.refusal("glob", json!({ "pattern": "a{" })).await.code, "INVALID_PARAMETER");
    assert_eq!(world.refusal("glob", json!({ "pattern": "*", "path": "no" })).await.code, "NOT_FOUND");
}

#[tokio::test]
async fn ignore_files_count_from_the_project_root_on() {
    let world = World::new();
    std::fs::write(world.context.workspace.join(".gitignore"), "*\n").unwrap();
    for file in ["src/a.rs", "src/gen/b.rs", "out/c.rs", "out/deep/d.rs"] {
        world.put(file, "x");
    }
    world.put(".gitignore", "gen\n/out\n");
    let glob = |arguments| world.text("glob", arguments);
    assert_eq!(glob(json!({ "pattern": "*.rs" })).await, "src/a.rs\n");
    assert_eq!(glob(json!({ "pattern": "*.rs", "path": "src" })).await, "src/a.rs\n");
    assert_eq!(glob(json!({ "pattern": "*.rs", "path": "out" })).await, "out/c.rs\nout/deep/d.rs\n");
    let grep = world.text("grep", json!({ "pattern": "x", "path": "src/gen/b.rs" })).await;
    assert_eq!(grep, "src/gen/b.rs:1:x\n");
}

#[tokio::test]
async fn lines_are_found_by_regular_expression() {
    let world = World::new();
    world.put("src/a.rs", "fn main() {}\nfn other() {}\n");
    world.put("b.txt", "FN main\n");
    world.put("binary", b"\0fn main");
    world.put(".gitignore", "ignored\n");
    world.put("ignored/x", "fn main");
    let grep = |arguments| world.text("grep", arguments);
    assert_eq!(
        grep(json!({ "pattern": "fn \\w+" })).await,
        "src/a.rs:1:fn main() {}\nsrc/a.rs:2:fn other() {}\n"
    );
    assert_eq!(
        grep(json!({ "pattern": "fn main", "case_insensitive": true })).await,
        "b.txt:1:FN main\nsrc/a.rs:1:fn main() {}\n"
    );
    assert_eq!(grep(json!({ "pattern": "main", "glob": "*.txt" })).await, "b.txt:1:FN main\n");
    assert_eq!(grep(json!({ "pattern": "other", "path": "src/a.rs" })).await, "src/a.rs:2:fn other() {}\n");
    assert_eq!(grep(json!({ "pattern": "nothing" })).await, "[no line matches]");
    assert_eq!(world.refusal("grep", json!({ "pattern": "(" })).await.code, "INVALID_PARAMETER");
}

#[tokio::test]
async fn a_long_result_can_be_read_whole_from_its_spill_file() {
    let world = World::new();
    world.put("many", "needle in a haystack\n".repeat(4000));
    let text = world.text("grep", json!({ "pattern": "needle" })).await;
    assert!(text.len() < 30_000);
    let path = text.split("the whole is in ").nth(1).unwrap().split(" …]").next().unwrap();
    let last = world.text("read", json!({ "path": path, "offset": 4000 })).await;
    assert_eq!(last, "  4000\tmany:4000:needle in a haystack\n");
    let outside = format!("{path}/../../../workspace.json");
    assert_ne!(world.refusal("read", json!({ "path": outside })).await.code, "NOT_A_FILE");
}

#[tokio::test]
async fn a_directory_is_listed() {
    let world = World::new();
    world.put("b/x", "");
    world.put("a.txt", "12345");
    world.put(".git/config", "");
    symlink("a.txt", world.path("link")).unwrap();
    assert_eq!(world.text("list", json!({})).await, "a.txt (5)\nb/\nlink -> a.txt\n");
    std::fs::create_dir(world.path("empty")).unwrap();
    assert_eq!(world.text("list", json!({ "path": "empty" })).await, "[the directory is empty]");
    assert_eq!(world.refusal("list", json!({ "path": "a.txt" })).await.code, "NOT_A_DIRECTORY");
}

#[tokio::test]
async fn the_todo_list_is_kept_for_the_session() {
    let world = World::new();
    let items = json!([{ "text": "a", "status": "completed" }, { "text": "b", "status": "in_progress" }]);
    assert_eq!(world.text("todo", json!({ "items": items })).await, "kept 2 items, 1 of them open");
    let kept = drone::tool::todo::todo_list(&world.context.workspace, &world.context.chat_session);
    assert_eq!(json!(kept), items);
    let error = world.refusal("todo", json!({ "items": [{ "text": "a", "status": "maybe" }] })).await;
    assert_eq!(error.code, "INVALID_PARAMETER");
    assert!(drone::tool::todo::todo_list(&world.context.workspace, &"other".into()).is_empty());
}
