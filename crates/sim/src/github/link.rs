//! Pages and the links between them, as GitHub writes them.
//! Must never put a name where GitHub puts a number: links to page 2 and later carry the repository's id.

use std::fmt::Write as _;

use crate::rest::{Page, Query};

/// Entries on a page when the request does not say.
pub(super) const PER_PAGE: usize = 30;

/// Where links lead.
pub(crate) struct Paths<'a> {
    /// The prefix of every URL.
    pub(crate) base: &'a str,
    /// The path as requested, for links to page 1.
    pub(crate) asked: &'a str,
    /// The path with numbers instead of names, for all other pages.
    pub(crate) numeric: &'a str,
}

impl Paths<'_> {
    fn write(&self, links: &mut String, query: &Query<'_>, page: usize, rel: &str) {
        let path = if page == 1 { self.asked } else { self.numeric };
        let mut url = format!("{}{path}?", self.base);
        let number = format!("page={page}");
        let mut placed = false;
        for part in query.parts() {
            let paging = part.starts_with("page=");
            url.push_str(if paging { &number } else { part });
            url.push('&');
            placed |= paging;
        }
        if placed {
            url.pop();
        } else {
            url.push_str(&number);
        }
        push(links, &url, rel);
    }

    /// Writes the links of a numbered page; a single page has none.
    pub(crate) fn numbered(
        &self,
        query: &Query<'_>,
        page: Page,
        entries: usize,
        with_last: bool,
    ) -> Option<String> {
        let last = page.last(entries);
        if last == 1 && page.number == 1 {
            return None;
        }
        let mut links = String::new();
        if page.number > 1 {
            self.write(&mut links, query, (page.number - 1).min(last), "prev");
        }
        if page.number < last {
            self.write(&mut links, query, page.number + 1, "next");
            if with_last {
                self.write(&mut links, query, last, "last");
            }
        }
        if page.number > 1 {
            self.write(&mut links, query, 1, "first");
        }
        Some(links)
    }

    /// Writes the link to what follows a sha, in the form that only the server understands.
    pub(crate) fn opaque(&self, query: &Query<'_>, top: &str, last_sha: &str) -> String {
        let mut url = format!("{}{}?", self.base, self.numeric);
        let own =
            |part: &&str| !["page=", "top=", "last_sha=", "sha="].iter().any(|key| part.starts_with(key));
        for part in query.parts().filter(own) {
            url.push_str(part);
            url.push('&');
        }
        url.push_str("last_sha=");
        url.push_str(last_sha);
        url.push_str("&top=");
        url.push_str(top);
        let mut links = String::new();
        push(&mut links, &url, "next");
        links
    }
}

fn push(links: &mut String, url: &str, rel: &str) {
    if !links.is_empty() {
        links.push_str(", ");
    }
    let written = write!(links, "<{url}>; rel=\"{rel}\"");
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}
