use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use burn::module::Module;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    NamedTensor, NonFinite, Records, StateError, Tensors, commit, commit::entries, commit_dir, import,
    read_safetensors, recipe, remove_leftovers, verify, write_manifest, write_safetensors,
};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGE: &str = "ema.safetensors";
const STATE: &str = "state.json";
const RECIPE: &str = "recipe.json";
const STEP: &str = "step-";
/// A killed process keeps its lock until the system has ended what it was writing.
const PATIENCE: Duration = Duration::from_secs(2);

/// A directory that one training run owns: its recipe, its checkpoints, its records.
///
/// While it is open, no other process can open it.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    // Held for its lock alone, which the system releases however the process ends.
    _lock: File,
}

/// A complete state of training, in its own directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Optimiser steps done.
    pub step: u64,
    /// The directory.
    pub path: PathBuf,
}

/// What goes into a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointContents<'a, S> {
    /// The trained weights.
    pub model: &'a [NamedTensor],
    /// The optimiser's state.
    pub optimizer: &'a [NamedTensor],
    /// The weights' moving average, if one is kept.
    pub average: Option<&'a [NamedTensor]>,
    /// All else that a resumed run needs.
    pub state: &'a S,
}

/// A checkpoint that cannot be trusted.
#[derive(Debug)]
pub struct Rejected {
    /// Which one.
    pub checkpoint: Checkpoint,
    /// What is wrong with it.
    pub reason: StateError,
}

/// Where a run continues.
#[derive(Debug, Default)]
pub struct Latest {
    /// The newest checkpoint that verifies; nothing if there is none.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that do not, newest first.
    pub rejected: Vec<Rejected>,
}

impl RunDirectory {
    /// Opens a run directory, creates it if it is absent, takes its lock, and removes what a killed
    /// process left unfinished.
    ///
    /// # Errors
    /// [`StateError::Locked`] if another process has it open and keeps it open for two seconds,
    /// [`StateError::Io`].
    pub fn open_or_create(path: &Path) -> Result<Self, StateError> {
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(|error| StateError::io("create", &checkpoints, error))?;
        let lock = take_lock(path)?;
        remove_leftovers(path)?;
        remove_leftovers(&checkpoints)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where the run is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a checkpoint of this step is or would be.
    pub fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.path.join("checkpoints").join(format!("{STEP}{step:08}"))
    }

    /// Records the resolved recipe of a new run, or compares it with that of the run begun here.
    /// Keys in `free`, and those below them, may change while a run is going on.
    ///
    /// # Errors
    /// [`StateError::RecipeDiffers`] names every other key that differs.
    pub fn claim(&self, resolved: &Value, free: &[&str]) -> Result<(), StateError> {
        let path = self.path.join(RECIPE);
        let damaged = |reason| StateError::Json { path: path.clone(), reason };
        // Through text, as the other one went: reading a number may round its last digit.
        let text = serde_json::to_vec_pretty(resolved).map_err(damaged)?;
        if !path.exists() {
            return commit(&path, &text);
        }
        let before = fs::read(&path).map_err(|error| StateError::io("read", &path, error))?;
        let before = serde_json::from_slice(&before).map_err(damaged)?;
        let now = serde_json::from_slice(&text).map_err(damaged)?;
        match recipe::differences(&before, &now, free) {
            differences if differences.is_empty() => Ok(()),
            differences => Err(StateError::RecipeDiffers { path: self.path.clone(), differences }),
        }
    }

