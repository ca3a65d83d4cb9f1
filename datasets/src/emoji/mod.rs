//! The built-in emoji set: picture, name, sound and table row of every emoji.

mod error;
mod picture_sound;
mod speech;

use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    thread,
};

use sensorium_contract::{Sample, Value};
use sensorium_samples::TarWriter;
use twemoji_assets::png::PngTwemojiAsset;

pub use error::EmojiError;

const CARD: &str = include_str!("card.md");
const TRAIN: &str = "emoji-train.tar";
const VALIDATION: &str = "emoji-validation.tar";
/// Samples that are made before they are written.
const CHUNK: usize = 64;
/// Sounds that are made at once.
const THREADS: usize = 2;

/// What the sounds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioSource {
    /// The name spoken by espeak-ng.
    Speech,
    /// The picture heard (Meijer 1992).
    PictureSound,
}

impl std::fmt::Display for AudioSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Speech => "names spoken by espeak-ng",
            Self::PictureSound => "pictures as sounds (Meijer 1992), as espeak-ng is not used",
        })
    }
}

impl AudioSource {
    /// Speech where espeak-ng is installed.
    pub fn available() -> Self {
        if speech::installed() { Self::Speech } else { Self::PictureSound }
    }
}

/// How the set is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmojiOptions {
    /// What the sounds are; nothing for [`AudioSource::available`].
    pub audio: Option<AudioSource>,
    /// Only so many emoji, spread over all groups; nothing for all.
    pub limit: Option<usize>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct EmojiSet {
    /// Nine of ten samples.
    pub train: PathBuf,
    /// The others.
    pub validation: PathBuf,
    /// Says what is in them, where it is from, and under which licences.
    pub card: PathBuf,
    /// Number of samples in both.
    pub samples: usize,
    /// Number of samples in `validation`.
    pub validation_samples: usize,
    /// What the sounds are.
    pub audio_source: AudioSource,
}

/// An emoji that has a picture.
struct Emoji {
    key: String,
    emoji: &'static emojis::Emoji,
    picture: &'static [u8],
}

