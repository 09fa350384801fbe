//! File requests of an IDE.

use std::os::unix::fs::{PermissionsExt, symlink};

use drone::files;
use protocol::error::Code;
use protocol::ide::{FileReadRequest, FileTreeEntry, FileTreeRequest, FileWriteRequest};
use protocol::value::{Encoding, FileKind};

use crate::world::World;

async fn listed(world: &World, request: FileTreeRequest) -> (Vec<FileTreeEntry>, Option<String>) {
    let answer = files::tree(world.context.project_root.clone(), request).await.unwrap();
    (answer.entries.unwrap(), answer.cursor)
}

fn tree(path: &str, depth: u32) -> FileTreeRequest {
    FileTreeRequest { path: Some(path.into()), depth: Some(depth), cursor: None }
}

async fn read(world: &World, path: &str) -> Result<protocol::ide::FileReadAnswer, Code> {
    let request = FileReadRequest { path: path.into() };
    files::read(world.context.project_root.clone(), request).await.map_err(|refusal| refusal.code)
}

async fn write(world: &World, path: &str, content: &str, expected: Option<&str>) -> Result<String, Code> {
    let request = FileWriteRequest {
        path: path.into(),
        content: content.into(),
        encoding: None,
        expected_sha256: expected.map(str::to_owned),
    };
    let (workspace, root) = (world.context.workspace.clone(), world.context.project_root.clone());
    match files::write(workspace, root, request).await {
        Ok(answer) => Ok(answer.sha256.unwrap()),
        Err(refusal) => Err(refusal.code),
    }
}

fn paths(entries: &[FileTreeEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

#[tokio::test]
async fn a_tree_shows_one_level_or_more_without_what_is_hidden() {
    let world = World::new();
    for file in ["b/c/d.txt", "b/a.txt", "a.txt", ".git/config", ".gadget/x", ".env", "sub/.git"] {
        world.put(file, "12345");
    }
    symlink("..", world.path("up")).unwrap();
    let (entries, cursor) = listed(&world, FileTreeRequest::default()).await;
    assert_eq!(paths(&entries), [".env", "a.txt", "b", "sub", "up"]);
    assert_eq!(cursor, None);
    let shown: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.size)).collect();
    assert_eq!(
        shown,
        [
            (FileKind::File, Some(5)),
            (FileKind::File, Some(5)),
            (FileKind::Directory, None),
            (FileKind::Directory, None),
            (FileKind::Symlink, None)
        ]
    );
    assert!(entries.iter().all(|entry| entry.modified_at.is_some()));
    assert_eq!(
        paths(&listed(&world, tree("", 9)).await.0),
        [".env", "a.txt", "b", "b/a.txt", "b/c", "b/c/d.txt", "sub", "up"]
    );
    assert_eq!(paths(&listed(&world, tree("b", 1)).await.0), ["b/a.txt", "b/c"]);
}

