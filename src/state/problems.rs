//! What is wrong right now and needs the operator: shown by status, until it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A shared list of problems, one a subject. Setting the same again is not logged again.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    list: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Problems {
    fn list(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a problem with `subject`; logged when it is new or different.
    pub fn set(&self, subject: &str, message: String) {
        let mut list = self.list();
        if list.get(subject) != Some(&message) {
            tracing::error!(subject, "{message}");
            list.insert(subject.to_owned(), message);
        }
    }

    /// The problem with `subject`, if there was one, is over.
    pub fn clear(&self, subject: &str) {
        if self.list().remove(subject).is_some() {
            tracing::info!(subject, "problem is over");
        }
    }

    /// Clears every problem whose subject begins with `prefix` and is not in `keep`.
    pub fn clear_others(&self, prefix: &str, keep: &[String]) {
        let gone: Vec<String> = {
            let list = self.list();
            list.keys()
                .filter(|subject| subject.starts_with(prefix) && !keep.contains(subject))
                .cloned()
                .collect()
        };
        for subject in gone {
            self.clear(&subject);
        }
    }

    /// All of them, by subject.
    pub fn all(&self) -> Vec<(String, String)> {
        self.list().iter().map(|(subject, message)| (subject.clone(), message.clone())).collect()
    }
}
