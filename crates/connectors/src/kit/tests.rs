//! The shared pieces by themselves.

use super::*;

fn headers(name: &str, value: &str) -> Headers {
    Headers(vec![(name.to_owned(), value.to_owned())])
}

#[test]
fn links_are_read_in_every_form_that_is_sent() {
    let links = |it: &str| {
        let headers = headers("link", it);
        let links = links(&headers);
        (links.next.map(str::to_owned), links.last.map(str::to_owned))
    };
    let pair = |next: &str, last: &str| {
        let some = |it: &str| (!it.is_empty()).then(|| it.to_owned());
        (some(next), some(last))
    };
    assert_eq!(links(""), pair("", ""));
    assert_eq!(links("no link at all"), pair("", ""));
    assert_eq!(
        links(r#"<https://h/a?page=2>; rel="next", <https://h/a?page=9>; rel="last""#),
        pair("https://h/a?page=2", "https://h/a?page=9")
    );
    assert_eq!(
        links(r#"<https://h/a?ids=1,2;3>; rel="next""#),
        pair("https://h/a?ids=1,2;3", ""),
        "commas inside"
    );
    assert_eq!(links(r#"<x>;title="a";rel=next,<y>;rel="prev""#), pair("x", ""));
    assert_eq!(links(r#"<x>; rel="last next""#), pair("x", "x"));
    assert_eq!(links(r#"<p>; rel="prev", <f>; rel="first""#), pair("", ""));
    assert_eq!(links(r#"<x; rel="next""#), pair("", ""), "an address without an end");
    assert_eq!(links(r#"<a>; rel="next", <b>; rel="next""#), pair("a", ""), "the first counts");
}

#[test]
fn page_numbers_are_found_and_replaced_only_where_they_are_numbers() {
    assert_eq!(page_number("https://h/a?per_page=100&page=12"), Some(12));
    assert_eq!(page_number("https://h/a?page=3&sha=b"), Some(3));
    for none in [
        "https://h/a",
        "https://h/page=2",
        "https://h/a?per_page=100",
        "https://h/a?page=",
        "https://h/a?page=w2",
        "https://h/a?page=99999999999999999999",
    ] {
        assert_eq!(page_number(none), None, "{none}");
    }
    assert_eq!(
        with_page_number("https://h/a?page=3&sha=b", 10).as_deref(),
        Some("https://h/a?page=10&sha=b")
    );
    assert_eq!(with_page_number("https://h/a?x=1&page=99", 100).as_deref(), Some("https://h/a?x=1&page=100"));
    assert_eq!(with_page_number("https://h/a?after=w", 2), None);
}

#[test]
fn numbers_in_headers_that_are_none_are_ignored() {
    assert_eq!(retry_after(&headers("retry-after", " 60 ")), Some(Duration::from_mins(1)));
    for odd in ["", "soon", "-1", "1.5", "99999999999999999999", "Wed, 21 Oct 2026 07:28:00 GMT"] {
        assert_eq!(retry_after(&headers("retry-after", odd)), None, "{odd}");
        assert_eq!(epoch_seconds(&headers("reset", odd), "reset").filter(|_| odd != "-1"), None, "{odd}");
    }
    assert_eq!(
        epoch_seconds(&headers("reset", "1795251600"), "reset").unwrap().to_string(),
        "2026-11-21T09:00:00Z"
    );
    assert_eq!(epoch_seconds(&headers("reset", "9999999999999"), "reset"), None, "beyond all calendars");
    assert_eq!(later(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
}

#[test]
fn an_array_is_cut_where_its_elements_end() {
    let cut = |text: &str| {
        let mut parts = Vec::new();
        elements::<u8>(text, |raw, value| parts.push((raw.to_owned(), value))).map(|()| parts)
    };
    let part = |raw: &str, value| (raw.to_owned(), value);
    assert_eq!(cut(" [ ] "), Ok(vec![]));
    assert_eq!(cut("[1,2]"), Ok(vec![part("1", Some(1)), part("2", Some(2))]));
    let odd = r#" [ {"a": [1, "]"]} , 300 ,null, "x\"," ,7 ] "#;
    let parts = vec![
        part(r#"{"a": [1, "]"]}"#, None),
        part("300", None),
        part("null", None),
        part(r#""x\",""#, None),
        part("7", Some(7)),
    ];
    assert_eq!(cut(odd), Ok(parts));
    for wrong in ["", "{}", "[", "[1", "[1,", "[1,]", "[,]", "[1 2]", "[1]]", "[1] x", "<html>", "[tru]"] {
        assert_eq!(cut(wrong), Err(NotJson), "{wrong}");
    }
}

#[test]
fn jira_keys_stand_for_themselves_in_the_first_line() {
    let keys = |it: &'static str| jira_keys(it);
    assert_eq!(keys("SYNC-42: fix"), ["SYNC-42"]);
    assert_eq!(
        keys("[SYNC-1] (OPS2-20) SYNC-1 B2B-3,C3-4/D4-5"),
        ["SYNC-1", "OPS2-20", "B2B-3", "C3-4", "D4-5"]
    );
    assert_eq!(keys("fix\n\nSYNC-42"), Vec::<&str>::new(), "only the first line");
    assert_eq!(keys("feature/SYNC-42-with-words"), ["SYNC-42"]);
    for none in [
        "",
        "-",
        "sync-42",
        "S-42",
        "SYNC-",
        "SYNC-x",
        "1SYNC-42",
        "aSYNC-42",
        "SYNC-42a",
        "_SYNC-42",
        "SYNC-42_",
        "ÄSYNC-42",
        "SYNC-42é",
        "SYNC–42",
    ] {
        assert_eq!(keys(none), Vec::<&str>::new(), "{none}");
    }
}

#[test]
fn what_goes_into_an_address_is_escaped() {
    assert_eq!(escaped("c0ffee"), "c0ffee");
    assert_eq!(escaped("a/b?c#d e%ü...~"), "a%2Fb%3Fc%23d%20e%25%C3%BC...~");
}
