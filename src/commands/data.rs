use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use sensorium_datasets::emoji::{self, EmojiOptions};

use super::progress_bar;

/// The sets that need no download.
#[derive(Clone, Copy, ValueEnum)]
enum Set {
    /// Pictures, names, sounds and table fields of emoji
    Emoji,
}

#[derive(Args)]
pub struct Arguments {
    /// Which set
    set: Set,
    /// The folder to write to
    out: PathBuf,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Set::Emoji = arguments.set;
    let set =
        emoji::write(&arguments.out, &EmojiOptions::default(), &mut progress_bar("writing emoji", arguments.quiet))?;
    println!("{} samples, {} of them held out; sounds: {}", set.samples, set.validation_samples, set.audio_source);
    for path in [&set.train, &set.validation, &set.card] {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
