//! Looks up what a query's fields and values stand for on a site, and refuses what is not there, as Jira does.
//! Must never take a word for more than it is: an unknown field is an error, not an empty result.

use super::filter::{Field, Filter, Moment, Order};
use super::parse::{Clause, Operator, Value};
use super::{Asker, SPRINT_FIELD};
use crate::world::site::{Access, IssueKind, ME, PEOPLE, SprintState, Status};

const MINUTE_MS: i64 = 60_000;

/// What a field's name stands for.
enum Named {
    Values(Field),
    Moment(Moment),
}

impl Asker<'_> {
    /// Gives a clause its meaning.
    pub(super) fn resolve(&self, clause: &Clause) -> Result<Filter, String> {
        let each = |parts: &[Clause]| parts.iter().map(|it| self.resolve(it)).collect::<Result<_, _>>();
        Ok(match clause {
            Clause::All(parts) => Filter::All(each(parts)?),
            Clause::Any(parts) => Filter::Any(each(parts)?),
            Clause::Not(part) => Filter::Not(Box::new(self.resolve(part)?)),
            Clause::Is { field, operator, values } => match named(field) {
                Some(Named::Values(known)) => self.among(field, known, *operator, values)?,
                Some(Named::Moment(moment)) => self.when(field, moment, *operator, values)?,
                None => return Err(unknown_field(field)),
            },
        })
    }

    fn among(
        &self,
        name: &str,
        field: Field,
        operator: Operator,
        values: &[Value],
    ) -> Result<Filter, String> {
        let positive = match operator {
            Operator::Equal | Operator::In => true,
            Operator::NotEqual | Operator::NotIn => false,
            Operator::Is | Operator::IsNot => {
                if values != [Value::Empty] {
                    return Err(format!(
                        "The operator 'is' in the query for field '{name}' only supports the values 'EMPTY' and 'NULL'."
                    ));
                }
                let empty = Filter::Empty(field);
                return Ok(if operator == Operator::Is { empty } else { Filter::Not(Box::new(empty)) });
            }
            other if field == Field::Issue => return self.number(name, other, values),
            _ => return Err(unsupported(name)),
        };
        if values == [Value::Empty] {
            let empty = Filter::Empty(field);
            return Ok(if positive { empty } else { Filter::Not(Box::new(empty)) });
        }
        if field == Field::Labels {
            let labels = values.iter().map(|it| text(name, it)).collect::<Result<_, _>>()?;
            return Ok(Filter::Labelled(labels, positive));
        }
        let mut found = Vec::new();
        for value in values {
            found.extend(self.values(name, field, value)?);
        }
        Ok(if positive { Filter::Among(field, found) } else { Filter::Without(field, found) })
    }

    fn values(&self, name: &str, field: Field, value: &Value) -> Result<Vec<u64>, String> {
        if let Value::Function(function) = value {
            return self.function(name, field, function);
        }
        let text = text(name, value)?;
        let same = |known: &str| known.eq_ignore_ascii_case(&text);
        let one = |found: Option<u64>| found.map(|it| vec![it]);
        let state = self.state;
        let found = match field {
            Field::Project => {
                let shown = state.projects.iter().enumerate().filter(|(_, it)| it.access == Access::Ok);
                let wanted = |it: &crate::world::site::Project| {
                    same(&it.key) || same(&it.name) || it.id.to_string() == text
                };
                one(shown.into_iter().find(|(_, it)| wanted(it)).map(|(at, _)| at as u64))
            }
            Field::Issue | Field::Parent => {
                let found = state.issue(&text).filter(|it| state.shows(it)).map(|it| it.id);
                return match found {
                    Some(id) => Ok(vec![id]),
                    None if text.bytes().all(|it| it.is_ascii_digit()) => {
                        Err(format!("A value with ID '{text}' does not exist for the field '{name}'."))
                    }
                    None => Err(format!("An issue with key '{text}' does not exist for field '{name}'.")),
                };
            }
            Field::Sprint => return self.sprint(&text),
            Field::Status => one(Status::ALL
                .iter()
                .find(|it| same(it.name()) || it.id().to_string() == text)
                .map(|it| it.id())),
            Field::Category => {
                let categories =
                    [("To Do", "new", 2), ("In Progress", "indeterminate", 4), ("Done", "done", 3)];
                one(categories.iter().find(|(name, key, _)| same(name) || same(key)).map(|it| it.2))
            }
            Field::Kind => one(IssueKind::ALL.iter().find(|it| same(it.name())).map(|it| *it as u64)),
            Field::Assignee | Field::Reporter => {
                let known = |it: &crate::world::site::Person| {
                    same(it.name) || same(it.display) || same(&it.account_id())
                };
                one(PEOPLE.iter().position(known).map(|at| at as u64))
            }
            Field::Resolution => match text.to_ascii_lowercase().as_str() {
                "done" => Some(vec![0]),
                _ => None,
            },
            Field::Labels => None,
        };
        found.ok_or_else(|| format!("The value '{text}' does not exist for the field '{name}'."))
    }

    fn sprint(&self, text: &str) -> Result<Vec<u64>, String> {
        let sprints = &self.state.sprints;
        if let Ok(id) = text.parse::<u64>() {
            let known = sprints.contains_key(&id).then(|| vec![id]);
            return known.ok_or_else(|| {
                format!("Sprint with id '{id}' does not exist or you do not have permission to view it.")
            });
        }
        let named: Vec<u64> = sprints.values().filter(|it| it.name == text).map(|it| it.id).collect();
        if named.is_empty() {
            return Err(format!(
                "Sprint with name '{text}' does not exist or you do not have permission to view it."
            ));
        }
        Ok(named)
    }

    fn function(&self, name: &str, field: Field, function: &str) -> Result<Vec<u64>, String> {
        let of = |state: SprintState| {
            self.state.sprints.values().filter(|it| it.state == state).map(|it| it.id).collect()
        };
        match (field, function.to_ascii_lowercase().as_str()) {
            (Field::Sprint, "opensprints") => Ok(of(SprintState::Active)),
            (Field::Sprint, "closedsprints") => Ok(of(SprintState::Closed)),
            (Field::Sprint, "futuresprints") => Ok(of(SprintState::Future)),
            (Field::Assignee | Field::Reporter, "currentuser") => Ok(vec![ME as u64]),
            _ => Err(format!("Unable to find JQL function '{function}()' for the field '{name}'.")),
        }
    }

    /// Compares keys: only those of one project can be.
    fn number(&self, name: &str, operator: Operator, values: &[Value]) -> Result<Filter, String> {
        let text = text(name, &values[0])?;
        let parts = text.rsplit_once('-').and_then(|(project, number)| Some((project, number.parse().ok()?)));
        let found = parts.and_then(|(project, number)| {
            let at = self.state.projects.iter().position(|it| it.key.eq_ignore_ascii_case(project))?;
            Some(Filter::Number(at, order(operator)?, number))
        });
        found.ok_or_else(|| format!("The issue key '{text}' for field '{name}' is invalid."))
    }

    fn when(
        &self,
        name: &str,
        moment: Moment,
        operator: Operator,
        values: &[Value],
    ) -> Result<Filter, String> {
        if matches!(operator, Operator::Is | Operator::IsNot) {
            let empty = match moment {
                Moment::Resolved => Filter::Empty(Field::Resolution),
                // Every issue was made and changed at some time.
                _ => Filter::Any(Vec::new()),
            };
            return Ok(if operator == Operator::Is { empty } else { Filter::Not(Box::new(empty)) });
        }
        let order = order(operator).ok_or_else(|| unsupported(name))?;
        Ok(Filter::When(moment, order, self.moment(name, &values[0])?))
    }

    fn moment(&self, name: &str, value: &Value) -> Result<i64, String> {
        let refuse = |text: &str| {
            format!(
                "Date value '{text}' for field '{name}' is invalid. Valid formats include: 'yyyy/MM/dd HH:mm', \
                 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'."
            )
        };
        match value {
            Value::Function(function) if function.eq_ignore_ascii_case("now") => Ok(self.now_ms),
            Value::Function(function) => {
                Err(format!("Unable to find JQL function '{function}()' for the field '{name}'."))
            }
            Value::Empty => Err(refuse("EMPTY")),
            Value::Text(text, quoted) => {
                let epoch = (!quoted).then(|| text.parse::<i64>().ok()).flatten().filter(|it| *it >= 0);
                let found = epoch.or_else(|| self.zone.read(text)).or_else(|| self.period(text));
                found.ok_or_else(|| refuse(text))
            }
        }
    }

    /// Reads a period from now, such as `-5m` or `-4w 2d`.
    fn period(&self, text: &str) -> Option<i64> {
        let (back, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let mut total = 0_i64;
        let mut parts = rest.split_whitespace().peekable();
        parts.peek()?;
        for part in parts {
            let unit = part.chars().last()?;
            let minutes = match unit {
                'm' => 1,
                'h' => 60,
                'd' => 24 * 60,
                'w' => 7 * 24 * 60,
                _ => return None,
            };
            let count: u32 = part[..part.len() - 1].parse().ok()?;
            total = total.checked_add(i64::from(count) * minutes * MINUTE_MS)?;
        }
        self.now_ms.checked_add(if back { -total } else { total })
    }
}

