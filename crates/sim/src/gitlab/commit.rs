//! Commits as JSON, about 1 KB each as the real ones, and dates in GitLab's two ways.
//! Must never show when a commit was pushed: `created_at` is its committer date.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::WEB;
use crate::hash::{mix, pick};
use crate::rest::{put, put_string};
use crate::world::Graph;

/// About how long a commit gets, so that a page's buffer grows once.
pub(super) const COMMIT_BYTES: usize = 1_500;
/// From so many characters on a title is cut, to so many at most.
const TITLE_CHARS: usize = 100;
const CUT_TITLE_CHARS: usize = 78;
/// Where people commit, in minutes east of Greenwich.
const OFFSETS_MIN: [i32; 9] = [0, 120, 60, 330, 480, -480, -210, 120, 765];

/// Appends a commit as lists show it.
pub(super) fn put_commit(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str) {
    put_open(out, graph, at, full_name);
    out.push(b'}');
}

/// Appends a commit as it is shown by itself.
pub(super) fn put_single(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str, project: u64) {
    put_open(out, graph, at, full_name);
    put(out, &[",\"stats\":{\"additions\":1,\"deletions\":1,\"total\":2},\"status\":null,\"project_id\":"]);
    put(out, &[&project.to_string(), ",\"last_pipeline\":null}"]);
}

fn put_open(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str) {
    let (sha, text) = (graph.sha(at), graph.text(at));
    let hex = sha.to_string();
    let random = mix(sha.word());
    let committed = local(text.committer.date, OFFSETS_MIN[pick(random, OFFSETS_MIN.len())]);
    let authored = local(text.author.date, OFFSETS_MIN[pick(random >> 8, OFFSETS_MIN.len())]);
    put(out, &["{\"id\":\"", &hex, "\",\"short_id\":\"", &hex[..8], "\",\"created_at\":\"", &committed]);
    put(out, &["\",\"parent_ids\":["]);
    for (number, parent) in graph.parents(at).enumerate() {
        put(out, &[if number > 0 { ",\"" } else { "\"" }, &graph.sha(parent).to_string(), "\""]);
    }
    put(out, &["],\"title\":"]);
    put_string(out, &title(&text.message));
    put(out, &[",\"message\":"]);
    // Git ends a message with a newline, which only commits made in the web page lack.
    let ended = !random.is_multiple_of(4) && !text.message.is_empty();
    put_string(out, &if ended { format!("{}\n", text.message) } else { text.message.clone().into_owned() });
    for (role, person, date) in
        [("author", &text.author, &authored), ("committer", &text.committer, &committed)]
    {
        put(out, &[",\"", role, "_name\":"]);
        put_string(out, person.name);
        put(out, &[",\"", role, "_email\":"]);
        put_string(out, person.email);
        put(out, &[",\"", if role == "author" { "authored" } else { "committed" }, "_date\":\"", date, "\""]);
    }
    put_trailers(out, &text.message);
    put(out, &[",\"web_url\":\"", WEB, "/", full_name, "/-/commit/", &hex, "\""]);
}

/// Makes the title of a message: its first line, cut at a space when it is long.
fn title(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.chars().count() < TITLE_CHARS {
        return line.to_owned();
    }
    let head: String = line.chars().take(CUT_TITLE_CHARS).collect();
    let cut = head.rfind(' ').map_or(head.as_str(), |at| &head[..at]);
    format!("{cut}...")
}

/// Finds the trailers: a last paragraph whose lines all have a key.
fn trailers(message: &str) -> Vec<(&str, &str)> {
    let Some((_, last)) = message.rsplit_once("\n\n") else { return Vec::new() };
    let has_key =
        |line: &str| line.split_once(": ").is_some_and(|(key, _)| !key.is_empty() && !key.contains(' '));
    if !last.lines().all(has_key) {
        return Vec::new();
    }
    last.lines().filter_map(|line| line.split_once(": ")).collect()
}

/// Appends the trailers, the last of each key and all of each key.
fn put_trailers(out: &mut Vec<u8>, message: &str) {
    let found = trailers(message);
    let mut keys: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    for (name, all) in [("trailers", false), ("extended_trailers", true)] {
        put(out, &[",\"", name, "\":{"]);
        for (number, key) in keys.iter().enumerate() {
            put(out, &[if number > 0 { "," } else { "" }]);
            put_string(out, key);
            put(out, &[if all { ":[" } else { ":" }]);
            let values: Vec<&str> =
                found.iter().filter(|(other, _)| other == key).map(|(_, value)| *value).collect();
            let from = if all { 0 } else { values.len() - 1 };
            for (number, value) in values[from..].iter().enumerate() {
                put(out, &[if number > 0 { "," } else { "" }]);
                put_string(out, value);
            }
            put(out, &[if all { "]" } else { "" }]);
        }
        put(out, &["}"]);
    }
}

/// Writes a commit's date as it stood on the clock of whoever made it. Dates that no calendar holds become 1970.
fn local(seconds: i64, offset_min: i32) -> String {
    let zone = Offset::from_seconds(offset_min * 60).map_or(TimeZone::UTC, TimeZone::fixed);
    let moment = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(zone);
    moment.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Writes any other moment, in UTC.
pub(super) fn utc(at_ms: i64) -> String {
    let moment = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::{local, title, trailers, utc};

    #[test]
    fn dates_have_thousandths_and_an_offset_or_a_z() {
        assert_eq!(local(1_714_550_400, 120), "2024-05-01T10:00:00.000+02:00");
        assert_eq!(local(1_714_550_400, -210), "2024-05-01T04:30:00.000-03:30");
        assert_eq!(utc(1_714_550_400_007), "2024-05-01T08:00:00.007Z");
    }

    #[test]
    fn a_long_title_is_cut_at_a_space() {
        let long = format!("{} end", "word ".repeat(25));
        assert_eq!(title("short\n\nbody"), "short");
        assert_eq!(title(&long), format!("{}...", "word ".repeat(15).trim_end()));
        assert_eq!(title(&"ü".repeat(120)), format!("{}...", "ü".repeat(78)));
    }

    #[test]
    fn only_a_last_paragraph_of_keys_is_trailers() {
        let both = "Title\n\nBody\n\nSigned-off-by: A\nSigned-off-by: B";
        assert_eq!(trailers(both), [("Signed-off-by", "A"), ("Signed-off-by", "B")]);
        assert!(trailers("fix: title").is_empty() && trailers("a\n\nb: c\nplain").is_empty());
    }
}
