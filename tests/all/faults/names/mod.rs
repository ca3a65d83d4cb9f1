//! A thousand hostile names wherever names are read: nothing outside of the data's, the index's or the model's folder is
//! read or written.
#![cfg(unix)]

mod data;
mod models;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rand::seq::IndexedRandom;
use sensorium::contract::Seed;
use tempfile::TempDir;

/// What is in the files that no name may lead to.
const SECRET: &str = "canary-5b1f0a77c2e94d3b";
/// What is in the one file that may be read.
const INSIDE: &str = "what may be read";

/// A folder of data with links that lead out of it, and beside it what must not be found.
struct Place {
    home: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { home: tempfile::tempdir().unwrap() };
        let (root, outside) = (place.root(), place.outside());
        fs::create_dir_all(root.join("within")).unwrap();
        fs::create_dir(&outside).unwrap();
        for extension in ["png", "txt", "wav"] {
            fs::write(outside.join(format!("canary.{extension}")), SECRET).unwrap();
        }
        fs::write(outside.join("canary.json"), format!("{{\"text\": \"{SECRET}\"}}")).unwrap();
        fs::write(root.join("within/inside.txt"), INSIDE).unwrap();
        symlink(&outside, root.join("linked")).unwrap();
        symlink(outside.join("canary.png"), root.join("link.png")).unwrap();
        symlink("../outside/canary.txt", root.join("within/link.txt")).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.home.path().join("outside")
    }

    /// All files and their bytes, but for those under the folders of `results` below the root.
    fn state(&self, results: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let results: Vec<PathBuf> = results.iter().map(|name| self.root().join(name)).collect();
        list(self.home.path(), &results, &mut found);
        found
    }

    /// Distinct names that lead out of the root, or would in some reading of them.
    fn hostile(&self, count: usize) -> Vec<Vec<u8>> {
        let absolute = self.outside().display().to_string();
        let inner = absolute.trim_start_matches('/').to_owned();
        let mut names: BTreeSet<Vec<u8>> =
            ["../outside/canary.png", "link.png", "linked/canary.txt", "within/link.txt"]
                .into_iter()
                .chain(["..", "/", "../", "linked", "C:\\canary.png", "~/canary.png", "canary.png\0", "\0", ""])
                .map(|name| name.as_bytes().to_vec())
                .chain([
                    format!("{absolute}/canary.png").into_bytes(),
                    format!("file://{absolute}/canary.txt").into_bytes(),
                ])
                .chain([[&vec![b'a'; 300][..], b"/../../outside/canary.png"].concat(), "../".repeat(3000).into_bytes()])
                .chain(straight(&absolute))
                .collect();
        let prefixes =
            ["", "/", "./", "within/", "inside/../", "linked/../", "file://", "\\\\?\\", "~/", "C:\\", "x.png/", "\0"];
        let steps =
            ["..", "..", "%2e%2e", "%252e%252e", "..%00", "\u{ff0e}\u{ff0e}", "...", ".. ", "..;", ".%2e", "\u{2025}"];
        let separators = ["/", "/", "\\", "%2f", "%5c", "//", "/./", "\u{2215}", "\\/"];
        let targets =
            ["outside", "outside", "linked", "root/linked", &absolute, &inner, "etc/passwd", "within/../../outside"];
        let files = ["canary.png", "canary.png", "canary.txt", "canary.json", "canary.wav", "canary", "CANARY.PNG"];
        let ends = ["", "", "", "\0", "\0.png", "%00.png", "/", "/.", " ", ".", "?x=.png", "#.png", ".png", "\n"];
        let mut rng = Seed::new(17).rng();
        while names.len() < count {
            let mut draw = |of: &[&str]| (*of.choose(&mut rng).unwrap()).to_owned();
            let separator = draw(&separators);
            let depth = draw(&["0", "1", "1", "2", "3", "9", "40"]).parse().unwrap();
            let climb = format!("{}{separator}", draw(&steps)).repeat(depth);
            let name = [draw(&prefixes), climb, draw(&targets), separator, draw(&files), draw(&ends)].concat();
            let mut name = name.into_bytes();
            match draw(&["as it is", "as it is", "not UTF-8", "too long"]).as_str() {
                "not UTF-8" => name.insert(name.len() / 2, 0xff),
                "too long" if name.len() % 5 == 0 => name.extend(vec![b'a'; 5000]),
                _ => {}
            }
            names.insert(name);
        }
        names.into_iter().collect()
    }
}

/// Names that do lead to the secret, if they are taken as they are.
fn straight(outside: &str) -> Vec<Vec<u8>> {
    let ways =
        ["../outside", "linked", "./linked", "../root/linked", "../root/../outside", outside, "within/../linked"];
    let ways = ways.iter().flat_map(|way| ["", "./", "/", "../outside/"].map(|on| format!("{way}/{on}")));
    let files = ["canary.png", "canary.txt", "canary.json", "canary.wav"];
    ways.flat_map(|way| files.map(|file| format!("{way}{file}").into_bytes())).collect()
}

fn list(folder: &Path, but: &[PathBuf], found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        match () {
            () if but.contains(&path) => {}
            () if kind.is_symlink() => {
                drop(found.insert(path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()))
            }
            () if kind.is_dir() => {
                list(&path, but, found);
                found.insert(path, Vec::new());
            }
            () => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
}

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_names_are_hostile() {
    let place = Place::new();
    let names = place.hostile(1000);
    assert_eq!(names.len(), 1000);
    // They are only hostile if some of them, taken as they are, do lead to the secret.
    let leads = |name: &&Vec<u8>| {
        let name = std::str::from_utf8(name).unwrap_or_default();
        fs::read(place.root().join(name)).is_ok_and(|bytes| holds_secret(&bytes))
    };
    let (leading, other): (Vec<_>, Vec<_>) = names.iter().partition(leads);
    assert!(leading.len() > 50, "{} of {} lead out", leading.len(), other.len());
}