/// Finds the field that a name stands for.
fn named(field: &str) -> Option<Named> {
    let custom = format!("cf[{SPRINT_FIELD}]");
    let values = match field.to_ascii_lowercase().as_str() {
        "project" => Field::Project,
        "key" | "issuekey" | "issue" | "id" => Field::Issue,
        "sprint" => Field::Sprint,
        other if other == custom => Field::Sprint,
        "status" => Field::Status,
        "statuscategory" => Field::Category,
        "issuetype" | "type" => Field::Kind,
        "assignee" => Field::Assignee,
        "reporter" | "creator" => Field::Reporter,
        "parent" => Field::Parent,
        "labels" => Field::Labels,
        "resolution" => Field::Resolution,
        "updated" | "updateddate" => return Some(Named::Moment(Moment::Updated)),
        "created" | "createddate" => return Some(Named::Moment(Moment::Created)),
        "resolved" | "resolutiondate" => return Some(Named::Moment(Moment::Resolved)),
        _ => return None,
    };
    Some(Named::Values(values))
}

pub(super) fn unknown_field(field: &str) -> String {
    format!("Field '{field}' does not exist or you do not have permission to view it.")
}

fn unsupported(field: &str) -> String {
    format!("The operator in the query is not supported by the '{field}' field.")
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text, _) => Ok(text.clone()),
        Value::Function(function) => {
            Err(format!("Unable to find JQL function '{function}()' for the field '{name}'."))
        }
        Value::Empty => Err(format!("The field '{name}' cannot be compared with EMPTY among other values.")),
    }
}

fn order(operator: Operator) -> Option<Order> {
    Some(match operator {
        Operator::Equal => Order::Equal,
        Operator::NotEqual => Order::NotEqual,
        Operator::Less => Order::Less,
        Operator::LessEqual => Order::LessEqual,
        Operator::Greater => Order::Greater,
        Operator::GreaterEqual => Order::GreaterEqual,
        _ => return None,
    })
}
