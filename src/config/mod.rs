//! From TOML text to a [`Catalog`], with every error at once and reports that say what to write instead.
//!
//! `provider` reads files and hands their text to [`load`]; `teal check` and logs show what it found.
//! Nothing here opens a file, and a [`Catalog`] that comes out is valid: nobody above checks again.
//!
//! Text is parsed to a spanned tree (`syntax`), read table by table into drafts that keep their places
//! (`settings`, `service`, `color`, `app`, with `walk` as the cursor), looked at as a whole (`rules`) and
//! lowered. No step stops at an error.

mod address;
mod app;
mod cache;
mod color;
mod diagnostic;
mod draft;
mod forward;
mod health;
mod keys;
mod limits;
mod locate;
mod lower;
mod outlier;
mod policy;
mod records;
pub mod release;
mod report;
mod rules;
mod scalar;
mod service;
mod settings;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod walk;

pub use diagnostic::{Diagnostic, Label, Severity};
pub use locate::weights_of;
pub use policy::default_policy;
pub use report::{ReportStyle, render};
pub use settings::default_settings;
pub use source::{Place, Position, SourceFile, Sources};

use diagnostic::{Findings, quote};
use draft::{Draft, SettingsDraft};
use policy::PolicyDraft;
use syntax::Tree;
use walk::Table;

use crate::model::Catalog;

/// Sections that files of `conf.d` may have.
const SHARED_SECTIONS: [&str; 2] = ["apps", "services"];

/// A configuration that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub catalog: Catalog,
    /// What it probably does not mean to say, in the order of the files.
    pub warnings: Vec<Diagnostic>,
}

/// A configuration that has errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} finding(s)", diagnostics.len())]
pub struct Rejected {
    /// Every error and every warning, in the order of the files; at least one error.
    pub diagnostics: Vec<Diagnostic>,
}

/// The pure front door: text in, catalog out.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(sources: &Sources) -> Result<Loaded, Rejected> {
    let mut findings = Findings::default();
    let files = sources.files.iter().enumerate();
    let trees: Vec<_> =
        files.map(|(file, source)| syntax::parse(file, &source.text, &mut findings)).collect();
    let draft = read(&trees, sources, &mut findings);
    if trees.iter().all(Tree::is_whole) {
        rules::check(&draft, &mut findings);
    } else {
        syntax::forget_doubtful(&trees, sources, &mut findings);
    }
    if findings.has_errors() {
        return Err(Rejected { diagnostics: findings.into_sorted() });
    }
    Ok(Loaded { catalog: lower::catalog(draft, sources.hash()), warnings: findings.into_sorted() })
}

fn read(trees: &[Tree<'_>], sources: &Sources, findings: &mut Findings) -> Draft {
    let mut draft = Draft {
        settings: SettingsDraft::new(default_settings()),
        defaults: PolicyDraft::default(),
        services: Vec::new(),
        apps: Vec::new(),
    };
    for tree in trees {
        let root = Table::root(tree.file, tree.root.get_ref());
        if tree.file == 0 {
            root.check_keys(&keys::ROOT, findings);
            draft.settings = settings::read(&root, findings);
            draft.defaults = read_defaults(&root, findings);
        } else {
            refuse_main_sections(&root, sources, findings);
        }
        draft.services.extend(service::read_all(&root, findings));
        draft.apps.extend(app::read_all(&root, findings));
    }
    draft
}

fn read_defaults(root: &Table<'_>, findings: &mut Findings) -> PolicyDraft {
    let Some(table) = root.table(&keys::ROOT, "defaults", findings) else { return PolicyDraft::default() };
    table.check_keys(&keys::DEFAULTS, findings);
    policy::read(&table, &keys::DEFAULTS, findings)
}

/// Files of `conf.d` have services and apps only; the rest is said once, in the main file.
fn refuse_main_sections(root: &Table<'_>, sources: &Sources, findings: &mut Findings) {
    for (key, _) in root.entries("") {
        if SHARED_SECTIONS.contains(&key.value) {
            continue;
        }
        let label = match keys::ROOT.nearest(key.value) {
            Some(meant) if SHARED_SECTIONS.contains(&meant) => format!("did you mean `{meant}`?"),
            _ => String::from("not allowed in this file"),
        };
        let title = format!("{} is not allowed in a file of `conf.d`", quote(key.value));
        findings.push(Diagnostic::error(title, key.place, label).help(format!(
            "Files of `conf.d` have `[services]` and `[apps]` only; other sections belong in {}.",
            sources.shown_path(0)
        )));
    }
}
