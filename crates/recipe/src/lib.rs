//! One strict TOML for everything.

mod data;
mod error;
mod locate;
mod recipe;

pub use data::{Builtin, DataConfig};
pub use error::RecipeError;
pub use recipe::{Expectation, Recipe};
