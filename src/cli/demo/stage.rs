//! Where the story is told: the terminal's second screen, or plain lines.

use std::io::{self, BufRead};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::backends::Backends;
use super::frame::{Scene, compose, table};
use super::measure::Meter;
use super::paint::{Line, Palette, Style};
use super::screen::{Screen, palette, put};
use super::step::Event;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Tells the story.
pub struct Stage {
    board: Mutex<Board>,
    palette: Palette,
    meter: Meter,
    backends: Arc<Backends>,
    /// Nobody reads any more.
    gone: CancellationToken,
}

/// What came of waiting for Enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Somebody pressed it.
    Pressed,
    /// Nobody ever will.
    Ended,
}

struct Board {
    screen: Option<Screen>,
    head: Vec<Line>,
    events: Vec<Line>,
    scene: Option<Scene>,
    prompt: Option<String>,
}

impl Stage {
    /// Begins with these lines.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn open(head: Vec<Line>, meter: Meter, backends: Arc<Backends>) -> io::Result<Self> {
        let screen = Screen::enter()?;
        let is_screen = screen.is_some();
        let board = Board { screen, head, events: Vec::new(), scene: None, prompt: None };
        let gone = CancellationToken::new();
        let stage = Self { board: Mutex::new(board), palette: palette(), meter, backends, gone };
        if !is_screen {
            let head = stage.board().head.clone();
            stage.print(&head);
        }
        Ok(stage)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, lines: &[Line]) {
        let text: String = lines.iter().map(|line| line.render(self.palette, usize::MAX) + "\n").collect();
        if put(&text).is_err() {
            self.gone.cancel();
        }
    }

    /// Tells what happened.
    pub fn tell(&self, event: Event) {
        let mut board = self.board();
        if board.screen.is_none() {
            drop(board);
            self.print(&[event.long]);
        } else {
            board.events.push(event.short);
        }
    }

    /// Shows this step from now on.
    pub fn set_scene(&self, scene: Scene) {
        self.board().scene = Some(scene);
    }

    /// Says what comes next, asks for Enter and waits for it.
    pub async fn wait_for_enter(&self, next: &str, keys: &mut mpsc::UnboundedReceiver<()>) -> Waited {
        self.set_prompt(Some(format!("Next: {next}. Press Enter, or Ctrl-C to end.")));
        let key = keys.recv().await;
        self.set_prompt(None);
        if key.is_some() {
            return Waited::Pressed;
        }
        let line = Line::plain("Standard input has ended: going on without waiting for Enter.");
        self.tell(Event { long: line.clone(), short: line });
        Waited::Ended
    }

    fn set_prompt(&self, prompt: Option<String>) {
        let mut board = self.board();
        board.prompt.clone_from(&prompt);
        match (&mut board.screen, prompt) {
            // What was typed was echoed.
            (Some(screen), None) => screen.forget(),
            (None, Some(prompt)) => {
                drop(board);
                self.print(&[Line::plain(prompt)]);
            }
            _ => {}
        }
    }

    /// Draws until nobody reads any more.
    pub async fn keep_drawn(&self) {
        let mut tick = tokio::time::interval(FRAME);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.gone.is_cancelled() {
            tokio::select! {
                () = self.gone.cancelled() => return,
                _ = tick.tick() => self.draw(),
            }
        }
    }

    fn draw(&self) {
        let mut board = self.board();
        let Board { screen: Some(screen), head, events, scene, prompt } = &mut *board else { return };
        let rows = screen.rows();
        let mut foot =
            scene.as_ref().map_or_else(Vec::new, |scene| table(scene, &self.meter, &self.backends));
        foot.push(Line::new(Style::Bold, prompt.clone().unwrap_or_default()));
        if screen.show(&compose(head, events, &foot, rows)).is_err() {
            self.gone.cancel();
        }
    }

    /// Leaves the second screen and prints the end.
    pub fn close(&self, lines: &[Line]) {
        let screen = self.board().screen.take();
        drop(screen);
        self.print(lines);
    }
}

/// A message for each line of standard input, until its end.
pub fn keys() -> mpsc::UnboundedReceiver<()> {
    let (sender, keys) = mpsc::unbounded_channel();
    // A thread of its own: it ends with the process, which does not wait for it.
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || sender.send(()).is_err() {
                return;
            }
        }
    });
    keys
}
