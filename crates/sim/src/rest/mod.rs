//! What the interfaces of the fake git hosts have in common: answers, queries, pages, and JSON by hand.
//! Must never know what one host does otherwise than another.

mod answer;
mod json;
mod page;
mod query;

pub(crate) use self::answer::{Answer, JSON};
pub(crate) use self::json::{put, put_list, put_string};
pub(crate) use self::page::Page;
pub(crate) use self::query::{Query, decode, encode};
