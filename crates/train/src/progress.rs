use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::journal::{StepRecord, StepTime};

/// What the user sees of a run: a bar on a terminal, else a line now and then.
#[derive(Debug)]
pub struct Display {
    kind: Kind,
    steps: u64,
    /// Moving averages over about the last ten steps, in seconds; the share of data is the ratio.
    step_time: Smooth,
    wait: Smooth,
}

#[derive(Debug)]
enum Kind {
    Quiet,
    Lines { last: Option<Instant> },
    Bar(ProgressBar),
}

const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
struct Smooth(Option<f64>);

impl Smooth {
    fn add(&mut self, value: f64) -> f64 {
        let mean = self.0.map_or(value, |mean| mean + 0.1 * (value - mean));
        self.0 = Some(mean);
        mean
    }
}

impl Display {
    /// A bar if the standard error is a terminal, else lines there.
    pub fn auto() -> Self {
        match stderr().is_terminal() {
            true => Self::of(Kind::Bar(ProgressBar::new(0))),
            false => Self::of(Kind::Lines { last: None }),
        }
    }

    /// Nothing at all.
    pub fn quiet() -> Self {
        Self::of(Kind::Quiet)
    }

    fn of(kind: Kind) -> Self {
        Self { kind, steps: 0, step_time: Smooth::default(), wait: Smooth::default() }
    }

    pub(crate) fn begin(&mut self, step: u64, steps: u64) {
        self.steps = steps;
        if let Kind::Bar(bar) = &self.kind {
            // The template is constant and valid; without it the bar has its default look.
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}") {
                bar.set_style(style);
            }
            bar.set_length(steps);
            bar.set_position(step);
        }
    }

    pub(crate) fn step(&mut self, record: &StepRecord, time: StepTime) {
        let seconds = self.step_time.add(time.total().as_secs_f64());
        let wait = self.wait.add(time.wait.as_secs_f64()) / seconds.max(1e-9);
        let left = Duration::from_secs_f64(seconds * self.steps.saturating_sub(record.step) as f64);
        let message = || {
            format!(
                "loss {:.3}{}  lr {:.2e}  {:.0} samples/s, {:.0} % waiting for data  {} left",
                record.loss,
                parts(record),
                record.lr,
                time.samples as f64 / seconds.max(1e-9),
                100.0 * wait,
                HumanDuration(left)
            )
        };
        match &mut self.kind {
            Kind::Quiet => {}
            Kind::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) || record.step == self.steps {
                    eprintln!("step {}/{}  {}", record.step, self.steps, message());
                    *last = Some(Instant::now());
                }
            }
            Kind::Bar(bar) => {
                bar.set_position(record.step);
                bar.set_message(message());
            }
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.kind {
            Kind::Quiet => {}
            Kind::Lines { .. } => eprintln!("{line}"),
            Kind::Bar(bar) => bar.println(line),
        }
    }

    pub(crate) fn end(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

fn parts(record: &StepRecord) -> String {
    match record.parts.len() {
        0 | 1 => String::new(),
        _ => {
            let parts: Vec<String> =
                record.parts.iter().map(|(name, part)| format!("{name} {:.3}", part.value)).collect();
            format!(" ({})", parts.join(", "))
        }
    }
}
