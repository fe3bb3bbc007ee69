//! Commits as JSON, 4 to 5 KB each as the real ones, written straight into one buffer.
//! Must never allocate per field: a page is a hundred commits.

use jiff::Timestamp;

use super::person::{API, WEB, login, node_id, put_account};
use crate::hash::{mix, pick};
use crate::rest::{put, put_string};
use crate::world::{Graph, Person, Sha, Text};

/// About how long a commit gets, so that a page's buffer grows once.
pub(super) const COMMIT_BYTES: usize = 5_400;

/// Appends a commit as lists show it.
pub(super) fn put_commit(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str) {
    put_open(out, graph, at, full_name);
    out.push(b'}');
}

/// Appends a commit as it is shown by itself.
pub(super) fn put_single(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str) {
    put_open(out, graph, at, full_name);
    put(out, &[",\"stats\":{\"total\":2,\"additions\":1,\"deletions\":1},\"files\":[]}"]);
}

fn put_open(out: &mut Vec<u8>, graph: &Graph, at: u32, full_name: &str) {
    let (sha, text) = (graph.sha(at), graph.text(at));
    let hex = sha.hex();
    let hex = std::str::from_utf8(&hex).unwrap_or_default();
    let repository = [API, "/repos/", full_name].concat();
    put(out, &["{\"sha\":\"", hex, "\",\"node_id\":\"", &node_id("C", sha.word())]);
    put(out, &["kAKGM\",\"commit\":{\"author\":"]);
    put_person(out, &text.author);
    put(out, &[",\"committer\":"]);
    put_person(out, &text.committer);
    put(out, &[",\"message\":"]);
    put_string(out, &text.message);
    let tree = text.tree.to_string();
    put(out, &[",\"tree\":{\"sha\":\"", &tree, "\",\"url\":\"", &repository, "/git/trees/", &tree]);
    put(
        out,
        &["\"},\"url\":\"", &repository, "/git/commits/", hex, "\",\"comment_count\":0,\"verification\":"],
    );
    put_verification(out, graph, at, sha, &text);
    put(out, &["},\"url\":\"", &repository, "/commits/", hex, "\",\"html_url\":\"", WEB, "/", full_name]);
    put(
        out,
        &[
            "/commit/",
            hex,
            "\",\"comments_url\":\"",
            &repository,
            "/commits/",
            hex,
            "/comments\",\"author\":",
        ],
    );
    let random = mix(sha.word());
    put_user(out, random, text.author.email);
    put(out, &[",\"committer\":"]);
    let same = text.author.email == text.committer.email;
    put_user(out, if same { random } else { random >> 24 }, text.committer.email);
    put(out, &[",\"parents\":["]);
    for (number, parent) in graph.parents(at).enumerate() {
        let hex = graph.sha(parent).hex();
        let hex = std::str::from_utf8(&hex).unwrap_or_default();
        put(
            out,
            &[
                if number > 0 { "," } else { "" },
                "{\"sha\":\"",
                hex,
                "\",\"url\":\"",
                &repository,
                "/commits/",
                hex,
            ],
        );
        put(out, &["\",\"html_url\":\"", WEB, "/", full_name, "/commit/", hex, "\"}"]);
    }
    out.push(b']');
}

fn put_person(out: &mut Vec<u8>, person: &Person<'_>) {
    put(out, &["{\"name\":"]);
    put_string(out, person.name);
    put(out, &[",\"email\":"]);
    put_string(out, person.email);
    put(out, &[",\"date\":\"", &date(person.date), "\"}"]);
}

/// Appends the account that an address belongs to. One in nine belongs to nobody, and now and then GitHub
/// answers with an empty object, as its description allows.
fn put_user(out: &mut Vec<u8>, random: u64, email: &str) {
    if random.is_multiple_of(9) {
        put(out, &["null"]);
    } else if random % 61 == 1 {
        put(out, &["{}"]);
    } else {
        put_account(out, &login(email), if email.contains("[bot]") { "Bot" } else { "User" });
    }
}

fn put_verification(out: &mut Vec<u8>, graph: &Graph, at: u32, sha: Sha, text: &Text<'_>) {
    if !text.signed {
        put(out, &["{\"verified\":false,\"reason\":\"unsigned\",\"signature\":null,\"payload\":null"]);
        // Older answers lack this field.
        put(out, &[if sha.word().is_multiple_of(10) { "}" } else { ",\"verified_at\":null}" }]);
        return;
    }
    put(out, &["{\"verified\":true,\"reason\":\"valid\",\"signature\":"]);
    put_signature(out, sha.word());
    let mut payload = format!("tree {}\n", text.tree);
    for parent in graph.parents(at) {
        payload.extend(["parent ", &graph.sha(parent).to_string(), "\n"]);
    }
    for (role, person) in [("author", &text.author), ("committer", &text.committer)] {
        payload.extend([
            role,
            " ",
            person.name,
            " <",
            person.email,
            "> ",
            &person.date.to_string(),
            " +0000\n",
        ]);
    }
    payload.push('\n');
    payload.push_str(&text.message);
    put(out, &[",\"payload\":"]);
    put_string(out, &payload);
    put(out, &[",\"verified_at\":\"", &date(text.committer.date), "\"}"]);
}

/// Appends a signature of the usual length, which no compression makes smaller.
fn put_signature(out: &mut Vec<u8>, mut random: u64) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    put(out, &["\"-----BEGIN PGP SIGNATURE-----\\n\\n"]);
    for _ in 0..12 {
        for _ in 0..7 {
            random = mix(random.wrapping_add(1));
            let mut letters = random;
            for _ in 0..9 {
                out.push(LETTERS[pick(letters & 63, 64)]);
                letters >>= 6;
            }
        }
        put(out, &["\\n"]);
    }
    put(out, &["=pS1m\\n-----END PGP SIGNATURE-----\\n\""]);
}

/// Writes a date as GitHub does. Dates that no calendar holds, which git allows, become 1970.
pub(super) fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
