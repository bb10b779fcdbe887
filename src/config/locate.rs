//! Where a service's weights are written, for who wants to change them in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Place, Sources};

/// The file that holds the weights of `service`, and the line of each color's weight, from 1. `None` when they
/// are not all found in one file.
pub fn weights_of(sources: &Sources, service: &str) -> Option<(PathBuf, BTreeMap<String, usize>)> {
    sources.files.iter().enumerate().find_map(|(file, source)| {
        let (root, _) = DeTable::parse_recoverable(&source.text);
        let service = table(child(table(child(root.get_ref(), "services")?)?, service)?)?;
        let colors = table(child(service, "colors")?)?.iter().map(|(name, color)| {
            let span = child(table(color)?, "weight")?.span();
            let place = Place { file, start: span.start, end: span.end };
            Some((name.get_ref().to_ascii_lowercase(), sources.position(place).line))
        });
        Some((source.path.clone(), colors.collect::<Option<_>>()?))
    })
}

/// Names are the same in any case.
fn child<'a, 't>(table: &'a DeTable<'t>, name: &str) -> Option<&'a Spanned<DeValue<'t>>> {
    table.iter().find(|(key, _)| key.get_ref().eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn table<'a, 't>(value: &'a Spanned<DeValue<'t>>) -> Option<&'a DeTable<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_in_the_file_that_has_them_however_they_are_written() {
        let mut sources = Sources::single("teal.toml", "[services.b.colors.blue]\nweight = 1\n");
        let text = "[services.A]\ncolors.blue = { weight = 1 }\n[services.A.colors.green]\n\nweight = 0\n";
        sources.files.extend(Sources::single("conf.d/a.toml", text).files);
        let (path, lines) = weights_of(&sources, "a").unwrap();
        assert_eq!(path, PathBuf::from("conf.d/a.toml"));
        assert_eq!(lines, BTreeMap::from([("blue".to_owned(), 2), ("green".to_owned(), 5)]));
        assert_eq!(weights_of(&sources, "c"), None);
    }
}
