//! Pages, their headers and the links between them, as GitLab writes them.
//! Must never show a total where GitLab does not: clients that need one have to be found out.

use crate::rest::{Answer, Page, Query, encode};

/// Entries on a page when the request does not say.
pub(super) const PER_PAGE: usize = 20;
/// Above so many entries nobody counts them for a client.
const COUNTED_MAX: usize = 10_000;

/// How many entries there are.
#[derive(Clone, Copy)]
pub(super) enum Entries {
    /// So many.
    Counted(usize),
    /// Nobody knows, and there may be another page.
    More(bool),
}

/// Where links lead.
pub(super) struct Paths<'a> {
    /// The prefix of every URL.
    pub(super) base: &'a str,
    /// The path as requested.
    pub(super) path: &'a str,
    /// The project as the path names it, which links repeat in their query.
    pub(super) id: Option<&'a str>,
}

impl Paths<'_> {
    /// Writes a link with all parameters of the request, some of them changed, in the order of their names.
    fn write(&self, query: &Query<'_>, changed: &[(&str, String)], rel: &str) -> String {
        let id = self.id.map(|id| ("id", id.to_owned()));
        let changed = || changed.iter().cloned().chain(id.clone());
        let kept = query.pairs().filter(|(name, _)| changed().all(|(other, _)| other != name));
        let changed = changed().map(|(name, value)| (name.to_owned(), value));
        let mut pairs: Vec<(String, String)> = kept.chain(changed).collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        format!("<{}{}?{query}>; rel=\"{rel}\"", self.base, self.path)
    }

    /// Adds what tells of a numbered page.
    pub(super) fn numbered(&self, answer: Answer, query: &Query<'_>, page: Page, entries: Entries) -> Answer {
        let counted = match entries {
            Entries::Counted(entries) => Some(page.last(entries)),
            Entries::More(_) => None,
        };
        let next = match entries {
            Entries::More(more) => more,
            Entries::Counted(_) => counted.is_some_and(|last| page.number < last),
        };
        let inside = counted.is_none_or(|last| page.number <= last);
        let prev = (page.number > 1 && inside).then(|| page.number - 1);
        let next = next.then(|| page.number + 1);
        let total = match entries {
            Entries::Counted(entries) if entries <= COUNTED_MAX => Some((entries, page.last(entries))),
            _ => None,
        };
        let link = |number: usize, rel: &str| {
            let changed = [("page", number.to_string()), ("per_page", page.size.to_string())];
            self.write(query, &changed, rel)
        };
        let mut links = Vec::new();
        links.extend(prev.map(|prev| link(prev, "prev")));
        links.extend(next.map(|next| link(next, "next")));
        links.push(link(1, "first"));
        links.extend(total.map(|(_, last)| link(last, "last")));
        let shown = |number: Option<usize>| number.map_or_else(String::new, |number| number.to_string());
        let answer = answer
            .with("x-per-page", page.size.to_string())
            .with("x-page", page.number.to_string())
            .with("x-next-page", shown(next))
            .with("x-prev-page", shown(prev))
            .with("link", links.join(", "));
        match total {
            Some((entries, last)) => {
                answer.with("x-total", entries.to_string()).with("x-total-pages", last.to_string())
            }
            None => answer,
        }
    }

    /// Adds the link to what follows an id; after nothing nothing follows.
    pub(super) fn after(
        &self,
        answer: Answer,
        query: &Query<'_>,
        size: usize,
        last: Option<(&str, u64)>,
    ) -> Answer {
        let Some((parameter, id)) = last else { return answer };
        let changed = [(parameter, id.to_string()), ("per_page", size.to_string())];
        answer.with("link", self.write(query, &changed, "next"))
    }
}