    /// The checkpoints that are there, oldest first, verified or not.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, StateError> {
        let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(STEP)?.parse::<u64>().ok();
        let paths = entries(&self.path.join("checkpoints"))?.into_iter();
        let mut found: Vec<Checkpoint> =
            paths.filter_map(|path| step(&path).map(|step| Checkpoint { step, path })).collect();
        found.sort_by_key(|checkpoint| checkpoint.step);
        Ok(found)
    }

    /// The newest checkpoint whose files are all what its manifest says.
    ///
    /// # Errors
    /// [`StateError::Io`] if one cannot be read for another reason than damage.
    pub fn latest(&self) -> Result<Latest, StateError> {
        let mut latest = Latest::default();
        for checkpoint in self.checkpoints()?.into_iter().rev() {
            match verify(&checkpoint.path) {
                Ok(_) => {
                    latest.checkpoint = Some(checkpoint);
                    break;
                }
                Err(reason) if reason.is_damage() => latest.rejected.push(Rejected { checkpoint, reason }),
                Err(reason) => return Err(reason),
            }
        }
        Ok(latest)
    }

    /// Renames a checkpoint that cannot be trusted to `damaged-step-…`, so that it stands for none.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn set_aside(&self, checkpoint: &Checkpoint) -> Result<PathBuf, StateError> {
        let aside = checkpoint.path.with_file_name(format!("damaged-{STEP}{:08}", checkpoint.step));
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(|error| StateError::io("remove", &aside, error))?;
        }
        fs::rename(&checkpoint.path, &aside).map_err(|error| StateError::io("rename", &checkpoint.path, error))?;
        Ok(aside)
    }

    /// Writes a checkpoint; it is there whole or not at all.
    ///
    /// # Errors
    /// Those of [`crate::commit_dir`].
    pub fn save<S: Serialize>(&self, step: u64, contents: CheckpointContents<'_, S>) -> Result<Checkpoint, StateError> {
        let path = self.checkpoint_path(step);
        commit_dir(&path, |directory| {
            let none = BTreeMap::new();
            write_safetensors(&directory.join(MODEL), contents.model, &none)?;
            write_safetensors(&directory.join(OPTIMIZER), contents.optimizer, &none)?;
            if let Some(average) = contents.average {
                write_safetensors(&directory.join(AVERAGE), average, &none)?;
            }
            let state = directory.join(STATE);
            let text = serde_json::to_vec_pretty(contents.state);
            commit(&state, &text.map_err(|reason| StateError::Json { path: state.clone(), reason })?)?;
            write_manifest(directory).map(|_| ())
        })?;
        Ok(Checkpoint { step, path })
    }

    /// Removes all checkpoints but the last two and those of the steps in `keep`.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn prune(&self, keep: &[u64]) -> Result<(), StateError> {
        let checkpoints = self.checkpoints()?;
        let last: BTreeSet<u64> = checkpoints.iter().rev().take(2).map(|checkpoint| checkpoint.step).collect();
        for Checkpoint { step, path } in checkpoints {
            if last.contains(&step) || keep.contains(&step) {
                continue;
            }
            // Renamed first: a process killed while removing leaves no half of a checkpoint.
            let doomed = path.with_file_name(format!(".tmp-old-{STEP}{step:08}"));
            fs::rename(&path, &doomed).map_err(|error| StateError::io("rename", &path, error))?;
            fs::remove_dir_all(&doomed).map_err(|error| StateError::io("remove", &doomed, error))?;
        }
        Ok(())
    }

    /// Opens a file of records as [`Records::open`] does.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn records(&self, name: &str, step: u64, length: Option<u64>) -> Result<Records, StateError> {
        Records::open(&self.path.join(name), step, length)
    }
}

impl Checkpoint {
    /// The trained weights.
    ///
    /// # Errors
    /// Those of [`crate::read_safetensors`].
    pub fn model(&self) -> Result<Tensors, StateError> {
        read_safetensors(&self.path.join(MODEL), NonFinite::Refuse)
    }

    /// The optimiser's state.
    ///
    /// # Errors
    /// Those of [`crate::read_safetensors`].
    pub fn optimizer(&self) -> Result<Tensors, StateError> {
        read_safetensors(&self.path.join(OPTIMIZER), NonFinite::Refuse)
    }

    /// The weights' moving average, if one was kept.
    ///
    /// # Errors
    /// Those of [`crate::read_safetensors`].
    pub fn average(&self) -> Result<Option<Tensors>, StateError> {
        let path = self.path.join(AVERAGE);
        path.exists().then(|| read_safetensors(&path, NonFinite::Refuse)).transpose()
    }

