use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::StateError;

/// A file of JSON Lines, each with a member `step`, that a resumed run continues as if it had
/// never stopped.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    file: File,
}

#[derive(serde::Deserialize)]
struct Stamp {
    step: u64,
}

impl Records {
    /// Opens or creates the file and drops every line after `step`, which a run that was stopped
    /// later than its last checkpoint has left, and a line that was not finished.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn open(path: &Path, step: u64) -> Result<Self, StateError> {
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let text = fs::read(path)?;
            file.set_len(kept(&text, step) as u64)?;
            Ok(file)
        };
        let file = open().map_err(|error| StateError::io("open", path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::DiskFull`].
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), StateError> {
        let damaged = |reason| StateError::Json { path: self.path.clone(), reason };
        let mut line = serde_json::to_vec(record).map_err(damaged)?;
        line.push(b'\n');
        // One write a line, without a buffer: a killed process loses nothing.
        self.file.write_all(&line).map_err(|error| StateError::io("write", &self.path, error))
    }

    /// Brings all lines to the disk.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn sync(&self) -> Result<(), StateError> {
        self.file.sync_data().map_err(|error| StateError::io("bring to the disk", &self.path, error))
    }
}

/// Length of the lines that are whole and not after `step`.
fn kept(text: &[u8], step: u64) -> usize {
    let keep = |line: &&[u8]| {
        let stamp = serde_json::from_slice::<Stamp>(line);
        line.ends_with(b"\n") && stamp.is_ok_and(|stamp| stamp.step <= step)
    };
    text.split_inclusive(|&byte| byte == b'\n').take_while(keep).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_after_the_step_and_torn_lines_go() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("metrics.jsonl");
        let mut records = Records::open(&path, 0).unwrap();
        for step in 1..=5 {
            records.append(&json!({ "step": step, "loss": 0.5 })).unwrap();
        }
        records.append(&json!({ "step": 5, "evaluation": "x" })).unwrap();
        let whole = fs::read_to_string(&path).unwrap();

        fs::write(&path, format!("{whole}{{\"step\": 5, \"lo")).unwrap();
        Records::open(&path, 5).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);

        let mut records = Records::open(&path, 3).unwrap();
        records.append(&json!({ "step": 4, "loss": 0.5 })).unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines, whole.lines().take(4).map(|line| format!("{line}\n")).collect::<String>());
    }
}
