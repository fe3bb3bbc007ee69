//! The people and messages of a seeded world: with unicode, with and without Jira keys, short and long.
//! Must never depend on anything but its arguments.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::sha::Sha;
use super::text::{Person, Text};
use crate::hash::{mix, pick};

/// Who works in the world.
const PEOPLE: [(&str, &str); 12] = [
    ("Ada Byrne", "ada@acme.example"),
    ("Zoë Østergård", "zoe.ostergard@acme.example"),
    ("李小明", "xiaoming.li@acme.example"),
    ("Иван Петров", "ivan.petrov@acme.example"),
    ("José Ñuñez", "jose@contractor.example"),
    ("Aïcha Ben Yahïa", "aicha.benyahia@acme.example"),
    ("Seán O'Brien", "sean@acme.example"),
    ("Mia \"Mo\" Keller", "mia.keller@acme.example"),
    ("dependabot[bot]", "49699333+dependabot[bot]@users.noreply.github.com"),
    ("ナカムラ 🦊", "nakamura@acme.example"),
    ("Tom van den Berg", "tom@acme.example"),
    ("Priya Raman", "priya.raman@acme.example"),
];
/// Who makes the commits that come out of the web page.
const WEB: (&str, &str) = ("GitHub", "noreply@github.com");
const PROJECTS: [&str; 5] = ["PAY", "OPS", "WEB2", "DATA", "CORE"];
const VERBS: [&str; 10] =
    ["Add", "Remove", "Fix", "Rename", "Speed up", "Document", "Test", "Rework", "Guard", "Simplify"];
const OBJECTS: [&str; 12] = [
    "the refund form",
    "retries of the ledger export",
    "the \"dry run\" switch",
    "naïve date handling",
    "the invoice → payout mapping",
    "a race in the session store",
    "C:\\temp handling on Windows",
    "the search index",
    "currency rounding (¥, €, £)",
    "the nightly report",
    "feature flags",
    "the webhook receiver",
];
const REASONS: [&str; 6] = [
    "The old way read the whole table for every request, which took minutes on the big tenants.",
    "Customers saw two mails for one refund. The key is now written in the same transaction as the row,\nso a second try finds it and stops.",
    "Measured on the staging data: 41 ms before, 3 ms after.",
    "See the discussion in #482 and the note in docs/ledger.md.\n\n* keep the old column until the next release\n* warn when both are set",
    "Co-authored-by: Zoë Østergård <zoe.ostergard@acme.example>",
    "Signed-off-by: Priya Raman <priya.raman@acme.example>",
];

/// Writes the words of one commit: `word` is its sha's first word, `parents` how many it has.
pub(crate) fn text(salt: u64, word: u64, date: i64, parents: usize) -> Text<'static> {
    let random = mix(word ^ salt);
    let (name, email) = PEOPLE[pick(random, PEOPLE.len())];
    // One in four was written up to 16 days before it was committed, as the recorded data shows.
    let author_date =
        if (random >> 8).is_multiple_of(4) { date - i64::from(low(random >> 16)) * 21 } else { date };
    let web = parents > 1 || (random >> 12).is_multiple_of(2);
    let committer = if web { WEB } else { (name, email) };
    Text {
        tree: Sha::from_word(mix(random), salt),
        author: Person { name, email, date: author_date },
        committer: Person { name: committer.0, email: committer.1, date },
        message: Cow::Owned(if parents > 1 { merge(random, parents) } else { message(random) }),
        signed: web || (random >> 20).is_multiple_of(2),
    }
}

/// Takes the lowest 16 bits.
fn low(random: u64) -> u16 {
    u16::try_from(random & 0xffff).unwrap_or_default()
}

fn merge(random: u64, parents: usize) -> String {
    let (number, project) = (low(random >> 24), PROJECTS[pick(random >> 40, PROJECTS.len())]);
    if parents > 2 {
        return format!("Merge {} topic branches for release {number}", parents - 1);
    }
    if random & 1 == 0 {
        return format!("Merge branch 'topic/{number}'");
    }
    format!(
        "Merge pull request #{number} from acme/feature/{project}-{number}\n\n{project}-{number}: {}",
        OBJECTS[pick(random >> 44, OBJECTS.len())]
    )
}

fn message(random: u64) -> String {
    let mut message = String::with_capacity(240);
    let key =
        |shift: u32| (PROJECTS[pick(random >> shift, PROJECTS.len())], low(random >> (shift + 3)) % 900 + 1);
    let (project, number) = key(24);
    let written = match random >> 21 & 15 {
        0..=6 => write!(message, "{project}-{number}: "),
        7 => {
            let (other, second) = key(33);
            write!(message, "{project}-{number} {other}-{second}: ")
        }
        8 => write!(message, "[{project}-{number}] "),
        _ => Ok(()),
    };
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    message.push_str(VERBS[pick(random >> 44, VERBS.len())]);
    message.push(' ');
    message.push_str(OBJECTS[pick(random >> 48, OBJECTS.len())]);
    for paragraph in 0..(random >> 52 & 3) {
        message.push_str("\n\n");
        message.push_str(REASONS[pick((random >> 54).wrapping_add(paragraph), REASONS.len())]);
    }
    message
}
