//! What the kernel says about the names of a [`Plan`].
//!
//! Plain inotify(7) through rustix and not the `notify` crate: notify keys its watches by path, so that
//! the late `DELETE_SELF` of a replaced file takes away the watch of its successor; it keeps no identity
//! of a folder, so that a swapped one is not told from the old one; and it wakes for every open, our own
//! included. Here a watch is what the kernel says it is, a number that is never used twice.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::pending::Pending;
use super::resolve::{Interest, Plan, Presence};

/// Attempts to see the file system stand still while watches are set up.
const PLANS_MAX: usize = 8;
/// Bytes for events read at once.
const BUFFER: usize = 16 << 10;

/// A name in a watched folder, or, with no name, a file that is watched itself.
pub(super) type Key = (i32, OsString);

/// Why the kernel does not watch. Ours or the operator's fault; polling helps.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// EMFILE or ENFILE when the instance was made.
    #[error("no inotify instance is left for this user: raise the sysctl fs.inotify.max_user_instances")]
    Instances,
    /// ENOSPC when a watch was added.
    #[error("no inotify watch is left for this user: raise the sysctl fs.inotify.max_user_watches")]
    Watches,
    /// A folder with configuration files cannot be listed.
    #[error("{} may not be read by this user: give it the right to read that folder", .0.display())]
    Denied(PathBuf),
    /// Anything else.
    #[error("inotify failed: {0}")]
    Other(Errno),
}

impl WatchError {
    /// What an event queue says about the descriptor.
    pub(super) fn of(error: &io::Error) -> Self {
        Self::Other(Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

/// The descriptor and what it watches.
#[derive(Debug)]
pub(super) struct Notifications {
    descriptor: Arc<OwnedFd>,
    watched: HashMap<i32, Watched>,
    plan: Plan,
}

#[derive(Debug)]
enum Watched {
    Folder { path: PathBuf, interest: Interest },
    File(PathBuf),
}

/// Whether the kernel had more to say than was taken in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    All,
    /// Ask again soon; there may be no further wake-up.
    Some,
}

/// What a batch of events asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Replan {
    /// Nothing came or went.
    No,
    /// Names changed; what they lead to is complete.
    Yes,
    /// A folder was made, and may be filled right now.
    Growing,
}

impl Notifications {
    /// Begins to watch. When this returns, no change is missed any more.
    pub(super) fn start(config: &Path, pending: &mut Pending<Key>) -> Result<Self, WatchError> {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let descriptor = inotify::init(flags).map_err(|errno| match errno {
            Errno::MFILE | Errno::NFILE => WatchError::Instances,
            errno => WatchError::Other(errno),
        })?;
        let mut this =
            Self { descriptor: Arc::new(descriptor), watched: HashMap::new(), plan: Plan::default() };
        this.watch_plan(config, pending)?;
        Ok(this)
    }

    /// Readable when there is something to [`Self::drain`].
    pub(super) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Where `key` is.
    pub(super) fn path(&self, key: &Key) -> PathBuf {
        match self.watched.get(&key.0) {
            Some(Watched::Folder { path, .. }) => path.join(&key.1),
            Some(Watched::File(path)) => path.clone(),
            None => PathBuf::from(&key.1),
        }
    }

    /// Takes everything that the kernel has to say, and watches what it leads to.
    pub(super) fn drain(&mut self, config: &Path, pending: &mut Pending<Key>) -> Result<Drained, WatchError> {
        // Following a change may take a moment in which more happens.
        for _ in 0..PLANS_MAX {
            let replan = self.read_events(pending)?;
            if replan == Replan::No {
                return Ok(Drained::All);
            }
            let known: HashSet<i32> = self.watched.keys().copied().collect();
            self.watch_plan(config, pending)?;
            if replan == Replan::Growing {
                self.doubt_files_outside(&known, pending);
            }
        }
        Ok(Drained::Some)
    }