#[tokio::test]
async fn a_long_tree_comes_in_pages_without_gap_or_repetition() {
    let world = World::new();
    let mut expected = Vec::new();
    for directory in ["base/a", "base/a-b", "base/b"] {
        expected.push(directory.to_owned());
        for at in 0..1500 {
            let path = format!("{directory}/{at:04}");
            world.put(&path, "");
            expected.push(path);
        }
    }
    let (mut found, mut request, mut pages) = (Vec::new(), tree("base", 3), 0);
    loop {
        let (entries, cursor) = listed(&world, request.clone()).await;
        found.extend(paths(&entries).into_iter().map(str::to_owned));
        pages += 1;
        let Some(cursor) = cursor else { break };
        request.cursor = Some(cursor);
    }
    assert_eq!(found, expected);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn files_are_read_as_text_or_base64_with_their_hash() {
    let world = World::new();
    world.put("text", "hello\n");
    let answer = read(&world, "text").await.unwrap();
    assert_eq!(answer.content.as_deref(), Some("hello\n"));
    assert_eq!((answer.encoding, answer.size), (Some(Encoding::Utf8), Some(6)));
    let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(answer.sha256.as_deref(), Some(hash));
    world.put("binary", [0xff, 0x00]);
    let answer = read(&world, "binary").await.unwrap();
    assert_eq!((answer.content.as_deref(), answer.encoding), (Some("/wA="), Some(Encoding::Base64)));
}

#[tokio::test]
async fn what_does_not_fit_into_one_event_is_refused() {
    let world = World::new();
    world.put("fits", "x".repeat(768 * 1024));
    world.put("large", "x".repeat(768 * 1024 + 1));
    world.put("escaped", "\"".repeat(600 * 1024));
    world.put("binary", vec![0xff; 768 * 1024]);
    assert!(read(&world, "fits").await.is_ok());
    for path in ["large", "escaped", "binary"] {
        assert_eq!(read(&world, path).await.unwrap_err(), Code::TooLarge, "{path}");
    }
    let large = "x".repeat(768 * 1024 + 1);
    assert_eq!(write(&world, "new", &large, None).await, Err(Code::TooLarge));
}

#[tokio::test]
async fn a_file_is_written_only_over_what_the_editor_had_read() {
    let world = World::new();
    let first = write(&world, "deep/new.txt", "one", None).await.unwrap();
    assert_eq!(write(&world, "deep/new.txt", "x", None).await, Err(Code::FileChanged));
    std::fs::set_permissions(world.path("deep/new.txt"), PermissionsExt::from_mode(0o700)).unwrap();
    let second = write(&world, "deep/new.txt", "two", Some(&first.to_uppercase())).await.unwrap();
    assert_eq!(write(&world, "deep/new.txt", "three", Some(&first)).await, Err(Code::FileChanged));
    assert_eq!(world.content("deep/new.txt"), "two");
    assert_eq!(std::fs::metadata(world.path("deep/new.txt")).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::remove_file(world.path("deep/new.txt")).unwrap();
    assert_eq!(write(&world, "deep/new.txt", "three", Some(&second)).await, Err(Code::FileChanged));
    let base64 = FileWriteRequest {
        path: "binary".into(),
        content: "/wA=".into(),
        encoding: Some(Encoding::Base64),
        expected_sha256: None,
    };
    let (workspace, root) = (world.context.workspace.clone(), world.context.project_root.clone());
    files::write(workspace.clone(), root.clone(), base64.clone()).await.unwrap();
    assert_eq!(std::fs::read(world.path("binary")).unwrap(), [0xff, 0]);
    let broken = FileWriteRequest { content: "%".into(), path: "other".into(), ..base64 };
    assert_eq!(files::write(workspace, root, broken).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn no_request_leaves_the_project() {
    let world = World::new();
    std::fs::write(world.context.workspace.join("secret"), "s").unwrap();
    world.put(".git/config", "c");
    world.put("sub/.git/config", "c");
    world.put("file", "f");
    symlink("../secret", world.path("link")).unwrap();
    symlink("..", world.path("up")).unwrap();
    symlink(".git", world.path("alias")).unwrap();
    for path in [
        "../secret",
        "/etc/passwd",
        "link",
        "up/secret",
        "up/.gadget/x",
        ".git/config",
        "sub/.git/config",
        "alias/config",
        ".gadget/workspace.json",
    ] {
        assert_eq!(read(&world, path).await.unwrap_err(), Code::PathEscape, "{path}");
        assert_eq!(write(&world, path, "x", None).await, Err(Code::PathEscape), "{path}");
    }
    for path in ["..", "up", "/", ".git", "alias", "up/.gadget"] {
        let refusal = files::tree(world.context.project_root.clone(), tree(path, 1)).await.unwrap_err();
        assert_eq!(refusal.code, Code::PathEscape, "{path}");
    }
    assert_eq!(read(&world, "nowhere").await.unwrap_err(), Code::NotFound);
    assert_eq!(read(&world, ".").await.unwrap_err(), Code::NotAFile);
    assert_eq!(write(&world, "", "x", None).await, Err(Code::NotAFile));
    assert_eq!(write(&world, "file/x", "x", None).await, Err(Code::NotAFile));
    let refusal = files::tree(world.context.project_root.clone(), tree("file", 1)).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotAFile);
    assert_eq!(std::fs::read_to_string(world.context.workspace.join("secret")).unwrap(), "s");
}
