//! The census: which records a provider still has, and what became of those that it no longer lists.
//!
//! It must never take a listing that was not read to its end for a complete one. Begin with [`Census`].

use serde::{Deserialize, Serialize};

use crate::job::words;
use crate::table::Table;

/// How the rows of a stream are counted against the provider: a connector says so for a stream whose ids can be listed.
///
/// In the lane [`Census`](crate::job::Lane::Census) a connector's `step` is called with no items to list the ids, page
/// after page ([`Counted::present`]), then with the absent ones as items, to look each up ([`Counted::judged`]).
#[derive(Clone, Copy, Debug)]
pub struct Census {
    /// The table that the stream's records land in.
    pub table: &'static Table,
    /// Its column that holds the partition's key, an integer.
    pub owner: &'static str,
    /// Its column that holds the ids.
    pub key: &'static str,
    /// Further columns that looking an id up needs: they stand in the item's arguments, as text, by their names.
    pub lookup: &'static [&'static str],
}

/// What a page of a census delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Ids that the provider lists.
    pub present: Vec<String>,
    /// What became of absent ones.
    pub judged: Vec<Judged>,
}

/// What became of a record that a complete listing did not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its id.
    pub key: String,
    /// What became of it.
    pub absence: Absence,
    /// Where it went, where the provider says so.
    pub moved_to: Option<String>,
}

/// Why a record is absent from a complete listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// The provider says that there is no such thing, and still shows what it belonged to.
    Deleted,
    /// It is somewhere else.
    Moved,
    /// The credential may no longer see it.
    AccessLost,
    /// Nothing is known: it is there when it is looked up, or could not be looked up.
    Unobserved,
}

words!(Absence {
    Deleted => "deleted", Moved => "moved", AccessLost => "access_lost", Unobserved => "unobserved",
});

impl Absence {
    /// Says whether the record is no longer where it was, so that its row is marked.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Deleted | Self::Moved)
    }
}

/// Where a census stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CensusState {
    /// The ids are being listed, or absent ones looked up.
    Counting,
    /// Nothing is gone.
    Clear,
    /// What is gone was marked.
    Applied,
    /// So much is gone that a person is asked.
    Asks,
    /// A person let it be marked.
    Approved,
    /// A person had it brought back.
    Undone,
    /// A later census took its place before anybody answered.
    Superseded,
    /// It did not come to its end, and says nothing.
    Failed,
}

words!(CensusState {
    Counting => "counting", Clear => "clear", Applied => "applied", Asks => "asks", Approved => "approved",
    Undone => "undone", Superseded => "superseded", Failed => "failed",
});

/// Rows that one census may mark without asking: what a team deletes in a week.
const GONE_MAX: u64 = 5;

/// Says whether so much is gone that a person is asked first: more than five rows, and more than one of a hundred.
#[must_use]
pub fn brakes(known: u64, gone: u64) -> bool {
    gone > GONE_MAX && u128::from(gone) * 100 > u128::from(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brake_asks_above_five_and_above_one_of_a_hundred() {
        for (known, gone, asks) in [
            (5, 5, false),
            (6, 6, true),
            (100, 5, false),
            (100, 6, true),
            (600, 6, false),
            (599, 6, true),
            (10_000, 100, false),
            (10_000, 101, true),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(brakes(known, gone), asks, "{gone} of {known}");
        }
    }

    #[test]
    fn only_what_is_known_to_be_elsewhere_or_nowhere_is_gone() {
        let gone: Vec<_> = Absence::ALL.iter().filter(|it| it.is_gone()).collect();
        assert_eq!(gone, [&Absence::Deleted, &Absence::Moved]);
        for it in Absence::ALL {
            assert_eq!(Absence::from_word(it.as_str()), Some(*it));
        }
        for it in CensusState::ALL {
            assert_eq!(CensusState::from_word(it.as_str()), Some(*it));
        }
    }
}
