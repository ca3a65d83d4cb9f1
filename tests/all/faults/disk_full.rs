//! A disk that fills up: a clear error at once, what was whole stays so, and the same call goes on once there is room.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::program::{command, emoji, recipe, succeed};

/// Runs a program on a small disk, then gives the disk room and runs it again; keeps what is on the disk after each.
const SCRIPT: &str = r#"
mount -t tmpfs -o size="$SIZE"k tmpfs "$DISK" || exit 77
cp -r "$BEFORE/." "$DISK" || exit 78
start=$(date +%s%N)
"$@" > "$FOUND/output" 2> "$FOUND/message"
echo $? > "$FOUND/code"
echo $(($(date +%s%N) - start)) > "$FOUND/nanoseconds"
cp -r "$DISK" "$FOUND/between"
mount -o remount,size=64m "$DISK"
"$@" > "$FOUND/output" 2> "$FOUND/message2"
echo $? > "$FOUND/code2"
cp -r "$DISK" "$FOUND/after"
"#;

/// No error may take longer, beside the time that the program needs for all its work.
const LONGEST: Duration = Duration::from_secs(5);

/// A call of the program that writes to the folder `disk`.
struct Job<'a> {
    name: &'a str,
    home: &'a Path,
    /// What is on the disk before: results of an earlier call.
    before: &'a Path,
    arguments: &'a [&'a str],
}

/// Files by their names below a folder. Of those that tell the time, and of the card, which counts the samples that its
/// own process has cut, the names alone; so of the list with their checksums.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = PathBuf::from(path.file_name().unwrap());
        match path.is_dir() {
            true if name == Path::new("tensorboard") => {}
            true => found.extend(files(&path).into_iter().map(|(below, bytes)| (name.join(below), bytes))),
            false if ["timing.jsonl", "report.html", "card.md", "manifest.json"].contains(&text(&name)) => {
                found.insert(name, Vec::new());
            }
            false => drop(found.insert(name, fs::read(&path).unwrap())),
        }
    }
    found
}

impl Job<'_> {
    /// Disks of several sizes in KiB, of which the last is large enough: how many were too small. Nothing if this
    /// system mounts no small disk. `sizes` is told what the results take.
    fn fails_on(&self, sizes: impl FnOnce(u64) -> Vec<u64>) -> Option<usize> {
        let disk = self.home.join("disk");
        fs::create_dir_all(&disk).unwrap();
        // What a disk with room ends with, and how long it takes.
        copy(self.before, &disk);
        let begin = Instant::now();
        let output = command(self.arguments).env("RAYON_NUM_THREADS", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (needed, straight) = (begin.elapsed(), files(&disk));
        fs::remove_dir_all(&disk).unwrap();
        fs::create_dir(&disk).unwrap();
        let (mut failed, mut slowest) = (0, Duration::ZERO);
        let sizes = sizes(straight.values().map(|bytes| bytes.len().div_ceil(4096) as u64 * 4).sum());
        for size in &sizes {
            let found = self.home.join(format!("found-{}-{size}", self.name));
            if !self.run(*size, &disk, &found) {
                println!("skipped: this system allows no small disk to be mounted");
                return None;
            }
            let read = |file: &str| fs::read_to_string(found.join(file)).unwrap();
            let at = format!("{} on {size} KiB: {}", self.name, read("message"));
            assert_eq!(read("code2").trim(), "0", "{at}{}", read("message2"));
            same(&files(&found.join("after")), &straight, &at);
            if read("code").trim() == "0" {
                continue;
            }
            failed += 1;
            assert_eq!(read("code").trim(), "1", "{at}");
            assert!(read("message").starts_with("error: ") && at.contains("the disk is full"), "{at}");
            let took = Duration::from_nanos(read("nanoseconds").trim().parse().unwrap());
            assert!(took < needed + LONGEST, "{at} after {took:?}");
            slowest = slowest.max(took);
            let between = files(&found.join("between"));
            for (name, bytes) in files(self.before) {
                assert!(between.get(&name) == Some(&bytes), "{at}: {} is not what it was", name.display());
            }
        }
        assert!(failed < sizes.len(), "{}: no disk was large enough", self.name);
        println!("{}: {failed} of {} sizes too small, {slowest:.1?} until the error", self.name, sizes.len());
        Some(failed)
    }

    /// Whether there is a small disk to run on.
    fn run(&self, size: u64, disk: &Path, found: &Path) -> bool {
        fs::create_dir(found).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_sensorium")).args(self.arguments).env("RAYON_NUM_THREADS", "1");
        command.env("SIZE", size.to_string()).env("DISK", disk).env("BEFORE", self.before).env("FOUND", found);
        command.output().is_ok() && found.join("code2").exists()
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from.join(".")).arg(to).status().unwrap().success());
}

