//! JQL as far as a client of this kind sends it: fields of issues, moments in the account's zone, and an order.
//! Must never answer a query that it does not understand.

mod filter;
mod parse;
mod resolve;
mod token;

pub(crate) use self::filter::{Filter, category};
use super::time::Zone;
use crate::world::site::{Facts, State};

/// The number of the custom field that holds an issue's sprints.
pub(crate) const SPRINT_FIELD: u32 = 10_020;
/// Cloud orders by this many fields at most.
const ORDER_MAX: usize = 7;

/// Who asks, and when.
pub(crate) struct Asker<'a> {
    /// The site.
    pub(crate) state: &'a State,
    /// The zone that moments are read in.
    pub(crate) zone: &'a Zone,
    /// What periods are counted from.
    pub(crate) now_ms: i64,
}

/// A query that was understood.
#[derive(Debug, Default)]
pub(crate) struct Jql {
    /// The condition; none finds everything.
    pub(crate) filter: Option<Filter>,
    order: Vec<(Sort, bool)>,
}

/// What can be sorted by.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Key,
    Created,
    Updated,
    Status,
    Project,
    Rank,
}

impl Asker<'_> {
    /// Reads a query, or tells everything that is wrong with it.
    pub(crate) fn read(&self, text: &str) -> Result<Jql, String> {
        let query = parse::parse(text)?;
        if query.order.len() > ORDER_MAX {
            return Err(format!("The number of fields in ORDER BY is limited to {ORDER_MAX}."));
        }
        let filter = query.filter.as_ref().map(|it| self.resolve(it)).transpose()?;
        let sorted = |(field, descending): &(String, bool)| {
            Sort::named(field).map(|it| (it, *descending)).ok_or_else(|| {
                format!("Not able to sort using field '{field}'. {}", resolve::unknown_field(field))
            })
        };
        let order = query.order.iter().map(sorted).collect::<Result<_, _>>()?;
        Ok(Jql { filter, order })
    }
}

impl Jql {
    /// Tells whether an order was asked for.
    pub(crate) fn is_ordered(&self) -> bool {
        !self.order.is_empty()
    }

    /// Tells whether an issue is found.
    pub(crate) fn matches(&self, id: u64, facts: &Facts) -> bool {
        self.filter.as_ref().is_none_or(|it| it.matches(id, facts))
    }

    /// Makes the key that issues are sorted by, smallest first; the number decides between equals.
    pub(crate) fn sort_key(&self, id: u64, facts: &Facts) -> Vec<i64> {
        let id = id.cast_signed();
        let mut key: Vec<i64> = self
            .order
            .iter()
            .flat_map(|(sort, descending)| {
                sort.values(id, facts).map(|it| if *descending { -it } else { it })
            })
            .collect();
        // Without an order the newest come first.
        key.push(if self.order.is_empty() { -id } else { id });
        key
    }
}

impl Sort {
    fn named(field: &str) -> Option<Self> {
        Some(match field.to_ascii_lowercase().as_str() {
            "key" | "issuekey" | "id" | "issue" => Self::Key,
            "created" | "createddate" => Self::Created,
            "updated" | "updateddate" => Self::Updated,
            "status" => Self::Status,
            "project" => Self::Project,
            "rank" => Self::Rank,
            _ => return None,
        })
    }

    fn values(self, id: i64, facts: &Facts) -> [i64; 2] {
        let project = i64::try_from(facts.project).unwrap_or(i64::MAX);
        match self {
            Self::Key => [project, facts.number.cast_signed()],
            Self::Created => [facts.created_ms, 0],
            Self::Updated => [facts.updated_ms, 0],
            Self::Status => [facts.status.id().cast_signed(), 0],
            Self::Project => [project, 0],
            Self::Rank => [id, 0],
        }
    }
}
