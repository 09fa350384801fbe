//! Git's progress as lines for a person: fewer, and readable.

/// Picks from git's progress what is worth telling: a phase's first line, each tenth per cent, its end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: String,
    told: u32,
}

impl Progress {
    /// A line for the person, or nothing.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim().trim_start_matches("remote: ");
        let (phase, rest) = line.split_once(':')?;
        let (per_cent, _) = rest.trim_start().split_once('%')?;
        let per_cent: u32 = per_cent.trim().parse().ok()?;
        if phase != self.phase {
            phase.clone_into(&mut self.phase);
            self.told = 0;
        } else if per_cent < self.told + 10 && (per_cent < 100 || self.told == 100) {
            return None;
        }
        self.told = per_cent;
        Some(format!("{phase}: {per_cent} %"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_clone_is_told_in_few_lines() {
        let mut progress = Progress::default();
        let mut told = Vec::new();
        for per_cent in 0..=100 {
            told.extend(progress.line(&format!("Receiving objects: {per_cent:>3}% (1/2), 3 MiB | 1 MiB/s")));
        }
        told.extend(progress.line("Receiving objects: 100% (2/2), done."));
        told.extend(progress.line("remote: Resolving deltas:  12% (1/8)"));
        assert_eq!(told.len(), 12);
        assert_eq!(
            (told[0].as_str(), told[10].as_str()),
            ("Receiving objects: 0 %", "Receiving objects: 100 %")
        );
        assert_eq!(told[11], "Resolving deltas: 12 %");
        assert_eq!(progress.line("Cloning into 'x'..."), None);
    }
}