fn same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, at: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{at}");
    let differs = found.iter().find(|(name, bytes)| expected[*name] != **bytes);
    assert_eq!(differs.map(|(name, _)| name), None, "{at}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_full_disk_loses_no_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 6);
    let [run, before] = ["disk/run", "before"].map(|name| home.path().join(name));
    fs::create_dir(&before).unwrap();
    let arguments = ["pretrain", text(&recipe), "--out", text(&run), "--quiet"];
    let job = Job { name: "pretrain", home: home.path(), before: &before, arguments: &arguments };
    let powers = || (0..24).map(|power| (16.0 * 1.35_f64.powi(power)) as u64);
    let sizes = |results| powers().take_while(|size| *size < 6 * results).collect();
    assert!(job.fails_on(sizes).is_none_or(|failed| failed > 5), "too few sizes were too small");
}

/// Vectors, an index and a page take the place of earlier ones on disks of so many sizes, the last of them large
/// enough.
fn results_survive(sizes: u64) {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let [run, table, earlier] = ["run", "table.csv", "earlier.csv"].map(at);
    let recipe = recipe(home.path(), 2);
    succeed(&["pretrain", text(&recipe), "--out", text(&run), "--quiet"]);
    let model = run.join("model");
    let rows = |count: usize| -> String {
        let row = |row| format!("k{row},the number {row} of many,Symbols,{}\n", row % 7);
        "key,text,category,code_points\n".to_owned() + &(0..count).map(row).collect::<String>()
    };
    fs::write(&table, rows(1500)).unwrap();
    fs::write(&earlier, rows(100)).unwrap();
    let [vectors, pictures] = ["vectors.parquet", "pictures.parquet"].map(at);
    succeed(&["embed", text(&model), text(&table), "--out", text(&vectors), "--quiet"]);
    succeed(&["embed", text(&model), text(&emoji().join("emoji-validation.tar")), "--out", text(&pictures), "--quiet"]);
    let [embed, index, report] = ["embed", "index", "report"].map(|name| at(&format!("before-{name}")));
    [&embed, &index, &report].iter().for_each(|before| fs::create_dir(before).unwrap());
    succeed(&["embed", text(&model), text(&earlier), "--out", text(&embed.join("E.parquet")), "--quiet"]);
    succeed(&["index", text(&pictures), "--out", text(&index.join("I")), "--quiet"]);
    fs::write(report.join("page.html"), "an earlier page").unwrap();

    let [to_vectors, to_index, to_page] = ["disk/E.parquet", "disk/I", "disk/page.html"].map(at);
    let data = emoji().join("emoji-train.tar");
    // Vectors lie there in parts, too, before they are one file.
    let jobs: [(&str, u64, &Path, &[&str]); 3] = [
        ("embed", 2, &embed, &["embed", text(&model), text(&table), "--out", text(&to_vectors), "--quiet"]),
        ("index", 1, &index, &["index", text(&vectors), "--out", text(&to_index), "--quiet"]),
        ("report", 1, &report, &["evaluate", text(&model), text(&data), "--report", text(&to_page)]),
    ];
    for (name, times, before, arguments) in jobs {
        let kept: u64 = files(before).values().map(|bytes| bytes.len().div_ceil(4096) as u64 * 4).sum();
        let steps = |results: u64| (1..=sizes).map(|size| kept + 8 + (times * results + 64) * size / sizes).collect();
        let Some(failed) = (Job { name, home: home.path(), before, arguments }).fails_on(steps) else { return };
        assert!(2 * failed as u64 >= sizes, "{name}: only {failed} sizes were too small");
    }
}

#[test]
fn a_full_disk_loses_neither_vectors_nor_index_nor_page() {
    results_survive(6);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn twenty_sizes_of_disk_lose_neither_vectors_nor_index_nor_page() {
    results_survive(20);
}
