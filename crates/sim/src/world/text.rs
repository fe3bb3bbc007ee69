//! The words of a commit: people, dates and message.
//! Must never allocate for what can be borrowed: a page reads a hundred of them.

use std::borrow::Cow;

use super::sha::Sha;

/// One person in one role.
pub(crate) struct Person<'a> {
    /// The name as written.
    pub(crate) name: &'a str,
    /// The address as written.
    pub(crate) email: &'a str,
    /// When, in seconds since the epoch.
    pub(crate) date: i64,
}

/// The words of one commit.
pub(crate) struct Text<'a> {
    /// The commit's tree.
    pub(crate) tree: Sha,
    /// Who wrote the change.
    pub(crate) author: Person<'a>,
    /// Who made the commit.
    pub(crate) committer: Person<'a>,
    /// The whole message, without the newline at its end.
    pub(crate) message: Cow<'a, str>,
    /// Whether it shows a signature.
    pub(crate) signed: bool,
}

/// The words of a commit read from git, in one piece of memory.
pub(crate) struct Written {
    tree: Sha,
    author_date: i64,
    /// Where author name, author e-mail, committer name and committer e-mail end; the message follows.
    ends: [u32; 4],
    words: Box<str>,
}

impl Written {
    /// Packs the words.
    pub(crate) fn new(tree: Sha, author_date: i64, people: [&str; 4], message: &str) -> Self {
        let mut words =
            String::with_capacity(people.iter().map(|part| part.len()).sum::<usize>() + message.len());
        let mut ends = [0; 4];
        for (end, part) in ends.iter_mut().zip(people) {
            words.push_str(part);
            *end = u32::try_from(words.len()).unwrap_or(u32::MAX);
        }
        words.push_str(message);
        Self { tree, author_date, ends, words: words.into_boxed_str() }
    }

    /// Shows the words.
    pub(crate) fn text(&self, committer_date: i64) -> Text<'_> {
        let cut = |from: usize, to: usize| self.words.get(from..to).unwrap_or_default();
        let ends = self.ends.map(|end| end as usize);
        Text {
            tree: self.tree,
            author: Person { name: cut(0, ends[0]), email: cut(ends[0], ends[1]), date: self.author_date },
            committer: Person {
                name: cut(ends[1], ends[2]),
                email: cut(ends[2], ends[3]),
                date: committer_date,
            },
            message: Cow::Borrowed(cut(ends[3], self.words.len())),
            signed: false,
        }
    }
}
