//! Reads `syncline.toml`: its keys, their values as text, and the lines they stand in.
//!
//! It never judges a key or value; the table does.

use std::io::ErrorKind;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// One line of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The value as text; `None` for a list or table, which no setting is.
    pub(super) value: Option<String>,
    pub(super) line: usize,
}

/// Reads the file. One that is not there is empty, unless it was `named`.
pub(super) fn read_file(path: &Path, named: bool, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !named => return Vec::new(),
        Err(error) => {
            problems.push(Problem::unreadable(path, &error.to_string()));
            return Vec::new();
        }
    };
    let table = match DeTable::parse(&text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |it| line_of(&text, it.start));
            // Only what the parser says of it: the line itself may hold a secret.
            problems.push(Problem::syntax(path, line, error.message()));
            return Vec::new();
        }
    };
    let mut entries: Vec<Entry> = table
        .get_ref()
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            value: as_text(value.get_ref()),
            line: line_of(&text, key.span().start),
        })
        .collect();
    entries.sort_by_key(|it| it.line);
    entries
}

fn as_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(at) => Some(at.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|it| *it == b'\n').count()
}
