//! The machine: cores, descriptor limit, and what the kernel accounts to a process.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// The cores that the two sides run on.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The load, and what answers behind the measured process.
    pub load: usize,
    /// The measured process.
    pub proxy: usize,
    /// Cores that this process may use.
    pub usable: usize,
}

impl Cores {
    /// The first and the last core that this process may use: the same when there is one only.
    pub fn choose() -> Self {
        let allowed = sched_getaffinity(None).expect("reading one's own affinity needs no privilege");
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        let (first, last) = (usable.first().copied().unwrap_or(0), usable.last().copied().unwrap_or(0));
        Self { load: first, proxy: last, usable: usable.len() }
    }

    /// Moves this thread, and those that it starts from now on, to the core of the load.
    pub fn pin_to_load(&self) {
        pin(None, self.load);
    }

    /// Runs `start` on the proxy's core, so that the process that it starts is born there.
    pub fn on_proxy_core<T>(&self, start: impl FnOnce() -> T) -> T {
        pin(None, self.proxy);
        let started = start();
        self.pin_to_load();
        started
    }
}

/// Pins a thread (or the calling one) to one core. A thread that ended meanwhile needs no pin.
fn pin(thread: Option<Pid>, core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _gone = sched_setaffinity(thread, &set);
}

/// Raises the descriptor limit as far as it goes and returns it. Children inherit it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, wanted).is_ok() { wanted } else { limit };
    reached.current.unwrap_or(1 << 20)
}

/// The process and its children: nginx works in a child of the process that was started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    for (_, task) in tasks(pid) {
        let children = fs::read_to_string(format!("{task}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            family.extend(self::family(child));
        }
    }
    family
}

/// The threads of a process, with their folders in `/proc`.
fn tasks(pid: u32) -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.map(|id: u32| (id, format!("/proc/{pid}/task/{id}"))).collect()
}

/// Moves every thread of these processes to one core.
pub fn pin_all(processes: &[u32], core: usize) {
    for (thread, _) in processes.iter().flat_map(|pid| tasks(*pid)) {
        pin(i32::try_from(thread).ok().and_then(Pid::from_raw), core);
    }
}

/// Processor time of all threads of these processes, user and system, in the scheduler's nanoseconds.
pub fn cpu_time(processes: &[u32]) -> io::Result<Duration> {
    let mut nanos = 0;
    for (_, task) in processes.iter().flat_map(|pid| tasks(*pid)) {
        let text = fs::read_to_string(format!("{task}/schedstat"))?;
        let first = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
        nanos += first.ok_or_else(|| io::Error::other("the kernel keeps no scheduler statistics"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory of these processes together.
pub fn resident_octets(processes: &[u32]) -> io::Result<u64> {
    let mut kib = 0;
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        kib += line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(kib * 1024)
}

/// Processor model and kernel, as the kernel names them.
pub fn description() -> (String, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    (model.unwrap_or("unknown processor").to_owned(), kernel.trim().to_owned())
}
