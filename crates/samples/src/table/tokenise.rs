//! Delimited text (RFC 4180), with blanks allowed around cells, before an opening quote too.
//!
//! One automaton finds where records end and what their cells are. The `csv` crate does neither
//! with blanks before quotes: `a, "b, c"` would be three cells.

/// Between two bytes of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// At the start of a cell, or in the blanks there.
    #[default]
    Start,
    /// In a cell without quotes.
    Plain,
    /// Within quotes.
    Quoted,
    /// After a quote within quotes, which either ends them or stands for one.
    Quote,
    /// After the closing quote.
    Closed,
}

/// What a byte does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Keep,
    Skip,
    EndCell,
    EndRecord,
}

impl State {
    fn step(self, byte: u8, delimiter: u8) -> (Self, Action) {
        if self != Self::Quoted && (byte == delimiter || byte == b'\n') {
            return (Self::Start, if byte == b'\n' { Action::EndRecord } else { Action::EndCell });
        }
        match (self, byte) {
            (Self::Start, b' ' | b'\t' | b'\r') => (Self::Start, Action::Skip),
            (Self::Start, b'"') => (Self::Quoted, Action::Skip),
            (Self::Quoted, b'"') => (Self::Quote, Action::Skip),
            (Self::Quoted, _) => (Self::Quoted, Action::Keep),
            (Self::Quote, b'"') => (Self::Quoted, Action::Keep),
            (Self::Quote | Self::Closed, b' ' | b'\t' | b'\r') => (Self::Closed, Action::Skip),
            _ => (Self::Plain, Action::Keep),
        }
    }

    /// Goes one byte on; whether that byte ends the record.
    pub fn ends_record(&mut self, byte: u8, delimiter: u8) -> bool {
        let (state, action) = self.step(byte, delimiter);
        *self = state;
        action == Action::EndRecord
    }
}

/// The cells of the record that `text` begins with, trimmed.
pub(crate) fn cells(text: &str, delimiter: u8) -> Vec<String> {
    let (mut cells, mut cell, mut state) = (Vec::new(), Vec::new(), State::Start);
    for &byte in text.as_bytes() {
        let (next, action) = state.step(byte, delimiter);
        state = next;
        match action {
            Action::Keep => cell.push(byte),
            Action::Skip => {}
            Action::EndCell => cells.push(trimmed(&mut cell)),
            Action::EndRecord => break,
        }
    }
    cells.push(trimmed(&mut cell));
    cells
}

fn trimmed(cell: &mut Vec<u8>) -> String {
    // Only whole ASCII bytes were taken out of valid UTF-8, so nothing is lost here.
    let text = String::from_utf8_lossy(cell).trim().to_owned();
    cell.clear();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_blanks_and_line_ends() {
        assert_eq!(cells("1, \"x, y\" ,z\r\n9", b','), ["1", "x, y", "z"]);
        assert_eq!(cells("a\"b,\"say \"\"hi\"\"\",", b','), ["a\"b", "say \"hi\"", ""]);
        assert_eq!(cells("\"two\nlines\",é", b','), ["two\nlines", "é"]);
        assert_eq!(cells("a b\t\tc d", b'\t'), ["a b", "", "c d"]);
    }

    /// Texts made of the characters that matter, against the csv crate (which trims, too, but
    /// knows no blanks before quotes).
    #[test]
    fn agrees_with_the_csv_crate() {
        let alphabet = ["a", "\"b\"", "\"x,\n\"\"y\"", ",", "\n", "\r\n", "é", "1.5"];
        let mut number = 1_u64;
        for _ in 0..2000 {
            let mut text = String::new();
            let mut last_cell = false;
            for _ in 0..12 {
                number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let part = alphabet[(number >> 33) as usize % alphabet.len()];
                let is_cell = ![",", "\n", "\r\n"].contains(&part);
                if !(is_cell && last_cell) {
                    text.push_str(part);
                    last_cell = is_cell;
                }
            }
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> = reader
                .records()
                .map(|record| record.unwrap().iter().map(|cell| cell.trim().to_owned()).collect())
                .collect();
            assert_eq!(all(&text), expected, "{text:?}");
        }
    }

    /// All records that are not blank.
    fn all(text: &str) -> Vec<Vec<String>> {
        let (mut state, mut start, mut records) = (State::Start, 0, Vec::new());
        for (place, byte) in text.bytes().enumerate() {
            if state.ends_record(byte, b',') {
                records.push(&text[start..=place]);
                start = place + 1;
            }
        }
        records.push(&text[start..]);
        records.into_iter().filter(|record| !record.trim().is_empty()).map(|record| cells(record, b',')).collect()
    }
}
