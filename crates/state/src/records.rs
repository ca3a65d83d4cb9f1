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
    length: u64,
}

#[derive(serde::Deserialize)]
struct Stamp {
    step: u64,
}

impl Records {
    /// Opens or creates the file and drops what a run that was stopped later than its last
    /// checkpoint has left: everything beyond `length` bytes, every line after `step`, and a line
    /// that was not finished.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn open(path: &Path, step: u64, length: Option<u64>) -> Result<Self, StateError> {
        let open = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            let text = fs::read(path)?;
            let end = length.map_or(text.len(), |length| text.len().min(length as usize));
            let length = kept(&text[..end], step) as u64;
            file.set_len(length)?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| StateError::io("open", path, error))?;
        Ok(Self { path: path.to_owned(), file, length })
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
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
        self.file.write_all(&line).map_err(|error| StateError::io("write", &self.path, error))?;
        self.length += line.len() as u64;
        Ok(())
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
        let mut records = Records::open(&path, 0, None).unwrap();
        for step in 1..=5 {
            records.append(&json!({ "step": step, "loss": 0.5 })).unwrap();
        }
        records.append(&json!({ "step": 5, "evaluation": "x" })).unwrap();
        let whole = fs::read_to_string(&path).unwrap();

        fs::write(&path, format!("{whole}{{\"step\": 5, \"lo")).unwrap();
        Records::open(&path, 5, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);

        let end = Records::open(&path, 5, None).unwrap().length();
        assert_eq!(end, whole.len() as u64);
        let evaluated = whole.lines().last().unwrap().len() as u64 + 1;
        Records::open(&path, 5, Some(end - evaluated)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5);

        let mut records = Records::open(&path, 3, None).unwrap();
        records.append(&json!({ "step": 4, "loss": 0.5 })).unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines, whole.lines().take(4).map(|line| format!("{line}\n")).collect::<String>());
    }
}
