//! Several heads read side by side: each is a chain of answers, and a page of ours holds as many of them as fit.
//!
//! A step is asked again with all answers so far, so the same answers are always dealt out to the same chains.

use domain::connector::{PAGE_REQUESTS_MAX, SEND_MAX};
use domain::page::{Item, Response};

/// The answers to one item's reading.
pub(crate) struct Chain<'a> {
    pub(crate) item: &'a Item,
    /// Where to go on; the first address before anything was asked, `None` when nothing follows.
    pub(crate) next: Option<String>,
    pub(crate) answers: Vec<&'a Response>,
}

/// What follows of the answers so far.
pub(crate) enum Plan<'a> {
    /// These addresses are to be asked, side by side.
    Ask(Vec<String>),
    /// All was asked that a page may; the first chain may go on on the next one.
    Read(Vec<Chain<'a>>),
}

/// Deals the answers out to the leading items that are not under way, and says what to ask next.
///
/// `first` is the address that an item's chain begins with: `None` for one that cannot be read so, which ends the leading
/// items, `Some(None)` for one that needs no request. `next` is where a chain goes on after its last answer.
pub(crate) fn follow<'a>(
    items: &'a [Item],
    got: &'a [Response],
    first: impl Fn(&Item) -> Option<Option<String>>,
    next: impl Fn(&Chain<'_>, &Response) -> Option<String>,
) -> Plan<'a> {
    let mut chains: Vec<Chain<'a>> = items
        .iter()
        .take(SEND_MAX)
        .take_while(|it| it.cursor.is_none())
        .map_while(|item| Some(Chain { item, next: first(item)?, answers: Vec::new() }))
        .collect();
    let mut unread = got.iter();
    let mut asked = 0;
    loop {
        let room = SEND_MAX.min(PAGE_REQUESTS_MAX - asked);
        let round: Vec<&mut Chain<'a>> =
            chains.iter_mut().filter(|it| it.next.is_some()).take(room).collect();
        if round.is_empty() {
            return Plan::Read(chains);
        }
        if unread.len() == 0 {
            return Plan::Ask(round.iter().filter_map(|it| it.next.clone()).collect());
        }
        asked += round.len();
        for (chain, response) in round.into_iter().zip(unread.by_ref()) {
            // A refusal ends its chain.
            chain.next = if response.status == 200 { next(chain, response) } else { None };
            chain.answers.push(response);
        }
    }
}
