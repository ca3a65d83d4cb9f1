//! What several families have in common beside the trunk.

mod patches;
mod text;

pub use patches::Patches;
pub(crate) use patches::{first_token, with_first};
pub use text::{LanguageHead, TextEmbeddings};
pub(crate) use text::{TextIds, TextSizes, after_padding};
