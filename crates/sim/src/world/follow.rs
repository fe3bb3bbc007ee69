//! Follows a git repository: a cheap look at its files tells whether its branches may have moved.
//! Must never miss a move: where the look is in doubt, git is asked.

use std::fs::{self, Metadata};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use super::git::{Git, Refs};
use super::graph::Graph;
use super::history::History;
use super::sha::Sha;
use crate::clock;
use crate::error::Error;
use crate::hash::Digest;
use crate::lock::{hold, read, write};

/// File times move in ticks of up to 10 ms; a file that changed this recently may change again unseen.
const DOUBT: Duration = Duration::from_millis(50);

/// How the files looked, and whether that look can be trusted.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    branches: u128,
    shallow: u128,
    /// When the youngest of the files changed.
    changed: Duration,
}

/// Keeps one history equal to a git repository's branches.
pub(crate) struct Follower {
    git: Git,
    /// The last look that was followed up; held while another is, so that nobody answers with less.
    seen: Mutex<Option<(Look, bool)>>,
}

impl Follower {
    /// Opens the repository that the path is in.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { git: Git::open(path)?, seen: Mutex::new(None) })
    }

    /// Returns the name of the repository's folder.
    pub(crate) fn folder(&self) -> &str {
        &self.git.folder
    }

    /// Brings the history up to date and returns it.
    pub(crate) fn refresh(&self, slot: &RwLock<Arc<History>>) -> Result<Arc<History>, Error> {
        let mut seen = hold(&self.seen);
        // The look comes before git is asked: what moves in between is found by the next look.
        let look = self.look();
        let trusted = clock::since_epoch().saturating_sub(look.changed) > DOUBT;
        if let Some((last, true)) = *seen
            && last == look
        {
            return Ok(Arc::clone(&read(slot)));
        }
        if seen.is_some_and(|(last, _)| last.shallow != look.shallow) {
            // A shallow border moved: commits have other parents now, so the graph is read anew.
            *write(slot) = Arc::new(History::new(Graph::git()));
        }
        let history = Arc::clone(&read(slot));
        self.load(&history)?;
        *seen = Some((look, trusted));
        Ok(history)
    }

    /// Reads the branches and the commits that are new.
    fn load(&self, history: &History) -> Result<(), Error> {
        let mut refs = self.git.refs()?;
        let (known, wanted) = {
            let graph = read(&history.graph);
            let known: Vec<Sha> = graph.branches.values().map(|at| graph.sha(*at)).collect();
            let new = refs.branches.iter().map(|(_, sha)| *sha).filter(|sha| graph.find(*sha).is_none());
            (known, new.collect::<Vec<_>>())
        };
        if !wanted.is_empty() {
            self.append(history, &wanted, &known)?;
        }
        let mut graph = write(&history.graph);
        refs.branches.sort();
        if let Some(name) = default_branch(&refs) {
            graph.default_branch = name;
        }
        // A head whose commit is missing is a broken branch, which git does not show either.
        graph.branches = refs
            .branches
            .into_iter()
            .filter_map(|(name, sha)| graph.find(sha).map(|at| (name, at)))
            .collect();
        Ok(())
    }

    fn append(&self, history: &History, wanted: &[Sha], known: &[Sha]) -> Result<(), Error> {
        let mut found = Vec::new();
        self.git.commits(wanted, known, |shown| found.push(shown))?;
        let mut graph = write(&history.graph);
        for shown in found {
            graph.append_written(shown.sha, &shown.parents, shown.date, shown.words);
        }
        Ok(())
    }

    /// Looks for a commit that no branch reaches.
    pub(crate) fn fetch(&self, history: &History, sha: Sha) -> Option<u32> {
        let _seen = hold(&self.seen);
        let known: Vec<Sha> = {
            let graph = read(&history.graph);
            graph.branches.values().map(|at| graph.sha(*at)).collect()
        };
        if let Err(error) = self.append(history, &[sha], &known) {
            tracing::debug!(%sha, %error, "git does not know the commit");
        }
        read(&history.graph).find(sha)
    }

    fn look(&self) -> Look {
        let (own, common) = (&self.git.own_dir, &self.git.common_dir);
        let mut changed = Duration::ZERO;
        let mut branches = 0_u128;
        let files = [
            own.join("HEAD"),
            own.join("reftable/tables.list"),
            common.join("reftable/tables.list"),
            common.join("packed-refs"),
        ];
        for file in files {
            branches = branches.wrapping_add(seal(&file, &mut changed));
        }
        let mut folders = vec![common.join("refs/heads")];
        while let Some(folder) = folders.pop() {
            branches = branches.wrapping_add(seal(&folder, &mut changed));
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                } else {
                    branches = branches.wrapping_add(seal(&entry.path(), &mut changed));
                }
            }
        }
        let shallow = seal(&common.join("shallow"), &mut changed);
        Look { branches, shallow, changed }
    }
}

/// Sums up a file's name and how it looks from outside; nothing for a file that is not there.
fn seal(path: &Path, changed: &mut Duration) -> u128 {
    let Ok(metadata) = fs::metadata(path) else { return 0 };
    let modified =
        metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    *changed = modified.max(*changed);
    let nanos = |time: Duration| {
        time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(time.subsec_nanos()))
    };
    let digest =
        Digest::new(2).bytes(path.as_os_str().as_encoded_bytes()).word(nanos(modified)).word(metadata.len());
    digest.word(file_number(&metadata)).finish()
}

/// Git replaces a file to change it, so the new one has another number.
#[cfg(unix)]
fn file_number(metadata: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.ino()
}

/// Where files have no numbers, times have to do.
#[cfg(not(unix))]
fn file_number(_metadata: &Metadata) -> u64 {
    0
}

/// Chooses the branch that HEAD names, or one of the usual names, or the first.
fn default_branch(refs: &Refs) -> Option<String> {
    let has = |name: &str| refs.branches.iter().any(|(branch, _)| branch == name).then(|| name.to_owned());
    let named = refs.head.as_deref().and_then(has).or_else(|| has("main")).or_else(|| has("master"));
    named.or_else(|| refs.branches.first().map(|(name, _)| name.clone()))
}
