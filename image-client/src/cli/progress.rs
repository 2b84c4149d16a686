// SPDX-License-Identifier: Apache-2.0
//! Progress on stderr: bars which are redrawn on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use image_client::{Event, LayerStage, Progress, Stage};

use super::args::ProgressKind;
use super::report::size;

/// Time between two drawings: smooth to the eye, nothing to the processor.
const FRAME: Duration = Duration::from_millis(100);
/// Bars shown at once; an image may have hundreds of layers and a terminal has 24 lines.
const MAX_BARS: usize = 12;
const BAR: usize = 24;

/// The listener for what was asked; `None` when nothing is to be shown.
pub(crate) fn listener(kind: ProgressKind) -> Arc<dyn Progress> {
    let terminal =
        std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    match kind {
        ProgressKind::None => Arc::new(()),
        ProgressKind::Auto if terminal => Arc::new(Shown(Mutex::new(Screen::new(Form::Bars)))),
        ProgressKind::Auto | ProgressKind::Plain => Arc::new(Shown(Mutex::new(Screen::new(Form::Lines)))),
    }
}

#[derive(Debug)]
struct Shown(Mutex<Screen>);

impl Progress for Shown {
    fn event(&self, event: &Event) {
        let mut screen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = screen.take(event, Instant::now());
        if !text.is_empty() {
            // Nobody looks at a closed stderr.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bars,
    Lines,
}

#[derive(Debug)]
struct Screen {
    form: Form,
    stage: Stage,
    layers: Vec<Layer>,
    /// Lines now on the terminal which the next drawing replaces.
    drawn: usize,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Layer {
    name: String,
    size: u64,
    bytes: u64,
    started: Option<Instant>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    At(LayerStage),
    Done { cached: bool },
}

impl Screen {
    fn new(form: Form) -> Self {
        Self {
            form,
            stage: Stage::Resolving,
            layers: Vec::new(),
            drawn: 0,
            last: None,
        }
    }

    /// Takes note of an event and returns what is to be written for it.
    fn take(&mut self, event: &Event, now: Instant) -> String {
        let line = self.note(event, now);
        match self.form {
            Form::Lines => line.map(|line| line + "\n").unwrap_or_default(),
            Form::Bars => {
                // The last drawing must show the end, whenever it comes.
                let due = self.stage == Stage::Done
                    || self
                        .last
                        .is_none_or(|last| now.saturating_duration_since(last) >= FRAME);
                if due {
                    self.last = Some(now);
                    self.draw(now)
                } else {
                    String::new()
                }
            }
        }
    }

    fn note(&mut self, event: &Event, now: Instant) -> Option<String> {
        match *event {
            Event::Stage(stage) => {
                self.stage = stage;
                (stage != Stage::Done).then(|| stage.to_string())
            }
            Event::Resolved { manifest } => Some(format!("manifest {manifest}")),
            Event::LayerQueued {
                index,
                total,
                size,
                digest,
            } => {
                if self.layers.len() <= index && index < total {
                    self.layers
                        .resize_with(index + 1, || Layer::new(String::new(), 0));
                }
                if let Some(layer) = self.layers.get_mut(index) {
                    *layer = Layer::new(digest.short(), size);
                }
                None
            }
            Event::LayerBytes { index, bytes } => {
                if let Some(layer) = self.layers.get_mut(index) {
                    layer.bytes = bytes;
                }
                None
            }
            Event::LayerStage { index, stage } => {
                let total = self.layers.len();
                let layer = self.layers.get_mut(index)?;
                layer.state = State::At(stage);
                if stage == LayerStage::Fetching {
                    layer.started = Some(now);
                }
                Some(format!(
                    "layer {}/{total} {}: {stage}, {}",
                    index + 1,
                    layer.name,
                    size(layer.size)
                ))
            }
            Event::LayerDone { index, cached } => {
                let total = self.layers.len();
                let layer = self.layers.get_mut(index)?;
                layer.state = State::Done { cached };
                let how = if cached {
                    "already here".to_owned()
                } else {
                    format!("done, {}", layer.rate(now))
                };
                Some(format!("layer {}/{total} {}: {how}", index + 1, layer.name))
            }
            _ => None,
        }
    }

    fn draw(&mut self, now: Instant) -> String {
        let mut out = String::new();
        if self.drawn > 0 {
            // Back to the first line of the last drawing, and clear from there.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        let done = self
            .layers
            .iter()
            .filter(|layer| matches!(layer.state, State::Done { .. }))
            .count();
        let _ = if self.layers.is_empty() {
            writeln!(out, "{}", self.stage)
        } else {
            writeln!(out, "{}: {done} of {} layers", self.stage, self.layers.len())
        };
        self.drawn = 1;
        if self.stage == Stage::Done {
            // What was drawn is gone; the result follows on stdout.
            self.drawn = 0;
            return out;
        }
        let moving = self
            .layers
            .iter()
            .filter(|layer| matches!(layer.state, State::At(_)));
        for layer in moving.take(MAX_BARS) {
            let _ = writeln!(out, "{}", layer.bar(now));
            self.drawn += 1;
        }
        out
    }
}

impl Layer {
    fn new(name: String, size: u64) -> Self {
        Self {
            name,
            size,
            bytes: 0,
            started: None,
            state: State::Queued,
        }
    }

    fn bar(&self, now: Instant) -> String {
        let part = self.bytes.min(self.size);
        let full = (part.saturating_mul(BAR as u64))
            .checked_div(self.size)
            .unwrap_or(0);
        let full = usize::try_from(full).unwrap_or(BAR).min(BAR);
        let stage = match self.state {
            State::At(stage) => stage.to_string(),
            State::Queued | State::Done { .. } => String::new(),
        };
        // Below 80 columns by construction, so that no line wraps and the count of lines stays right.
        format!(
            "{:19} {}{} {:>9}/{:<9} {:10}",
            self.name,
            "#".repeat(full),
            ".".repeat(BAR - full),
            size(self.bytes),
            size(self.size),
            if self.state == State::At(LayerStage::Fetching) {
                self.rate(now)
            } else {
                stage
            },
        )
    }

    fn rate(&self, now: Instant) -> String {
        let seconds = self
            .started
            .map_or(0.0, |start| now.saturating_duration_since(start).as_secs_f64());
        if seconds < 0.001 {
            return "-".to_owned();
        }
        format!("{}/s", size((self.bytes as f64 / seconds) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_spec::Digest;

    fn run(form: Form, step: Duration, events: &[Event]) -> Vec<String> {
        let mut screen = Screen::new(form);
        let mut now = Instant::now();
        let mut out = Vec::new();
        for event in events {
            out.push(screen.take(event, now));
            now += step;
        }
        out
    }

    fn events() -> Vec<Event> {
        let digest = Digest::sha256(b"");
        vec![
            Event::Stage(Stage::Resolving),
            Event::LayerQueued {
                index: 0,
                total: 2,
                size: 2048,
                digest,
            },
            Event::LayerQueued {
                index: 1,
                total: 2,
                size: 10,
                digest,
            },
            Event::Stage(Stage::Layers),
            Event::LayerDone {
                index: 1,
                cached: true,
            },
            Event::LayerStage {
                index: 0,
                stage: LayerStage::Fetching,
            },
            Event::LayerBytes {
                index: 0,
                bytes: 1024,
            },
            Event::LayerDone {
                index: 0,
                cached: false,
            },
            Event::Stage(Stage::Done),
        ]
    }

    #[test]
    fn elsewhere_each_turn_is_one_plain_line() {
        let text = run(Form::Lines, Duration::from_secs(1), &events()).concat();
        let want = "resolving\nfetching layers\n\
                    layer 2/2 sha256:e3b0c44298fc: already here\n\
                    layer 1/2 sha256:e3b0c44298fc: fetching, 2.0 KiB\n\
                    layer 1/2 sha256:e3b0c44298fc: done, 512 B/s\n";
        assert_eq!(text, want);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn on_a_terminal_a_drawing_replaces_exactly_the_last_one() {
        let out = run(Form::Bars, FRAME, &events());
        assert_eq!(out[0], "resolving\n");
        assert_eq!(out[3], "\x1b[1A\x1b[Jfetching layers: 0 of 2 layers\n");
        let half = &out[6];
        assert!(
            half.starts_with("\x1b[2A\x1b[Jfetching layers: 1 of 2 layers\nsha256:e3b0c44298fc"),
            "{half:?}"
        );
        assert!(
            half.contains("############............   1.0 KiB/2.0 KiB"),
            "{half:?}"
        );
        assert!(
            half.lines()
                .all(|line| line.len() < 100 && line.trim_start_matches("\x1b[2A\x1b[J").len() < 80)
        );
        assert_eq!(out[8], "\x1b[1A\x1b[Jdone: 2 of 2 layers\n");
    }

    #[test]
    fn drawings_are_rare_but_the_end_is_always_drawn() {
        let out = run(Form::Bars, Duration::from_millis(1), &events());
        assert_eq!(out.iter().filter(|text| !text.is_empty()).count(), 2);
        assert!(out.last().unwrap().ends_with("done: 2 of 2 layers\n"));
    }

    #[test]
    fn numbers_from_outside_cannot_break_the_renderer() {
        let digest = Digest::sha256(b"");
        let events = [
            Event::LayerQueued {
                index: 9,
                total: 1,
                size: 0,
                digest,
            },
            Event::LayerQueued {
                index: 0,
                total: 1,
                size: 0,
                digest,
            },
            Event::LayerStage {
                index: 0,
                stage: LayerStage::Fetching,
            },
            Event::LayerBytes {
                index: 0,
                bytes: u64::MAX,
            },
            Event::LayerBytes { index: 7, bytes: 1 },
            Event::LayerDone {
                index: 7,
                cached: false,
            },
        ];
        for form in [Form::Bars, Form::Lines] {
            assert!(!run(form, FRAME, &events).concat().contains("layer 8"));
        }
    }
}
