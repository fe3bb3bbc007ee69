//! The commits of one repository as an append-only graph: dates, parents, and where their text comes from.
//! Must never hold a parent behind its child: every index is greater than those of its parents.

use std::collections::{BTreeMap, HashMap};

use super::prose;
use super::sha::Sha;
use super::text::{Text, Written};

/// Stands for "no parent".
const NONE: u32 = u32::MAX;

/// Where the shas and words of the commits come from.
enum Origin {
    /// Made on demand from the seed.
    Seeded { salt: u64 },
    /// Read from git.
    Git { shas: Vec<Sha>, index: HashMap<Sha, u32>, texts: Vec<Written> },
}

/// The commits and branches of one repository.
pub(crate) struct Graph {
    dates: Vec<i64>,
    parents: Vec<[u32; 2]>,
    extra: HashMap<u32, Box<[u32]>>,
    origin: Origin,
    /// The heads, by branch name.
    pub(crate) branches: BTreeMap<String, u32>,
    /// The branch that is shown first.
    pub(crate) default_branch: String,
}

impl Graph {
    fn new(origin: Origin) -> Self {
        Self {
            dates: Vec::new(),
            parents: Vec::new(),
            extra: HashMap::new(),
            origin,
            branches: BTreeMap::new(),
            default_branch: "main".to_owned(),
        }
    }

    /// Starts a graph whose words are made from a seed.
    pub(crate) fn seeded(salt: u64) -> Self {
        Self::new(Origin::Seeded { salt })
    }

    /// Starts a graph whose words are read from git.
    pub(crate) fn git() -> Self {
        Self::new(Origin::Git { shas: Vec::new(), index: HashMap::new(), texts: Vec::new() })
    }

    /// Returns the seed's salt, of seeded graphs only.
    pub(crate) fn salt(&self) -> Option<u64> {
        match self.origin {
            Origin::Seeded { salt } => Some(salt),
            Origin::Git { .. } => None,
        }
    }

    /// Counts the commits.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.dates.len()).unwrap_or(NONE)
    }

    /// Appends a commit of a seeded graph.
    pub(crate) fn append(&mut self, parents: &[u32], date: i64) -> u32 {
        let at = self.len();
        self.dates.push(date);
        let part = |n: usize| parents.get(n).copied().unwrap_or(NONE);
        self.parents.push([part(0), part(1)]);
        if parents.len() > 2 {
            self.extra.insert(at, parents[2..].into());
        }
        at
    }

    /// Appends a commit that git showed, unless it is known.
    pub(crate) fn append_written(&mut self, sha: Sha, parents: &[Sha], date: i64, text: Written) {
        if self.find(sha).is_some() {
            return;
        }
        // A parent that git does not show lies behind a shallow border, where GitHub would show it and we cannot.
        let known: Vec<u32> = parents.iter().filter_map(|parent| self.find(*parent)).collect();
        let at = self.append(&known, date);
        if let Origin::Git { shas, index, texts } = &mut self.origin {
            shas.push(sha);
            index.insert(sha, at);
            texts.push(text);
        }
    }

    /// Finds a commit by its sha.
    pub(crate) fn find(&self, sha: Sha) -> Option<u32> {
        match &self.origin {
            Origin::Git { index, .. } => index.get(&sha).copied(),
            Origin::Seeded { salt } => {
                let at = sha.index(*salt)?;
                (at < self.len() && Sha::seeded(*salt, at) == sha).then_some(at)
            }
        }
    }

    /// Returns a commit's sha.
    pub(crate) fn sha(&self, at: u32) -> Sha {
        match &self.origin {
            Origin::Git { shas, .. } => shas[at as usize],
            Origin::Seeded { salt } => Sha::seeded(*salt, at),
        }
    }

    /// Returns a commit's committer date in seconds.
    pub(crate) fn date(&self, at: u32) -> i64 {
        self.dates[at as usize]
    }

    /// Returns a commit's parents, first parent first.
    pub(crate) fn parents(&self, at: u32) -> impl Iterator<Item = u32> + '_ {
        let extra = if self.extra.is_empty() { None } else { self.extra.get(&at) };
        let first = self.parents[at as usize].into_iter().filter(|parent| *parent != NONE);
        first.chain(extra.into_iter().flatten().copied())
    }

    /// Returns a commit's words.
    pub(crate) fn text(&self, at: u32) -> Text<'_> {
        match &self.origin {
            Origin::Git { texts, .. } => texts[at as usize].text(self.date(at)),
            Origin::Seeded { salt } => {
                let merged = self.parents(at).count();
                prose::text(*salt, self.sha(at).word(), self.date(at), merged)
            }
        }
    }

    /// Returns the latest committer date, 0 when there is no commit.
    pub(crate) fn latest_date(&self) -> i64 {
        self.dates.iter().copied().max().unwrap_or_default()
    }
}
