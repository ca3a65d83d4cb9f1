//! What several families have in common beside the trunk.

mod bicubic;
mod contrast;
mod frame;
mod patches;
mod pictures;
mod text;
mod waves;
mod words;

pub(crate) use contrast::{contrastive, number, similarities, unit};
pub(crate) use frame::{Frame, by_patch};
pub use patches::Patches;
pub(crate) use patches::{first_token, with_first};
pub use pictures::PictureEmbeddings;
pub(crate) use pictures::{PictureSizes, replaced};
pub use text::{LanguageHead, TextEmbeddings};
pub(crate) use text::{TextIds, TextSizes, after_padding};
pub use waves::{WaveEncoder, WavePositions};
pub(crate) use waves::{WaveNorms, WaveSizes};
pub(crate) use words::{WordsHead, WordsNames};
