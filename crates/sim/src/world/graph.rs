//! The commits of one repository as an append-only graph: dates, parents, and where their text comes from.
//! Must never hold a parent behind its child: every index is greater than those of its parents.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use super::prose;
use super::text::{Text, Written};
use crate::hash::{mix, unmix};

/// A commit's (or tree's) name in git.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sha(pub(crate) [u8; 20]);

impl Sha {
    /// Writes the 40 hex digits.
    pub(crate) fn hex(self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// Makes the sha of the commit at an index of a seeded repository. The first 8 bytes can be undone,
    /// so that a million commits need no table of shas.
    fn seeded(salt: u64, index: u32) -> Self {
        let first = mix(salt.wrapping_add(u64::from(index)));
        Self::from_word(first, salt)
    }

    /// Fills the bytes behind the first word.
    pub(crate) fn from_word(first: u64, salt: u64) -> Self {
        let second = mix(first ^ salt.rotate_left(17));
        let third = mix(second.wrapping_add(salt));
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        bytes[8..16].copy_from_slice(&second.to_be_bytes());
        bytes[16..].copy_from_slice(&third.to_be_bytes()[..4]);
        Self(bytes)
    }

    /// Reads the first word.
    pub(crate) fn word(self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Sha {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(());
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

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
                let at = u32::try_from(unmix(sha.word()).wrapping_sub(*salt)).ok()?;
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
