use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Read,
};

use super::*;

fn written(limit: Option<usize>, audio: AudioSource) -> (tempfile::TempDir, EmojiSet) {
    let folder = tempfile::tempdir().unwrap();
    let options = EmojiOptions { audio: Some(audio), limit };
    let mut heard = Vec::new();
    let set = write(&folder.path().join("emoji"), &options, &mut |done, all| heard.push((done, all))).unwrap();
    assert_eq!((heard[0].0, *heard.last().unwrap()), (0, (set.samples, set.samples)));
    (folder, set)
}

fn members(tar: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    let member = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(member).collect()
}

#[test]
fn a_sample_has_four_modalities() {
    let (folder, set) = written(Some(100), AudioSource::PictureSound);
    assert_eq!(set.samples, 100);
    let (train, validation) = (members(&set.train), members(&set.validation));
    assert_eq!((train.len() + validation.len(), validation.len()), (400, 4 * set.validation_samples));
    let names: BTreeSet<String> = fs::read_dir(folder.path().join("emoji"))
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["card.md", TRAIN, VALIDATION], "nothing else is left");
    let picture = image::load_from_memory(&train["1f600.png"]).unwrap();
    assert_eq!((picture.width(), picture.height()), (72, 72));
    assert_eq!(train["1f600.txt"], b"grinning face");
    let sound = hound::WavReader::new(&*train["1f600.wav"]).unwrap();
    assert_eq!((sound.spec().sample_rate, sound.duration()), (11_025, 11_576));
    let row: serde_json::Value = serde_json::from_slice(&train["1f600.json"]).unwrap();
    assert_eq!(row["category"], "Smileys & Emotion");
    assert_eq!((row["first_code_point"].as_f64(), row["unicode_version"].as_f64()), (Some(128_512.0), Some(8.0)));
    let card = fs::read_to_string(set.card).unwrap();
    assert!(card.contains("Meijer") && card.contains(&format!("{} in `emoji-validation.tar`", set.validation_samples)));
    assert!(!card.contains('{'), "{card}");
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let ((_a, a), (_b, b)) =
        (written(Some(70), AudioSource::PictureSound), written(Some(70), AudioSource::PictureSound));
    assert_eq!(fs::read(a.train).unwrap(), fs::read(b.train).unwrap());
    assert_eq!(fs::read(a.validation).unwrap(), fs::read(b.validation).unwrap());
}

#[test]
fn emoji_are_many_and_different() {
    let all = all(None);
    assert!(all.len() > 1_800, "{}", all.len());
    let held_out = all.iter().filter(|emoji| hash(&emoji.key).is_multiple_of(10)).count() as f64 / all.len() as f64;
    assert!((0.08..0.12).contains(&held_out), "{held_out}");
    let mut names = HashMap::new();
    for emoji in &all {
        assert!(names.insert(emoji.emoji.name(), &emoji.key).is_none(), "{} twice", emoji.emoji.name());
    }
    assert!(!names.keys().any(|name| name.contains("skin tone")));
}

#[test]
fn a_failure_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&file.join("emoji"), &EmojiOptions::default(), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    let stopped = std::panic::catch_unwind(|| {
        let options = EmojiOptions { audio: Some(AudioSource::PictureSound), limit: Some(100) };
        write(&folder.path().join("new"), &options, &mut |done, _| assert!(done == 0, "stopped here"))
    });
    assert!(stopped.is_err() && !folder.path().join("new").exists());
}

#[test]
fn names_are_spoken_where_the_program_is() {
    if !speech::installed() {
        println!("skipped: espeak-ng is not installed");
        return;
    }
    let (_folder, set) = written(Some(12), AudioSource::Speech);
    let sounds: Vec<Vec<u8>> =
        members(&set.train).into_iter().filter(|(name, _)| name.ends_with(".wav")).map(|(_, bytes)| bytes).collect();
    for sound in &sounds {
        let sound = hound::WavReader::new(&**sound).unwrap();
        assert_eq!(sound.spec().sample_rate, 11_025);
        let seconds = sound.duration() as f64 / 11_025.0;
        assert!((0.3..8.0).contains(&seconds), "{seconds}");
    }
    let (_folder, again) = written(Some(12), AudioSource::Speech);
    assert_eq!(fs::read(set.train).unwrap(), fs::read(again.train).unwrap());
    assert!(fs::read_to_string(set.card).unwrap().contains("espeak-ng"));
}