    fn read_events(&mut self, pending: &mut Pending<Key>) -> Result<Replan, WatchError> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&*self.descriptor, &mut buffer);
        let mut replan = Replan::No;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name =
                        event.file_name().map_or(OsStr::new(""), |name| OsStr::from_bytes(name.to_bytes()));
                    let seen = Seen { watch: event.wd(), flags: event.events(), name };
                    replan = replan.max(take(&self.watched, &seen, pending));
                }
                Err(Errno::AGAIN) => return Ok(replan),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(WatchError::Other(errno)),
            }
        }
    }

    /// Watches all that the configuration depends on now, and nothing else.
    fn watch_plan(&mut self, config: &Path, pending: &mut Pending<Key>) -> Result<(), WatchError> {
        let mut plan = Plan::of(config);
        let mut watched;
        let mut tries = 0;
        loop {
            watched = self.add_watches(&plan)?;
            let now = Plan::of(config);
            tries += 1;
            if now == plan || tries == PLANS_MAX {
                break;
            }
            plan = now;
        }
        for watch in self.watched.keys().filter(|watch| !watched.contains_key(watch)) {
            // Fails when the folder has gone, and its watch with it.
            let _ = inotify::remove_watch(&*self.descriptor, *watch);
        }
        pending.retain(|(watch, _)| watched.contains_key(watch));
        match plan.main {
            Presence::Missing => pending.main_missing(Instant::now()),
            Presence::Present => pending.main_present(),
        }
        self.watched = watched;
        self.plan = plan;
        Ok(())
    }

    fn add_watches(&self, plan: &Plan) -> Result<HashMap<i32, Watched>, WatchError> {
        let mut watched = HashMap::new();
        for (path, interest) in &plan.folders {
            let mut flags = WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK | COMES_AND_GOES;
            if interest.has_files() {
                flags |= WRITES | WatchFlags::ATTRIB;
            }
            let Some(watch) = self.add(path, flags, interest)? else { continue };
            if let Some(Watched::Folder { interest: others, .. }) = watched.get_mut(&watch) {
                // One folder under two paths, by a bind mount.
                others.merge(interest.clone());
            } else {
                let folder = Watched::Folder { path: path.clone(), interest: interest.clone() };
                watched.insert(watch, folder);
            }
        }
        if let Some(path) = &plan.file
            && let Some(watch) = self.add(path, WRITES, &Interest::default())?
        {
            watched.entry(watch).or_insert(Watched::File(path.clone()));
        }
        Ok(watched)
    }

    fn add(&self, path: &Path, flags: WatchFlags, interest: &Interest) -> Result<Option<i32>, WatchError> {
        // A second path to one folder must not take flags of the first away; flags that are no longer
        // needed do no harm.
        match inotify::add_watch(&*self.descriptor, path, flags | WatchFlags::MASK_ADD) {
            Ok(watch) => Ok(Some(watch)),
            // Gone since it was planned, or a folder on the way that cannot be listed.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::ACCESS) if !interest.has_files() => {
                tracing::debug!(path = %path.display(), "not watched: no right to read it");
                Ok(None)
            }
            Err(Errno::ACCESS) => Err(WatchError::Denied(path.to_owned())),
            Err(Errno::NOSPC | Errno::NOMEM) => Err(WatchError::Watches),
            Err(errno) => Err(WatchError::Other(errno)),
        }
    }

    /// Files that were there before their new folder was watched may be half written.
    fn doubt_files_outside(&self, known: &HashSet<i32>, pending: &mut Pending<Key>) {
        for (watch, watched) in self.watched.iter().filter(|(watch, _)| !known.contains(watch)) {
            let Watched::Folder { path, interest } = watched else { continue };
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                let is_regular = entry.file_type().is_ok_and(|kind| kind.is_file());
                if is_regular && interest.is_file(&entry.file_name()) {
                    pending.created((*watch, entry.file_name()), Instant::now());
                }
            }
        }
    }
}

const COMES_AND_GOES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
const WRITES: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::CLOSE_WRITE);

/// One event.
struct Seen<'a> {
    watch: i32,
    flags: ReadFlags,
    name: &'a OsStr,
}

impl Seen<'_> {
    fn is(&self, flags: ReadFlags) -> bool {
        self.flags.intersects(flags)
    }
}

/// Notes what an event means.
fn take(watched: &HashMap<i32, Watched>, seen: &Seen<'_>, pending: &mut Pending<Key>) -> Replan {
    let now = Instant::now();
    if seen.is(ReadFlags::QUEUE_OVERFLOW) {
        pending.lost(now);
        return Replan::Growing;
    }
    // Of a watch that was removed meanwhile.
    let Some(target) = watched.get(&seen.watch) else { return Replan::No };
    let key = (seen.watch, seen.name.to_owned());
    let path = match target {
        Watched::Folder { .. } if seen.name.is_empty() => {
            // The folder itself was removed, renamed or unmounted.
            pending.touch(now);
            return Replan::Yes;
        }
        Watched::Folder { interest, .. } if !interest.concerns(seen.name) => return Replan::No,
        Watched::Folder { path, .. } => path.join(seen.name),
        Watched::File(path) => path.clone(),
    };
    if seen.is(ReadFlags::MOVED_TO) {
        pending.arrived(&key, now);
        Replan::Yes
    } else if seen.is(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        pending.removed(key, now);
        Replan::Yes
    } else if seen.is(ReadFlags::CREATE) {
        note_created(key, &path, pending)
    } else if seen.is(ReadFlags::MODIFY) {
        pending.modified(key, now);
        Replan::No
    } else if seen.is(ReadFlags::CLOSE_WRITE) {
        pending.arrived(&key, now);
        Replan::No
    } else if seen.is(ReadFlags::ATTRIB) {
        pending.touch(now);
        Replan::No
    } else {
        Replan::No
    }
}

fn note_created(key: Key, path: &Path, pending: &mut Pending<Key>) -> Replan {
    let now = Instant::now();
    match fs::symlink_metadata(path) {
        // Nobody has a symlink open, and what has a second name was not made just now.
        Ok(meta) if meta.is_file() && meta.nlink() == 1 => {
            pending.created(key, now);
            Replan::Yes
        }
        Ok(meta) if meta.is_dir() => {
            pending.arrived(&key, now);
            Replan::Growing
        }
        // Gone again: the event of that follows.
        Err(_) => Replan::Yes,
        Ok(_) => {
            pending.arrived(&key, now);
            Replan::Yes
        }
    }
}
