use std::{io, path::PathBuf};

use sensorium_samples::WriteError;

/// Why the emoji set was not written. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum EmojiError {
    /// The system refused: no space, no permission.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A shard cannot be written.
    #[error(transparent)]
    Shard(#[from] WriteError),
    /// A picture of the crate `twemoji-assets` cannot be read.
    #[error("picture of emoji `{key}`: {source}")]
    Picture {
        /// Key of the sample.
        key: String,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A sound cannot be made.
    #[error("sound of emoji `{key}`: {detail}")]
    Sound {
        /// Key of the sample.
        key: String,
        /// What went wrong.
        detail: String,
    },
    /// Speech is wanted without the program for it.
    #[error(
        "speech needs the program espeak-ng, which cannot be started; install it, or leave the audio to the pictures"
    )]
    NoSpeech,
}