    /// What was saved as [`CheckpointContents::state`].
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Json`].
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, StateError> {
        let path = self.path.join(STATE);
        let text = fs::read(&path).map_err(|error| StateError::io("read", &path, error))?;
        serde_json::from_slice(&text).map_err(|reason| StateError::Json { path, reason })
    }

    /// The module with the weights that are used after training: the moving average if one was
    /// kept, else the trained ones.
    ///
    /// # Errors
    /// Those of [`crate::read_safetensors`] and [`crate::import`].
    pub fn load<M: Module>(&self, module: M) -> Result<M, StateError> {
        let tensors = match self.average()? {
            Some(average) => average,
            None => self.model()?,
        };
        import(module, &tensors.tensors)
    }
}

/// Takes the lock of a directory that one process at a time may write to: its file `lock`. The system
/// releases it when the file is closed, however the process ends.
///
/// # Errors
/// [`StateError::Locked`] if another process holds it for two seconds, [`StateError::Io`].
pub fn take_lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| StateError::io("create", &path, error))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => sleep(PATIENCE / 40),
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(StateError::io("lock", &path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn save(run: &RunDirectory, step: u64) -> Checkpoint {
        let tensor = NamedTensor { name: "x".into(), shape: vec![1], values: vec![step as f32] };
        let model = std::slice::from_ref(&tensor);
        let contents = CheckpointContents { model, optimizer: &[], average: None, state: &json!({ "step": step }) };
        run.save(step, contents).unwrap()
    }

    fn steps(run: &RunDirectory) -> Vec<u64> {
        run.checkpoints().unwrap().into_iter().map(|checkpoint| checkpoint.step).collect()
    }

    #[test]
    fn one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        assert!(matches!(RunDirectory::open_or_create(home.path()), Err(StateError::Locked(_))));
        drop(run);
        RunDirectory::open_or_create(home.path()).unwrap();
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        assert!(run.latest().unwrap().checkpoint.is_none());
        save(&run, 100);
        let checkpoint = run.latest().unwrap().checkpoint.unwrap();
        assert!(checkpoint.path.ends_with("checkpoints/step-00000100"));
        assert_eq!(checkpoint.model().unwrap().tensors["x"].values, [100.0]);
        assert_eq!(checkpoint.average().unwrap(), None);
        assert_eq!(checkpoint.state::<Value>().unwrap()["step"], 100);
    }

    #[test]
    fn a_damaged_checkpoint_gives_way_to_the_one_before() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        [1, 2, 3].iter().for_each(|&step| drop(save(&run, step)));
        fs::remove_file(run.checkpoint_path(3).join(MODEL)).unwrap();
        fs::write(run.checkpoint_path(2).join(STATE), b"{}").unwrap();
        let latest = run.latest().unwrap();
        assert_eq!(latest.checkpoint.unwrap().step, 1);
        let rejected: Vec<u64> = latest.rejected.iter().map(|rejected| rejected.checkpoint.step).collect();
        assert_eq!(rejected, [3, 2]);
        run.set_aside(&latest.rejected[0].checkpoint).unwrap();
        assert_eq!(steps(&run), [1, 2]);
    }

    #[test]
    fn the_last_two_and_the_best_stay() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        [10, 20, 30, 40, 50].iter().for_each(|&step| drop(save(&run, step)));
        run.prune(&[20]).unwrap();
        assert_eq!(steps(&run), [20, 40, 50]);
    }

    #[test]
    fn leftovers_of_a_killed_process_go_at_the_next_start() {
        let home = tempfile::tempdir().unwrap();
        let half = home.path().join("checkpoints/.tmp-7-step-00000004");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join(MODEL), b"half").unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        assert!(!half.exists());
        assert!(steps(&run).is_empty());
    }

    #[test]
    fn another_recipe_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let run = RunDirectory::open_or_create(home.path()).unwrap();
        let recipe = json!({ "train": { "steps": 10, "rate": 0.3, "log_every": 1 } });
        run.claim(&recipe, &["train.log_every"]).unwrap();
        run.claim(&recipe, &[]).unwrap();
        let other = json!({ "train": { "steps": 20, "rate": 0.3, "log_every": 5 } });
        let error = run.claim(&other, &["train.log_every"]).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("the recipe differs in `train.steps` (was 10, now 20)"), "{message}");
        assert!(!message.contains("log_every"), "{message}");
    }
}
