use sensorium_contract::{Sample, SampleFault, Value};

use crate::Dataset;

/// Most samples that a checksum reads.
const READ: usize = 4096;

/// What tells one state of a data set from another, whatever the layout of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Samples in all.
    pub samples: usize,
    /// Samples whose key and content went in, spread evenly; all, if there are few.
    pub read: usize,
    /// BLAKE3, in hexadecimal.
    pub blake3: String,
}

impl Dataset {
    /// Reads some thousand samples, or all if there are fewer. A damaged one counts by its key and what is wrong with it.
    pub fn checksum(&self) -> Checksum {
        let (samples, read) = (self.len(), self.len().min(READ));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(samples as u64).to_le_bytes());
        for number in 0..read {
            match self.read(number * samples / read) {
                Ok(sample) => add_sample(&mut hasher, &sample),
                Err(SampleFault { key, fault, .. }) => {
                    [key.as_str(), &fault.field, fault.reason]
                        .iter()
                        .for_each(|said| add(&mut hasher, b'!', said.as_bytes()));
                }
            }
        }
        Checksum { samples, read, blake3: hasher.finalize().to_hex().to_string() }
    }
}

fn add_sample(hasher: &mut blake3::Hasher, sample: &Sample) {
    add(hasher, b'k', sample.key.as_bytes());
    for (name, value) in &sample.fields {
        add(hasher, b'f', name.as_bytes());
        add_value(hasher, value);
    }
}

fn add_value(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Bytes(bytes) => add(hasher, b'b', bytes),
        Value::Text(text) => add(hasher, b't', text.as_bytes()),
        Value::Number(number) => add(hasher, b'n', &number.to_bits().to_le_bytes()),
        Value::List(values) => {
            add(hasher, b'l', &(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| add_value(hasher, value));
        }
    }
}

/// A kind, a length and bytes: no two contents give the same stream.
fn add(hasher: &mut blake3::Hasher, kind: u8, bytes: &[u8]) {
    hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::SourceConfig;

    #[test]
    fn content_changes_it_and_layout_does_not() {
        let home = tempfile::tempdir().unwrap();
        let checksum = |name: &str, text: &str| {
            let path = home.path().join(name);
            fs::write(&path, text).unwrap();
            Dataset::open(&[SourceConfig::new(path.to_string_lossy())], Path::new("")).unwrap().checksum()
        };
        let csv = checksum("a.csv", "key,text,number\na,one,1\nb,two,\n");
        let lines =
            checksum("a.jsonl", "{\"key\":\"a\",\"text\":\"one\",\"number\":1}\n{\"key\":\"b\",\"text\":\"two\"}\n");
        assert_eq!((csv.samples, csv.read), (2, 2));
        assert_eq!(csv, lines);
        assert_ne!(csv, checksum("b.csv", "key,text,number\na,one,2\nb,two,\n"));
        assert_ne!(csv, checksum("c.csv", "key,text,number\na,one,1\n"));
    }
}
