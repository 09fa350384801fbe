//! The tools against a real disk, real processes and real git repositories.
#![cfg(test)]

mod checkout;
mod credentials;
mod files;
mod jobs;
mod project_files;
mod recovery;
mod repository;
mod sandbox;
mod world;

/// Not a test: a drone that starts a command and waits for it until it is killed.
#[test]
fn play_the_drone() {
    if let Some([mode, workspace]) = world::role_arguments()
        && mode == "drone"
    {
        recovery::drone_that_waits_for_its_command(workspace.as_ref());
    }
}

/// Not a test: a drone that clones until it is killed.
#[test]
fn play_the_sync() {
    if let Some([mode, workspace]) = world::role_arguments()
        && mode == "sync"
    {
        checkout::sync_until_killed(workspace.as_ref());
    }
}
