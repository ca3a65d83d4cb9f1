//! One strict TOML for everything.

mod data;
mod error;
mod locate;
mod overrides;
mod recipe;
#[cfg(test)]
mod tests;

pub use data::{Builtin, DataConfig};
pub use error::{Hint, Line, RecipeError};
pub use overrides::apply as apply_override;
pub use recipe::{Expectation, Recipe, read_strict};
