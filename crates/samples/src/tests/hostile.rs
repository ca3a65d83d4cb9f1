use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use sensorium_contract::Value;
use tar::{Builder, Header};

use super::{all, open, sample, write_tar};
use crate::{Dataset, Limits, SourceConfig, SourceError};

/// A tar archive of these members, whose names are not checked.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn noise(count: usize) -> Vec<u8> {
    let mut noise = vec![0; count];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

#[test]
fn interleaved_and_doubled_members_name_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        ("interleaved", vec![("a.txt", "1"), ("b.txt", "2"), ("a.json", "{}")], "a"),
        ("doubled", vec![("a.txt", "1"), ("b.png", "2"), ("b.jpg", "3")], "b"),
    ];
    for (name, members, expected) in wrong {
        let members: Vec<(&str, &[u8])> = members.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        for (extension, bytes) in [("tar", archive(&members)), ("tar.gz", gzip(&archive(&members)))] {
            let path = format!("{name}.{extension}");
            fs::write(folder.path().join(&path), bytes).unwrap();
            match open(&path, folder.path()).unwrap_err() {
                SourceError::Member { path: shard, key, .. } => {
                    assert_eq!(key, expected);
                    assert!(shard.ends_with(&path));
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn truncated_shards_are_damaged_wherever_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let noise = noise(3000);
    let whole = archive(&[("a.png", &noise), ("a.txt", b"one"), ("b.png", &noise), ("b.txt", b"two")]);
    let refused = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        let error = open(name, folder.path()).unwrap_err();
        assert!(matches!(&error, SourceError::Damaged { .. }), "{name}, {} bytes: {error}", bytes.len());
    };
    for length in (1..whole.len() - 1024).step_by(256) {
        refused("cut.tar", &whole[..length]);
    }
    for compressed in [("cut.tar.gz", gzip(&whole)), ("cut.tar.zst", zstd::encode_all(&*whole, 0).unwrap())] {
        let (name, bytes) = compressed;
        for length in (40..bytes.len() - 1).step_by(128) {
            refused(name, &bytes[..length]);
        }
        refused(name, &bytes[..bytes.len() - 1]);
    }
    let mut flipped = gzip(&whole);
    let end = flipped.len() - 6;
    flipped[end] ^= 1;
    refused("checksum.tar.gz", &flipped);
    refused("page.tar", b"<html>404</html>".repeat(100).as_slice());
    refused("empty.tar", b"");
}

#[test]
fn hostile_names_are_only_keys() {
    let folder = tempfile::tempdir().unwrap();
    let members: [(&str, &[u8]); 5] =
        [("../../up.txt", b"1"), ("/root.txt", b"2"), ("./in.txt", b"3"), (".DS_Store", b"4"), ("x/._in.txt", b"5")];
    fs::write(folder.path().join("x.tar"), archive(&members)).unwrap();
    let keys: Vec<String> = all(&open("x.tar", folder.path()).unwrap()).into_iter().map(|sample| sample.key).collect();
    assert_eq!(keys, ["../../up", "/root", "in"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written");
}

#[test]
fn pax_names_and_folders_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(Vec::new());
    let name = format!("{}é.txt", "deep/".repeat(40));
    let mut header = Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    builder.append_data(&mut header, "deep/", &b""[..]).unwrap();
    for (name, text) in [(name.as_str(), "one"), ("b.txt", "two")] {
        builder.append_pax_extensions([("path", name.as_bytes()), ("mtime", &b"1.5"[..])]).unwrap();
        let mut header = Header::new_ustar();
        header.set_path("replaced").unwrap();
        header.set_size(3);
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    fs::write(folder.path().join("x.tar"), &bytes).unwrap();
    fs::write(folder.path().join("x.tar.gz"), gzip(&bytes)).unwrap();
    for path in ["x.tar", "x.tar.gz"] {
        let keys: Vec<String> = all(&open(path, folder.path()).unwrap()).into_iter().map(|sample| sample.key).collect();
        assert_eq!(keys, ["b", name.strip_suffix(".txt").unwrap()], "{path}");
    }
}

#[test]
fn links_in_shards_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "a.txt", "/etc/passwd").unwrap();
    fs::write(folder.path().join("x.tar"), builder.into_inner().unwrap()).unwrap();
    assert!(
        matches!(open("x.tar", folder.path()), Err(SourceError::Damaged { reason, .. }) if reason.contains("a.txt"))
    );
}

/// The peak memory of this process so far, in MiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or(0) / 1024
}

#[test]
fn a_bomb_is_refused_without_filling_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = Header::new_gnu();
    let size = 512 << 20;
    header.set_path("a.png").unwrap();
    header.set_size(size);
    header.set_cksum();
    let member = || header.as_bytes().as_slice().chain(io::repeat(0).take(size + 1024));
    let zeros = || io::repeat(0).take(size);
    let zst = |bytes: &mut dyn Read| zstd::encode_all(bytes, 1).unwrap();
    let gz = |bytes: &mut dyn Read| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(bytes, &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    fs::write(folder.path().join("member.tar.zst"), zst(&mut member())).unwrap();
    fs::write(folder.path().join("zeros.tar.zst"), zst(&mut zeros())).unwrap();
    fs::write(folder.path().join("member.tar.gz"), gz(&mut member().take(64 << 20))).unwrap();
    let before = peak_memory();
    for name in ["member.tar.zst", "zeros.tar.zst", "member.tar.gz"] {
        let mut config = SourceConfig::new(name);
        config.limits = Limits { shard_mb: 16, ..Default::default() };
        let error = Dataset::open(&[config], folder.path()).unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { limit, .. } if limit == 16 << 20), "{name}: {error}");
    }
    assert!(peak_memory() - before < 128, "{} MiB more than before", peak_memory() - before);
}

