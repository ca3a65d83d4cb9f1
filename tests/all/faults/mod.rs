//! What `docs/TRUST.md` promises, with faults injected. Each promise has a short form, which runs with all tests, and
//! a long one, which `tests/faults` runs.

mod bombs;
mod bytes;
mod determinism;
mod disk_full;
mod interrupted;
mod mutants;
mod names;
mod planted;
mod readers;
mod torn;
