//! What a query's conditions mean for one issue.
//! Must never look at anything but what search sees.

use crate::world::site::{Facts, Status};

/// A condition that knows its values.
#[derive(Debug)]
pub(crate) enum Filter {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// One of the field's values is among these.
    Among(Field, Vec<u64>),
    /// The field has values, and none of them is among these: what is empty never matches.
    Without(Field, Vec<u64>),
    /// One of the labels is among these.
    Labelled(Vec<String>, bool),
    Empty(Field),
    When(Moment, Order, i64),
    /// The issue's number in this project.
    Number(usize, Order, u64),
}

/// A field with numbers as its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Project,
    Issue,
    Sprint,
    Status,
    Category,
    Kind,
    Assignee,
    Reporter,
    Parent,
    Labels,
    Resolution,
}

/// A field with a moment as its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Created,
    Updated,
    Resolved,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
        }
    }
}

/// The number of a status category.
pub(crate) fn category(status: Status) -> u64 {
    match status {
        Status::ToDo => 2,
        Status::InProgress | Status::InReview => 4,
        Status::Done => 3,
    }
}

impl Filter {
    /// Tells whether an issue is found.
    pub(crate) fn matches(&self, id: u64, facts: &Facts) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|it| it.matches(id, facts)),
            Self::Any(parts) => parts.iter().any(|it| it.matches(id, facts)),
            Self::Not(part) => !part.matches(id, facts),
            Self::Among(field, values) => held(*field, id, facts, |it| values.contains(&it)),
            Self::Without(field, values) => {
                held(*field, id, facts, |_| true) && !held(*field, id, facts, |it| values.contains(&it))
            }
            Self::Labelled(labels, wanted) => {
                (*wanted || !facts.labels.is_empty())
                    && facts.labels.iter().any(|it| labels.contains(it)) == *wanted
            }
            Self::Empty(Field::Labels) => facts.labels.is_empty(),
            Self::Empty(field) => !held(*field, id, facts, |_| true),
            Self::When(moment, order, value) => moment.of(facts).is_some_and(|it| order.holds(it, *value)),
            Self::Number(project, order, number) => {
                facts.project == *project && order.holds(facts.number, *number)
            }
        }
    }
}

impl Moment {
    fn of(self, facts: &Facts) -> Option<i64> {
        match self {
            Self::Created => Some(facts.created_ms),
            Self::Updated => Some(facts.updated_ms),
            Self::Resolved => facts.resolved_ms,
        }
    }
}

/// Tells whether one of the field's values is wanted.
fn held(field: Field, id: u64, facts: &Facts, wanted: impl Fn(u64) -> bool) -> bool {
    match field {
        Field::Project => wanted(facts.project as u64),
        Field::Issue => wanted(id),
        Field::Sprint => facts.sprints.iter().any(|it| wanted(*it)),
        Field::Status => wanted(facts.status.id()),
        Field::Category => wanted(category(facts.status)),
        Field::Kind => wanted(facts.kind as u64),
        Field::Assignee => facts.assignee.is_some_and(|it| wanted(it as u64)),
        Field::Reporter => wanted(facts.reporter as u64),
        Field::Parent => facts.parent.is_some_and(wanted),
        Field::Labels => false,
        Field::Resolution => facts.resolved_ms.is_some_and(|_| wanted(0)),
    }
}
