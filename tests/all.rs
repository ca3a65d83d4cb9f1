//! Whole-program tests, in one binary.
#![allow(clippy::unwrap_used)]

#[path = "all/adapting.rs"]
mod adapting;
#[path = "all/architecture.rs"]
mod architecture;
#[path = "all/checkpoints.rs"]
mod checkpoints;
#[path = "all/command_line.rs"]
mod command_line;
#[path = "all/continuing.rs"]
mod continuing;
#[path = "all/faults/mod.rs"]
mod faults;
#[path = "all/finding.rs"]
mod finding;
#[path = "all/finetune.rs"]
mod finetune;
#[path = "all/judging.rs"]
mod judging;
#[path = "all/program.rs"]
mod program;
#[path = "all/recipes.rs"]
mod recipes;
#[path = "all/serve.rs"]
mod serve;
