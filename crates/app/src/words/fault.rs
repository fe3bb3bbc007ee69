//! The sentence for each code that a job, item or check can end with. Each one names the fix.

use super::About;

/// Code and sentence. `{detail}` is what the engine knows beside the code; it never holds an answer's text.
pub(super) static FAULTS: &[(&str, &str)] = &[
    (
        "unauthorized",
        "{title} refuses the credential of `{source}`: make a new token, put it into a variable, and run `syncline \
         source add {provider} --name {source} --update --token-env VARIABLE`",
    ),
    (
        "denied",
        "the credential of `{source}` may not read this: give it access at {title}, or leave this out with `syncline \
         source add {provider} --name {source} --update`",
    ),
    (
        "gone",
        "{title} shows no such thing to `{source}`: check the spelling, and that its credential may see it",
    ),
    (
        "rate_limited",
        "{title} asks `{source}` to wait: the sync goes on there with the first start after the limit's reset",
    ),
    (
        "server_error",
        "{title} has trouble of its own ({detail}): start the sync again later, it goes on there",
    ),
    (
        "timeout",
        "{title} did not answer in time: check the network, or raise http_timeout, then start the sync again",
    ),
    (
        "unknown_host",
        "the host of `{source}` has no address: check the network and the spelling of --base-url (`syncline source \
         show {source}`), and correct it with `syncline source add {provider} --name {source} --update --base-url URL`",
    ),
    (
        "forbidden_address",
        "the host of `{source}` leads to an address that no provider has: correct it with `syncline source add \
         {provider} --name {source} --update --base-url URL`",
    ),
    (
        "no_connection",
        "nobody answers at the address of `{source}`: check the network and that the server runs, or correct the \
         address with `syncline source add {provider} --name {source} --update --base-url URL`",
    ),
    (
        "no_secure_connection",
        "the certificate of the server of `{source}` is refused: check this machine's clock and certificates, and \
         the spelling of --base-url",
    ),
    ("answer_cut", "{title}'s answers keep ending half-way: check the network, then start the sync again"),
    ("answer_too_large", "{title} sent more than http_body_max allows: raise it, then start the sync again"),
    (
        "no_ledger",
        "the database did not say how many requests may still be made: look at the log, and start the sync again \
         once it answers",
    ),
    (
        "bad_redirect",
        "the server of `{source}` leads to another place that may not be followed: give the address it ends at with \
         `syncline source add {provider} --name {source} --update --base-url URL`",
    ),
    ("cursor_lost", "{title} no longer knows the place to read on from: start the sync again, it reads anew"),
    (
        "malformed",
        "the answers are not what {title} promises ({detail}): check that --base-url names its API and not its web \
         pages",
    ),
    (
        "wrong_key",
        "{detail}: use the key that `{source}` was sealed with (SYNCLINE_KEY or --key-file), or set its credential \
         anew with `syncline source add {provider} --name {source} --update --token-env VARIABLE`",
    ),
    (
        "tampered",
        "the sealed credential of `{source}` was changed outside syncline: set it anew with `syncline source add \
         {provider} --name {source} --update --token-env VARIABLE`",
    ),
    (
        "corrupt_state",
        "the stored state is damaged ({detail}): restore the database from a backup, or correct this value by hand; \
         nothing was overwritten",
    ),
    ("panicked", "a fault in syncline itself: look at its log, report it, and start the sync again"),
    (
        "unknown_provider",
        "this version does not know {title}: run the version that added `{source}`, or a newer one",
    ),
    (
        "unknown_stream",
        "this version does not read this any more ({detail}): run the version that began the sync",
    ),
    (
        "crashed",
        "its worker was lost again and again without progress: look at the log of what ended it (often memory), then \
         start the sync again",
    ),
    ("not_found", "{title} has nothing at this address: correct --base-url of `{source}`"),
];

/// Says what happened and what to do about it.
pub(crate) fn fault(about: About<'_>, code: &str, detail: &str) -> String {
    match FAULTS.iter().find(|it| it.0 == code) {
        Some((_, sentence)) => about.fill(sentence, detail),
        None if detail.is_empty() => format!("{code}: look at the log, then start the sync again"),
        None => format!("{detail} ({code}): look at the log, then start the sync again"),
    }
}
