//! Runs one program: no shell, nothing of the daemon's environment, a bound on time and output, and no process left.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::last_line;

/// The one variable that is not about the release.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long what is left in the pipe may take to arrive, and a killed process to end.
const REST: Duration = Duration::from_secs(1);
/// Octets of output that are kept: the last ones, as that is where programs say what went wrong.
const OUTPUT_OCTETS_MAX: usize = 4096;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal of somebody else.
    Killed(i32),
    /// It was ended after so long.
    TimedOut(Duration),
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// The last line that it wrote to its output or its errors.
    pub last_line: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Ended::Exited(code) => write!(f, "ended with exit code {code}")?,
            Ended::Killed(signal) => write!(f, "was killed by signal {signal}")?,
            Ended::TimedOut(limit) => {
                write!(f, "did not end within {} and was killed", humantime::format_duration(limit))?;
            }
        }
        if self.last_line.is_empty() { Ok(()) } else { write!(f, ": {}", self.last_line) }
    }
}

/// Runs a program with nothing but `PATH` and `environment`, in `/`, without input, as the leader of a process group
/// that is killed as a whole when the leader has ended or the time is over: SIGTERM, and 2 s later SIGKILL. Dropping
/// the future kills the group too.
///
/// # Errors
/// It cannot be started.
pub async fn run(program: &Path, environment: &[(String, String)], limit: Duration) -> io::Result<Ran> {
    let (mut group, mut output) = start(program, environment)?;
    let in_time = output.during(timeout(limit, group.exited())).await.is_ok();
    if !in_time {
        group.signal(Signal::TERM);
        let _ = output.during(timeout(GRACE, group.exited())).await;
    }
    // Also after a good end: what the program left running is no longer wanted, and may hold the pipe.
    group.signal(Signal::KILL);
    let _ = timeout(REST, async {
        group.exited().await;
        output.fill().await;
    })
    .await;
    let ended = match group.reap()? {
        Some(status) if in_time => ended(status),
        _ => Ended::TimedOut(limit),
    };
    Ok(Ran { ended, last_line: last_line(&output.tail) })
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    }
}

fn start(program: &Path, environment: &[(String, String)]) -> io::Result<(Group, Output)> {
    let (reader, writer) = io::pipe()?;
    let reader = Receiver::from_owned_fd(reader.into())?;
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).envs(environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let group = Group::of(command.spawn()?)?;
    Ok((group, Output { reader, tail: Vec::new() }))
}

/// A process and those that it started, as long as they stay in its group.
struct Group {
    /// Not waited for before the group was killed for the last time: until then its number means nobody else.
    leader: Option<Child>,
    pid: Pid,
    /// Readable once the leader has ended.
    watch: AsyncFd<OwnedFd>,
}

impl Group {
    fn of(mut leader: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&leader);
        let watch =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(register);
        match watch {
            Ok(watch) => Ok(Self { leader: Some(leader), pid, watch }),
            Err(error) => {
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                leader.wait()?;
                Err(error)
            }
        }
    }

    /// Waits until the leader has ended.
    async fn exited(&self) {
        // What cannot be watched any more counts as ended, and is killed next.
        let _ = self.watch.readable().await;
    }

    fn signal(&self, signal: Signal) {
        if self.leader.is_some() {
            // Nobody is left to be told.
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// How the leader ended, if it has.
    fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(mut leader) = self.leader.take() else { return Ok(None) };
        let status = leader.try_wait()?;
        if status.is_none() {
            reap_later(leader);
        }
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(leader) = self.leader.take() {
            reap_later(leader);
        }
    }
}

#[expect(
    deprecated,
    reason = "the descriptor is an OwnedFd, which is all that the unsafe successor wants to be promised"
)]
fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Waits for a killed process where nobody else has to.
fn reap_later(mut leader: Child) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || leader.wait());
    }
}

/// What the program writes, read all the time so that it never has to wait.
struct Output {
    reader: Receiver,
    tail: Vec<u8>,
}

impl Output {
    /// Reads while `work` goes on.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = self.fill() => {}
        }
        work.await
    }

    /// Reads until nobody can write any more.
    async fn fill(&mut self) {
        let mut space = vec![0; 4 * OUTPUT_OCTETS_MAX];
        while let Ok(octets @ 1..) = self.reader.read(&mut space).await {
            self.tail.extend_from_slice(&space[..octets]);
            let surplus = self.tail.len().saturating_sub(OUTPUT_OCTETS_MAX);
            self.tail.drain(..surplus);
        }
    }
}
