//! The servers of the host's resolv.conf, for `upstreams = ["system"]`, followed as it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::dns::Forwarder;
use crate::dns::forward::system;
use crate::provider::watch::Watcher;

/// Where the servers are written.
#[derive(Debug, Clone)]
pub struct SystemFiles {
    /// What programs of this host read.
    pub main: PathBuf,
    /// What systemd-resolved asks itself, while it tells programs to ask it.
    pub uplink: PathBuf,
}

impl Default for SystemFiles {
    fn default() -> Self {
        Self {
            main: PathBuf::from("/etc/resolv.conf"),
            uplink: PathBuf::from("/run/systemd/resolve/resolv.conf"),
        }
    }
}

/// Tells the forwarder what the files say.
pub struct SystemServers {
    files: SystemFiles,
    watchers: [Watcher; 2],
    forwarder: Arc<Forwarder>,
}

impl SystemServers {
    /// Begins to watch, and tells what the files say now. Files that are not there name no server.
    pub fn start(files: SystemFiles, forwarder: Arc<Forwarder>) -> Self {
        let watchers = [&files.main, &files.uplink].map(|file| Watcher::new(file, Duration::ZERO));
        let this = Self { files, watchers, forwarder };
        tell(&this.files, &this.forwarder);
        this
    }

    /// Tells about changes until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let Self { files, watchers: [main, uplink], forwarder } = self;
        let changed = Notify::new();
        let telling = async {
            loop {
                changed.notified().await;
                tell(&files, &forwarder);
            }
        };
        tokio::select! {
            () = main.run(|| changed.notify_one(), stop.clone()) => {}
            () = uplink.run(|| changed.notify_one(), stop) => {}
            () = telling => {}
        }
    }
}

fn tell(files: &SystemFiles, forwarder: &Forwarder) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let index_of = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    forwarder.set_system(system::servers(&read(&files.main), &read(&files.uplink), index_of));
}
