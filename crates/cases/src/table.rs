//! The table of columns that is shown before anything runs.

use std::fmt;

use crate::{Cases, Column};

/// Characters of a reason or an example that are shown.
const SHOWN: usize = 56;
/// Columns of a kind that are shown one by one.
const MOST: usize = 60;

impl fmt::Display for Cases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).clamp(6, 28);
        writeln!(f, "{:width$}  {:10}  {:>7}  {:SHOWN$}  example", "column", "read as", "missing", "because")?;
        for column in self.columns.iter().take(MOST) {
            let Column { name, kind, reason, missing, example, .. } = column;
            let missing = if *missing == 0.0 { "–".to_owned() } else { format!("{:.0} %", 100.0 * missing) };
            let [name, reason, example] = [(name, width), (reason, SHOWN), (example, 40)].map(|(t, n)| cut(t, n));
            writeln!(f, "{name:width$}  {kind:10}  {missing:>7}  {reason:SHOWN$}  {example}")?;
        }
        if self.columns.len() > MOST {
            writeln!(f, "… and {} more columns", self.columns.len() - MOST)?;
        }
        Ok(())
    }
}

/// In one line, at most so many characters.
fn cut(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match line.chars().count() > most {
        true => line.chars().take(most - 1).chain(['…']).collect(),
        false => line,
    }
}