#[test]
fn a_field_above_the_limit_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![7; 3 << 20];
    write_tar(&folder.path().join("x.tar"), &[sample("a", &[("image", Value::Bytes(large.clone().into()))])]);
    fs::write(folder.path().join("large.png"), &large).unwrap();
    fs::write(folder.path().join("x.csv"), "image\nlarge.png\n").unwrap();
    for path in ["x.tar", "x.csv"] {
        let mut config = SourceConfig::new(path);
        config.limits.field_mb = 2;
        let fault = Dataset::open(&[config], folder.path()).unwrap().read(0).unwrap_err();
        assert_eq!(fault.fault.reason, "field is too large", "{fault}");
    }
}

#[test]
fn paths_do_not_leave_the_tables_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(folder.path().join("secret.png"), "secret").unwrap();
    fs::write(data.join("fine.png"), "fine").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret.png"), data.join("link.png")).unwrap();
    let absolute = folder.path().join("secret.png").display().to_string();
    let paths = ["../secret.png", &absolute, "link.png", "a/../../secret.png"];
    let rows: Vec<String> = paths.iter().chain(&["missing.png", "fine.png"]).map(|path| format!("{path}\n")).collect();
    fs::write(data.join("x.csv"), format!("image\n{}", rows.concat())).unwrap();
    let lines: Vec<String> = rows.iter().map(|path| format!("{{\"image\": \"{}\"}}\n", path.trim())).collect();
    fs::write(data.join("x.jsonl"), lines.concat()).unwrap();
    for table in ["x.csv", "x.jsonl"] {
        let dataset = open(table, &data).unwrap();
        for row in 0..4 {
            let fault = dataset.read(row).unwrap_err();
            assert_eq!(fault.fault.reason, "path leaves the data's folder", "{fault}");
            assert!(fault.place.ends_with(&format!("{table}, row {row}")), "{fault}");
        }
        assert_eq!(dataset.read(4).unwrap_err().fault.reason, "file is missing");
        assert_eq!(dataset.read(5).unwrap().fields["image"], Value::Bytes(b"fine".as_slice().into()));
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let long = vec![b'a'; (1 << 20) - 3];
    for (name, start) in
        [("x.csv", b"text\n".to_vec()), ("y.jsonl", b"{\"text\":\"".to_vec()), ("z.tsv", [&b"t\n"[..], &long].concat())]
    {
        let bytes = [&start, "café ".as_bytes(), b"caf\xe9\n"].concat();
        fs::write(folder.path().join(name), &bytes).unwrap();
        let expected = bytes.len() as u64 - 2;
        match open(name, folder.path()).unwrap_err() {
            SourceError::Encoding { byte, path } => {
                assert_eq!(byte, expected, "{name}");
                assert!(path.ends_with(name));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn broken_rows_are_faults_and_broken_tables_errors() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("x.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n");
    let dataset = open("x.csv", folder.path()).unwrap();
    let reasons: Vec<_> = (0..4).map(|row| dataset.read(row).err().map(|fault| fault.fault.reason)).collect();
    let ragged = Some("row has a wrong number of cells");
    assert_eq!(reasons, [None, ragged, ragged, None]);
    write("y.jsonl", "{\"a\": 1}\n\n{\"a\": \n[1]\n{\"a\": 2}");
    let dataset = open("y.jsonl", folder.path()).unwrap();
    let reasons: Vec<_> = (0..4).map(|row| dataset.read(row).err().map(|fault| fault.fault.reason)).collect();
    assert_eq!(reasons, [None, Some("not a JSON object"), Some("not a JSON object"), None]);
    write("open.csv", "a,b\n1,\"2\n3,4\n");
    assert!(matches!(open("open.csv", folder.path()), Err(SourceError::Damaged { .. })));
    write("twice.csv", "a,a\n1,2\n");
    assert!(matches!(open("twice.csv", folder.path()), Err(SourceError::Damaged { .. })));
    for (name, text) in [("none.csv", ""), ("header.csv", "a,b\n"), ("none.jsonl", "\n \n")] {
        write(name, text);
        assert!(matches!(open(name, folder.path()), Err(SourceError::Empty { .. })), "{name}");
    }
    write("not.parquet", "PAR1 no");
    assert!(matches!(open("not.parquet", folder.path()), Err(SourceError::Damaged { .. })));
    fs::create_dir(folder.path().join("nothing")).unwrap();
    assert!(matches!(open("nothing", folder.path()), Err(SourceError::Empty { .. })));
}

#[test]
fn weights_are_for_all_or_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.csv"), "a\n1\n").unwrap();
    let weighted = |weight| SourceConfig { weight, ..SourceConfig::new("x.csv") };
    for weights in [[Some(1.0), None], [Some(1.0), Some(0.0)], [Some(f64::NAN), Some(1.0)]] {
        let error = Dataset::open(&weights.map(weighted), Path::new(folder.path())).unwrap_err();
        assert!(matches!(error, SourceError::Config { key: "weight", .. }), "{error}");
    }
    assert_eq!(Dataset::open(&[Some(1.0), Some(2.0)].map(weighted), folder.path()).unwrap().len(), 2);
}
