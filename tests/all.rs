//! Whole-program tests, in one binary.
#![allow(clippy::unwrap_used)]

#[path = "all/architecture.rs"]
mod architecture;
#[path = "all/checkpoints.rs"]
mod checkpoints;
#[path = "all/command_line.rs"]
mod command_line;
#[path = "all/disk_full.rs"]
mod disk_full;
#[path = "all/finding.rs"]
mod finding;
#[path = "all/program.rs"]
mod program;
#[path = "all/recipes.rs"]
mod recipes;
#[path = "all/resume.rs"]
mod resume;
#[path = "all/serve.rs"]
mod serve;
