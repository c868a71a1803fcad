//! Output of the process: data to standard output, everything else to standard error. No other module prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this module does all printing")]

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anstream::{eprint, eprintln, stderr};
use comfy_table::{ContentArrangement, LineStyle, Table, presets};
use owo_colors::OwoColorize;
use serde::Serialize;

use crate::failure::Failure;

mod progress;

use progress::suspend_bar;
pub(crate) use progress::{LogLine, RestoreBar};

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Output {
    /// If set, data is printed as JSON.
    pub(crate) json: bool,
    quiet: bool,
    stdout: BufWriter<io::Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, stdout: BufWriter::new(io::stdout()) }
    }

    /// Writes a line of data, which stays buffered until [`flush`](Self::flush).
    pub(crate) fn line(&mut self, parts: &[&[u8]]) -> Result<(), Failure> {
        for part in parts {
            self.stdout.write_all(part)?;
        }
        Ok(self.stdout.write_all(b"\n")?)
    }

    /// Writes a text of data and flushes the output.
    pub(crate) fn text(&mut self, text: impl Display) -> Result<(), Failure> {
        self.line(&[text.to_string().trim_end().as_bytes()])?;
        self.flush()
    }

    /// Writes a value as a line of JSON, which stays buffered until [`flush`](Self::flush).
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value).map_err(io::Error::from)?;
        self.line(&[])
    }

    /// Flushes buffered data to standard output.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    /// Prints a list as a table, or with `--json` as one array of objects.
    pub(crate) fn list<T: Serialize>(&mut self, title: &str, rows: &[T], columns: &[Column<T>]) -> Result<(), Failure> {
        if self.json {
            self.object(&rows)?;
            return self.flush();
        }
        let header = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let body = rows.iter().map(|row| columns.iter().map(|(_, cell)| cell(row)).collect());
        let table = table(title, Some(header), body, io::stdout().is_terminal());
        self.text(table)
    }

    /// Prints a message for the user to standard error, unless `--quiet` is set.
    pub(crate) fn note(&self, text: impl Display) {
        note(self.quiet, text);
    }

    /// Returns a function that prints as [`note`](Self::note) does.
    pub(crate) fn notes(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let quiet = self.quiet;
        move |text| note(quiet, text)
    }

    /// Asks the user to confirm. Any answer but `y` or `yes` means no.
    ///
    /// # Errors
    /// Standard input is not a terminal.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !io::stdin().is_terminal() {
            return Err(Failure::error(
                "cannot ask for confirmation: standard input is not a terminal; pass `--yes` to skip the question",
            ));
        }
        eprint!("{question} [y/N] ");
        stderr().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(is_yes(&answer))
    }

    /// Returns a progress bar for restores, if standard error is a terminal and `--quiet` is not set.
    pub(crate) fn restore_bar(&self) -> Option<RestoreBar> {
        (!self.quiet && io::stderr().is_terminal()).then(RestoreBar::default)
    }

    /// Prints a table to standard error, unless `--quiet` is set: the start-up table of a worker.
    pub(crate) fn banner(&self, title: &str, rows: Vec<Vec<String>>) {
        if !self.quiet {
            let table = table(title, None, rows.into_iter(), io::stderr().is_terminal());
            suspend_bar(|| eprintln!("{table}"));
        }
    }
}

fn note(quiet: bool, text: impl Display) {
    if !quiet {
        suspend_bar(|| eprintln!("{text}"));
    }
}

/// A column of a list: its header, and a function that returns the text of its cell in a row.
pub(crate) type Column<'a, T> = (&'a str, fn(&T) -> String);

/// Draws a table with its title in the upper border, as Faust does: with box-drawing characters on a terminal, with
/// ASCII characters elsewhere.
fn table(title: &str, header: Option<Vec<String>>, rows: impl Iterator<Item = Vec<String>>, terminal: bool) -> String {
    let mut table = Table::new();
    if terminal {
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
    } else {
        // In a file or pipe, lines may be of any length.
        table.load_style(presets::ASCII_FULL_CONDENSED.header_separator(LineStyle::new('+', '-', '+', '+')));
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    if let Some(header) = header {
        table.set_header(header);
    }
    table.add_rows(rows);
    with_title(&table.to_string(), title)
}

/// Writes the title over the upper border, and truncates it to the width of the table.
fn with_title(table: &str, title: &str) -> String {
    let Some((border, rest)) = table.split_once('\n') else { return table.to_owned() };
    let room = border.chars().count().saturating_sub(2);
    let title: String = title.chars().take(room).collect();
    let mut border = border.chars();
    let corner: String = border.by_ref().take(1).collect();
    let line: String = border.skip(title.chars().count()).collect();
    format!("{corner}{title}{line}\n{rest}")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Returns the width of the terminal: `COLUMNS` if set, or 100 if it is unknown.
fn width() -> u16 {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0)).unwrap_or(100)
}

/// Prints the help of all commands to standard output, as `--help` does.
pub(crate) fn help(mut command: clap::Command) -> ExitCode {
    _ = command.print_help();
    ExitCode::SUCCESS
}

/// Reports the error of a failed command and returns the exit code.
pub(crate) fn failed(failure: &Failure) -> ExitCode {
    if let Failure::Error(text) = failure {
        eprintln!("{} {text}", "error:".red().bold());
    }
    ExitCode::from(failure.exit_code())
}

/// Exits immediately.
pub(crate) fn force_end() -> ! {
    _ = stderr().flush();
    std::process::exit(i32::from(Failure::Forced.exit_code()))
}

/// Makes the process exit silently when the reader of its output closes the pipe (`| head`), even if an agent uses
/// `println!`, which panics in that case. No events are lost: the next worker reads uncommitted events again.
pub(crate) fn quiet_broken_pipe() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        before(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_looks_as_in_faust() {
        let rows = [["@count".to_owned(), "words".to_owned()].to_vec()];
        let header = vec!["name".to_owned(), "topic".to_owned()];
        let expected = "\
+Agents--+-------+
| name   | topic |
+--------+-------+
| @count | words |
+--------+-------+";
        assert_eq!(table("Agents", Some(header), rows.into_iter(), false), expected);
    }

    #[test]
    fn only_y_and_yes_confirm() {
        let yes = ["y\n", "Y", " yes\r\n"];
        assert!(yes.into_iter().all(is_yes) && ["", "\n", "n\n", "yeah\n"].iter().all(|no| !is_yes(no)));
    }

    #[test]
    fn a_title_longer_than_its_table_is_truncated() {
        assert_eq!(with_title("+---+\n| a |\n+---+", "A long title"), "+A l+\n| a |\n+---+");
    }
}
