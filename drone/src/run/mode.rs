//! Workspace modes exclude each other: who may change files now. Pure.

use protocol::value::WorkspaceMode;

/// What a change of the mode depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Situation {
    pub mode: WorkspaceMode,
    pub is_locked: bool,
    pub has_turn: bool,
}

/// Whether a person may have the mode now; else why not.
pub(super) fn request(situation: Situation, wanted: WorkspaceMode) -> Result<(), &'static str> {
    let Situation { mode, is_locked, has_turn } = situation;
    match (mode, wanted) {
        _ if !is_locked => Err("no chat session holds this workspace"),
        (_, WorkspaceMode::Syncing) => Err("only the system itself enters the mode syncing"),
        (WorkspaceMode::Syncing, _) => Err("the project is being synchronised; wait until that is done"),
        (_, WorkspaceMode::Idle | WorkspaceMode::User) if has_turn => {
            Err("the agent works on a turn; stop it first or wait until it is done")
        }
        (_, WorkspaceMode::Idle | WorkspaceMode::User | WorkspaceMode::Agent) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use WorkspaceMode::{Agent, Idle, Syncing, User};

    use super::*;

    fn allowed(mode: WorkspaceMode, wanted: WorkspaceMode, has_turn: bool) -> bool {
        request(Situation { mode, is_locked: true, has_turn }, wanted).is_ok()
    }

    #[test]
    fn modes_change_as_the_contract_says() {
        for (from, to) in
            [(Idle, User), (Idle, Agent), (User, Agent), (User, Idle), (Agent, Idle), (Agent, User)]
        {
            assert!(allowed(from, to, false), "{from} to {to}");
        }
        for (from, to) in [(Agent, User), (Agent, Idle)] {
            assert!(!allowed(from, to, true), "{from} to {to} in a turn");
        }
        for mode in [Idle, User, Agent] {
            assert!(!allowed(mode, Syncing, false), "{mode} to syncing");
            assert!(!allowed(Syncing, mode, false), "syncing to {mode}");
        }
    }

    #[test]
    fn without_a_session_there_is_nothing_to_change() {
        assert!(request(Situation { mode: Idle, is_locked: false, has_turn: false }, User).is_err());
    }
}
