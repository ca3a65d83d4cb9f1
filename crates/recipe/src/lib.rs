//! One strict TOML for everything.
