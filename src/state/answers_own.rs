//! The records of `[dns.records]` in the name table.

use super::answers::{OwnRecords, Records, suffixes};
use super::answers_build::{Builder, Cut};
use super::records::{text_data, wire_name};
use crate::model::RecordData;

impl Builder<'_> {
    /// Records of the operator's own. The configuration has none at names of services.
    pub(super) fn insert_records(&mut self) {
        for (name, data) in &self.settings.dns.records {
            let name = wire_name(name.as_str());
            let zone = suffixes(&name).skip(1).find_map(|suffix| self.cut_at(suffix));
            let Some(Cut::Zone(zone)) = zone else { continue };
            self.note_deep(&name);
            match data {
                RecordData::Alias(target) => {
                    self.insert(zone, &name, Records::Alias(&wire_name(target.as_str())));
                }
                RecordData::Records { v4, v6, texts } => {
                    let texts = texts.iter().map(|text| text_data(text)).collect();
                    let own = OwnRecords { v4: v4.clone(), v6: v6.clone(), texts };
                    self.insert(zone, &name, Records::Own(&own));
                }
            }
        }
    }
}