/// Writes the set as two tar shards and a card into the folder `out`, which is made if need be. The
/// same options give the same bytes. `progress` hears how many of how many samples are done.
///
/// # Errors
/// If espeak-ng is wanted but missing or fails, or the system refuses to write; then nothing is
/// left behind.
pub fn write(
    out: &Path,
    options: &EmojiOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<EmojiSet, EmojiError> {
    let audio_source = options.audio.unwrap_or_else(AudioSource::available);
    if audio_source == AudioSource::Speech && !speech::installed() {
        return Err(EmojiError::NoSpeech);
    }
    let created = Created::folder(out)?;
    let io = |source| EmojiError::Io { path: out.to_owned(), source };
    // All is made in a folder inside, and comes out of it at the end.
    let making = tempfile::Builder::new().prefix(".emoji-").tempdir_in(out).map_err(io)?;
    let emojis = all(options.limit);
    let validation_samples = shards(making.path(), &emojis, audio_source, progress)?;
    let card = card(audio_source, emojis.len() - validation_samples, validation_samples);
    fs::write(making.path().join("card.md"), card).map_err(io)?;
    let moved = |name: &str| {
        let to = out.join(name);
        fs::rename(making.path().join(name), &to).map_err(io)?;
        Ok::<_, EmojiError>(to)
    };
    let (train, validation, card) = (moved(TRAIN)?, moved(VALIDATION)?, moved("card.md")?);
    created.keep();
    Ok(EmojiSet { train, validation, card, samples: emojis.len(), validation_samples, audio_source })
}

/// A folder that goes again, unless it was there before, or is kept.
struct Created {
    folder: PathBuf,
    ours: bool,
}

impl Created {
    fn folder(folder: &Path) -> Result<Self, EmojiError> {
        let ours = !folder.exists();
        fs::create_dir_all(folder).map_err(|source| EmojiError::Io { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), ours })
    }

    fn keep(mut self) {
        self.ours = false;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if self.ours {
            // It may hold what somebody else put there meanwhile; then it stays.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Every emoji that has a picture, in the order of Unicode's list.
fn all(limit: Option<usize>) -> Vec<Emoji> {
    let with_picture = |emoji: &'static emojis::Emoji| {
        // Twemoji leaves the variation selector out of most names.
        let picture = PngTwemojiAsset::from_emoji(emoji.as_str())
            .or_else(|| PngTwemojiAsset::from_emoji(&emoji.as_str().replace('\u{fe0f}', "")))?;
        let picture = picture.data.0;
        let code_points: Vec<String> = emoji.as_str().chars().map(|c| format!("{:04x}", c as u32)).collect();
        Some(Emoji { key: code_points.join("-"), emoji, picture })
    };
    let all: Vec<Emoji> = emojis::iter().filter_map(with_picture).collect();
    match limit {
        Some(limit) if limit < all.len() => {
            let step = all.len() / limit.max(1);
            all.into_iter().step_by(step).take(limit).collect()
        }
        _ => all,
    }
}

/// Writes both shards; returns how many samples went into the second.
fn shards(
    folder: &Path,
    emojis: &[Emoji],
    audio: AudioSource,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<usize, EmojiError> {
    let mut train = TarWriter::create(folder.join(TRAIN))?;
    let mut validation = TarWriter::create(folder.join(VALIDATION))?;
    let (mut done, mut held_out) = (0, 0);
    progress(0, emojis.len());
    for chunk in emojis.chunks(CHUNK) {
        for (emoji, sound) in chunk.iter().zip(sounds(chunk, audio, folder)?) {
            let shard = match hash(&emoji.key).is_multiple_of(10) {
                true => {
                    held_out += 1;
                    &mut validation
                }
                false => &mut train,
            };
            shard.append(&emoji.sample(sound))?;
        }
        done += chunk.len();
        progress(done, emojis.len());
    }
    train.finish()?;
    validation.finish()?;
    Ok(held_out)
}

/// A WAV file for each emoji.
fn sounds(emojis: &[Emoji], audio: AudioSource, folder: &Path) -> Result<Vec<Vec<u8>>, EmojiError> {
    let part = emojis.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let make = |(thread, emojis): (usize, &'_ [Emoji])| {
            let file = folder.join(format!("speech-{thread}.wav"));
            emojis.iter().map(|emoji| emoji.sound(audio, &file)).collect::<Result<Vec<_>, _>>()
        };
        let threads: Vec<_> = emojis.chunks(part).enumerate().map(|part| scope.spawn(move || make(part))).collect();
        let mut sounds = Vec::with_capacity(emojis.len());
        for thread in threads {
            match thread.join() {
                Ok(made) => sounds.extend(made?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(sounds)
    })
}

/// Decides all that is drawn for a key.
fn hash(key: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(key.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl Emoji {
    fn sample(&self, sound: Vec<u8>) -> Sample {
        let text = self.emoji.as_str();
        let truth = |truth: bool| Value::Text(truth.to_string());
        let number = |number: u32| Value::Number(f64::from(number));
        let version = self.emoji.unicode_version();
        let version = format!("{}.{}", version.major(), version.minor()).parse().unwrap_or_default();
        let fields = [
            ("image", Value::Bytes(self.picture.into())),
            ("text", Value::Text(self.emoji.name().to_owned())),
            ("audio", Value::Bytes(sound.into())),
            ("category", Value::Text(category(self.emoji.group()).to_owned())),
            ("unicode_version", Value::Number(version)),
            ("code_points", number(text.chars().count() as u32)),
            ("first_code_point", number(text.chars().next().map_or(0, u32::from))),
            ("has_skin_tones", truth(self.emoji.skin_tone().is_some())),
            ("is_joined_sequence", truth(text.contains('\u{200d}'))),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        Sample { key: self.key.clone(), fields: BTreeMap::from_iter(fields) }
    }

    fn sound(&self, audio: AudioSource, file: &Path) -> Result<Vec<u8>, EmojiError> {
        let failed = |detail: String| EmojiError::Sound { key: self.key.clone(), detail };
        let (samples, rate) = match audio {
            AudioSource::Speech => {
                // Another hash than that of the split, so that both parts hear all voices.
                let speech = speech::speak(self.emoji.name(), hash(&format!("voice {}", self.key)), file);
                speech.map(|speech| (speech.samples, speech.rate)).map_err(failed)?
            }
            AudioSource::PictureSound => {
                let picture = image::load_from_memory(self.picture);
                let picture = picture.map_err(|source| EmojiError::Picture { key: self.key.clone(), source })?;
                (picture_sound::sound(&picture_sound::brightness(&picture)), picture_sound::RATE)
            }
        };
        wav(&samples, rate).map_err(|error| failed(error.to_string()))
    }
}

/// 16-bit mono.
fn wav(samples: &[i16], rate: u32) -> Result<Vec<u8>, hound::Error> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut file = Cursor::new(Vec::with_capacity(samples.len() * 2 + 44));
    let mut writer = hound::WavWriter::new(&mut file, spec)?;
    samples.iter().try_for_each(|&sample| writer.write_sample(sample))?;
    writer.finalize()?;
    Ok(file.into_inner())
}

/// The names of Unicode's emoji list.
fn category(group: emojis::Group) -> &'static str {
    use emojis::Group::*;
    match group {
        SmileysAndEmotion => "Smileys & Emotion",
        PeopleAndBody => "People & Body",
        AnimalsAndNature => "Animals & Nature",
        FoodAndDrink => "Food & Drink",
        TravelAndPlaces => "Travel & Places",
        Activities => "Activities",
        Objects => "Objects",
        Symbols => "Symbols",
        Flags => "Flags",
    }
}

fn card(audio: AudioSource, train: usize, validation: usize) -> String {
    let (content, source) = match audio {
        AudioSource::Speech => (
            "the name, spoken; 16-bit mono, 11,025 Hz",
            "espeak-ng (GPL-3.0-or-later; what it speaks is free of that), in 40 English voices, paces and pitches chosen by the key's hash.",
        ),
        AudioSource::PictureSound => (
            "the picture as a sound of 1.05 s; 16-bit mono, 11,025 Hz",
            "computed from the pictures, as no speech program was used, after P. B. L. Meijer, \"An Experimental System for Auditory Image Representations\", 1992: columns become time, rows become pitch (500 to 5,000 Hz), brightness becomes loudness (what is transparent is silent). Licence as the pictures'. It says nothing that the picture does not say: retrieval between the two is easier than from speech.",
        ),
    };
    let replace = |card: String, (name, value): (&str, &str)| card.replace(name, value);
    let values = [("{audio}", content), ("{source}", source)];
    let card = values.into_iter().fold(CARD.to_owned(), replace);
    card.replace("{train}", &train.to_string()).replace("{validation}", &validation.to_string())
}

#[cfg(test)]
mod tests;
