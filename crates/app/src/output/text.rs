//! How words and numbers look in a terminal. It never adds a colour where none is wanted.

use std::fmt::Display;

use comfy_table::{Attribute, Cell, Color};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

/// What a word is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// It went well.
    Good,
    /// It waits, or half of it went well.
    Careful,
    /// It failed.
    Bad,
    /// It names something.
    Name,
    /// It matters less than its neighbours.
    Quiet,
    /// It is a heading.
    Strong,
}

impl Paint {
    /// Colours a text.
    pub(crate) fn of(self, style: Style, text: impl Display) -> String {
        let code = match style {
            Style::Good => "32",
            Style::Careful => "33",
            Style::Bad => "31",
            Style::Name => "36",
            Style::Quiet => "2",
            Style::Strong => "1",
        };
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// One field of a table: its text, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Field(String, Option<Style>);

impl Field {
    /// Makes a field with a colour.
    pub(crate) fn styled(style: Style, text: impl Display) -> Self {
        Self(text.to_string(), Some(style))
    }
}

impl<T: Display> From<T> for Field {
    fn from(text: T) -> Self {
        Self(text.to_string(), None)
    }
}

// The table measures its cells, so it has to know the colours itself.
impl From<Field> for Cell {
    fn from(Field(text, style): Field) -> Self {
        let cell = Self::new(text);
        match style {
            None => cell,
            Some(Style::Good) => cell.fg(Color::DarkGreen),
            Some(Style::Careful) => cell.fg(Color::DarkYellow),
            Some(Style::Bad) => cell.fg(Color::DarkRed),
            Some(Style::Name) => cell.fg(Color::DarkCyan),
            Some(Style::Quiet) => cell.add_attribute(Attribute::Dim),
            Some(Style::Strong) => cell.add_attribute(Attribute::Bold),
        }
    }
}

/// Writes a number with a comma at every third digit.
pub(crate) fn count(number: impl TryInto<i128>) -> String {
    let number = number.try_into().unwrap_or_default();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn numbers_are_grouped_by_threes() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
    }
}
