//! Looks at a configuration from time to time, where the kernel does not say when it changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{Stamp, list};
use super::pending::Report;

/// Between looks.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What the files looked like.
type Appearance = Vec<(PathBuf, Option<Stamp>)>;

/// What was seen at the last looks.
#[derive(Debug)]
pub(super) struct Poll {
    reported: Appearance,
    seen: Appearance,
}

impl Poll {
    /// What there is now counts as known.
    pub(super) fn new(config: &Path) -> Self {
        let seen = appearance(config);
        Self { reported: seen.clone(), seen }
    }

    /// Looks again. A change is reported when two looks in a row saw the same, since it may be halfway
    /// at the first.
    pub(super) fn look(&mut self, config: &Path) -> Report {
        let now = appearance(config);
        let stands_still = now == self.seen;
        self.seen = now;
        if !stands_still || self.seen == self.reported {
            return Report::NotNow;
        }
        self.reported.clone_from(&self.seen);
        Report::Now
    }
}

fn appearance(config: &Path) -> Appearance {
    let stamp = |path: PathBuf| {
        let stamp = fs::metadata(&path).ok().map(|meta| Stamp::of(&meta));
        (path, stamp)
    };
    list(config).unwrap_or_default().into_iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once_when_it_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("teal.toml");
        let mut poll = Poll::new(&config);
        assert_eq!(poll.look(&config), Report::NotNow);
        fs::write(&config, "a").unwrap();
        assert_eq!(poll.look(&config), Report::NotNow, "perhaps half of it");
        fs::write(&config, "ab").unwrap();
        assert_eq!(poll.look(&config), Report::NotNow, "it was half of it");
        assert_eq!(poll.look(&config), Report::Now);
        assert_eq!(poll.look(&config), Report::NotNow);
    }
}
