//! What the program prints: results to standard output (text or one JSON object), all else to standard error.
//!
//! It never decides what to print; the commands do.

mod text;
mod when;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::error::ErrorKind;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde_json::{Value, json};

pub(crate) use text::{Field, Paint, Style, count, plural};
pub(crate) use when::{ago, clock_time, span};

use crate::exit::Exit;

/// The narrowest terminal that tables are fitted into: two short columns.
const WIDTH_MIN: u16 = 20;

/// Where results go, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    json: bool,
    paint: Paint,
    colors_on_stderr: bool,
    bars: MultiProgress,
}

impl Output {
    /// Looks at the terminal, once.
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        Self {
            json,
            paint: Paint(io::stdout().is_terminal() && !no_color),
            colors_on_stderr: io::stderr().is_terminal() && !no_color,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
        }
    }

    /// Says whether results are wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Says whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Says whether a person watches, so that bars may move.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Says whether results are read at a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Returns the place where bars are drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Says whether log lines may have colours.
    pub(crate) fn colors_on_stderr(&self) -> bool {
        self.colors_on_stderr
    }

    /// Returns how words on standard output are coloured.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints a line of a result for people; nothing when JSON is wanted.
    pub(crate) fn line(&self, text: impl Display) -> io::Result<()> {
        if self.json { Ok(()) } else { self.bars.suspend(|| print(&text)) }
    }

    /// Prints a result for scripts; nothing when text is wanted.
    pub(crate) fn json(&self, value: &Value) -> io::Result<()> {
        if self.json { print(value) } else { Ok(()) }
    }

    /// Tells people something that is not part of the result.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            // Nobody is left to be told that standard error is closed.
            self.bars.suspend(|| writeln!(io::stderr(), "{text}").ok());
        }
    }

    /// Asks a question that is answered with yes or no; anything but yes is no.
    pub(crate) fn ask(&self, question: &str) -> io::Result<bool> {
        self.bars.suspend(|| {
            write!(io::stderr(), "{question} [y/N] ")?;
            io::stderr().flush()?;
            let mut answer = String::new();
            io::stdin().read_line(&mut answer)?;
            Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
        })
    }

    /// Lays out rows under a header; columns whose name begins with `>` are aligned to the right.
    pub(crate) fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<Field>>) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(arrangement(io::stdout().is_terminal(), table.width()));
        if self.paint.0 {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let title = |name: &&str| {
            let name = name.trim_start_matches('>').to_uppercase();
            Cell::new(name).add_attribute(Attribute::Dim)
        };
        table.set_header(header.iter().map(title).collect::<Vec<_>>());
        table.add_rows(rows.into_iter().map(|row| row.into_iter().map(Cell::from).collect::<Vec<_>>()));
        for (index, column) in table.column_iter_mut().enumerate() {
            // Two spaces between columns, none before the first: rows begin where the text around them does.
            column.set_padding((0, 2));
            if header.get(index).is_some_and(|it| it.starts_with('>')) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// Prints an error where scripts or people look for it, and returns how the program ends.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> Exit {
        if is_closed_pipe(error) {
            // Whoever read the output has seen enough, as `head` does.
            return Exit::Done;
        }
        let (exit, code) = Exit::of(error);
        self.print_error(code, &format!("{error:#}"));
        exit
    }

    fn print_error(&self, code: &str, message: &str) {
        // An error that cannot be told is still told by the exit code.
        if self.json {
            let _ = print(&json!({ "error": { "code": code, "message": message } }));
        } else {
            let _ =
                writeln!(io::stderr(), "{}: {message}", Paint(self.colors_on_stderr).of(Style::Bad, "error"));
        }
    }
}

/// Says whether a table is fitted into the terminal. A script that reads one wants whole lines, and so does whoever
/// looks at a terminal that states no width, as many do that programs make: letter by letter nobody could read it.
fn arrangement(is_terminal: bool, width: Option<u16>) -> ContentArrangement {
    if is_terminal && width.is_none_or(|it| it >= WIDTH_MIN) {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    }
}

/// Prints what clap says of a command line: help where it was asked for, else an error.
pub(crate) fn refuse_usage(error: &clap::Error) -> Exit {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !asked && std::env::args_os().any(|it| it == "--json") {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ");
        Output::new(true, true).print_error("usage", message);
    } else {
        // The reader may be gone, as with `--help | head`.
        let _ = error.print();
    }
    if asked { Exit::Done } else { Exit::Usage }
}

fn print(text: &impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use comfy_table::ContentArrangement;

    use super::arrangement;

    #[test]
    fn a_terminal_without_a_width_gets_whole_lines() {
        let fitted =
            |is_terminal, width| matches!(arrangement(is_terminal, width), ContentArrangement::Dynamic);
        assert!(fitted(true, Some(80)) && fitted(true, None));
        assert!(!fitted(true, Some(0)) && !fitted(false, Some(80)));
    }
}
