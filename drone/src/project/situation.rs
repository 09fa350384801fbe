//! Decides what to do with a checkout from what is found. Nothing here touches a disk.

/// What is at the place of the checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// Nothing, or an empty directory.
    Missing,
    Repository {
        origin: Option<String>,
    },
    /// Files, but no repository that works.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Clone,
    Init,
    /// A repository without a remote for a project without one.
    Keep,
    Update {
        /// The remote is another one now. What it was before; empty: there was none.
        replace_remote: Option<String>,
    },
    Refuse,
}

pub(super) fn decide(situation: &Situation, url: Option<&str>) -> Step {
    match (situation, url) {
        (Situation::Missing, Some(_)) => Step::Clone,
        (Situation::Missing | Situation::Foreign, None) => Step::Init,
        (Situation::Foreign, Some(_)) => Step::Refuse,
        (Situation::Repository { .. }, None) => Step::Keep,
        (Situation::Repository { origin }, Some(url)) => {
            let is_same = origin.as_deref() == Some(url);
            Step::Update { replace_remote: (!is_same).then(|| origin.clone().unwrap_or_default()) }
        }
    }
}

/// What `git status --porcelain=v2 --branch` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// None when no branch is checked out.
    pub(super) branch: Option<String>,
    /// The branch has no commit yet.
    pub(super) is_unborn: bool,
    pub(super) upstream: Option<String>,
    pub(super) ahead: u64,
    pub(super) behind: u64,
    /// Files that git knows and that are not as committed.
    pub(super) changed: usize,
}

impl Tree {
    pub(super) fn parse(status: &str) -> Self {
        let mut tree = Self::default();
        for line in status.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some("branch.oid"), Some("(initial)"), _) => tree.is_unborn = true,
                (Some("#"), Some("branch.head"), Some(name), _) if name != "(detached)" => {
                    tree.branch = Some(name.to_owned());
                }
                (Some("#"), Some("branch.upstream"), Some(name), _) => tree.upstream = Some(name.to_owned()),
                (Some("#"), Some("branch.ab"), Some(ahead), Some(behind)) => {
                    tree.ahead = ahead.trim_start_matches('+').parse().unwrap_or(0);
                    tree.behind = behind.trim_start_matches('-').parse().unwrap_or(0);
                }
                (Some("1" | "2" | "u"), ..) => tree.changed += 1,
                _ => {}
            }
        }
        tree
    }
}

/// What to do with the branch after a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    Nothing,
    FastForward {
        to: String,
        /// How many, in words.
        commits: String,
    },
    /// Something is there that must not be lost.
    Leave(String),
}

pub(super) fn advance(tree: &Tree) -> Advance {
    let Tree { branch, is_unborn, upstream, ahead, behind, changed } = tree;
    let Some(upstream) = upstream else {
        return match branch {
            Some(branch) => Advance::Leave(format!("Branch {branch} is on no remote: left as it is")),
            None => Advance::Leave("No branch is checked out: left as it is".into()),
        };
    };
    if *is_unborn && *changed == 0 {
        return Advance::FastForward { to: upstream.clone(), commits: "all commits".into() };
    }
    match (*ahead, *behind, *changed) {
        (_, 0, 0) => Advance::Nothing,
        (_, behind, changed) if changed > 0 => {
            let new = if behind > 0 {
                format!("; fetched {}", plural(behind, "new commit"))
            } else {
                String::new()
            };
            Advance::Leave(format!("Left as it is: {}{new}", plural(changed as u64, "changed file")))
        }
        (0, behind, _) => Advance::FastForward { to: upstream.clone(), commits: plural(behind, "commit") },
        (ahead, behind, _) => Advance::Leave(format!(
            "The branch and {upstream} have gone different ways ({} here, {behind} there): left as it is",
            plural(ahead, "commit")
        )),
    }
}

fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(ahead: u64, behind: u64, changed: usize) -> Tree {
        let (branch, upstream) = (Some("main".into()), Some("origin/main".into()));
        Tree { branch, is_unborn: false, upstream, ahead, behind, changed }
    }

    fn repository(origin: Option<&str>) -> Situation {
        Situation::Repository { origin: origin.map(str::to_owned) }
    }

    #[test]
    fn what_is_found_and_what_is_wanted_decide_the_step() {
        let update =
            |replace_remote: Option<&str>| Step::Update { replace_remote: replace_remote.map(str::to_owned) };
        for (situation, url, step) in [
            (Situation::Missing, Some("a"), Step::Clone),
            (Situation::Missing, None, Step::Init),
            (Situation::Foreign, Some("a"), Step::Refuse),
            (Situation::Foreign, None, Step::Init),
            (repository(Some("a")), Some("a"), update(None)),
            (repository(Some("b")), Some("a"), update(Some("b"))),
            (repository(None), Some("a"), update(Some(""))),
            (repository(Some("a")), None, Step::Keep),
        ] {
            assert_eq!(decide(&situation, url), step, "{situation:?} {url:?}");
        }
    }

    #[test]
    fn the_status_of_git_is_read() {
        let status = "# branch.oid 1234\n# branch.head main\n# branch.upstream origin/main\n# branch.ab +1 -2\n\
                      1 .M N... 100644 100644 100644 a b file\n? new file\nu UU N... 1 2 3 4 a b c x\n";
        assert_eq!(Tree::parse(status), tree(1, 2, 2));
        let detached = Tree::parse("# branch.oid 1234\n# branch.head (detached)\n");
        assert_eq!(detached, Tree::default());
        assert!(Tree::parse("# branch.oid (initial)\n# branch.head main\n").is_unborn);
    }

    #[test]
    fn only_a_clean_branch_without_commits_of_its_own_moves() {
        let left = |tree: &Tree| matches!(advance(tree), Advance::Leave(_));
        assert_eq!(advance(&tree(0, 0, 0)), Advance::Nothing);
        assert_eq!(advance(&tree(3, 0, 0)), Advance::Nothing);
        let forward = Advance::FastForward { to: "origin/main".into(), commits: "2 commits".into() };
        assert_eq!(advance(&tree(0, 2, 0)), forward);
        assert!(left(&tree(1, 2, 0)) && left(&tree(0, 2, 1)) && left(&tree(0, 0, 1)));
        assert!(left(&Tree::default()));
        assert!(left(&Tree { upstream: None, ..tree(0, 0, 0) }));
        assert!(left(&Tree { is_unborn: true, ..tree(0, 0, 1) }));
    }
}
