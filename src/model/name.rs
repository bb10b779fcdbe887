//! Names: DNS labels for services, colors, ports and apps, and the zone they live in.
//!
//! All are kept in lower case, since DNS compares without case (RFC 4343).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Octets in one DNS label at most (RFC 1035 §2.3.4).
const LABEL_OCTETS_MAX: usize = 63;
/// Octets in a port's name at most (RFC 6335 §5.1).
const PORT_NAME_OCTETS_MAX: usize = 15;
/// Octets in a zone at most: leaves room for `_port._tcp.color.service.` inside the 253 that a
/// name in text form may have (RFC 1035 §2.3.4).
const ZONE_OCTETS_MAX: usize = 80;

/// Octets in a name in text form at most (RFC 1035 §2.3.4).
const NAME_OCTETS_MAX: usize = 253;

/// Service names that DNS gives another meaning.
pub const RESERVED_SERVICE_NAMES: [&str; 2] = ["ns", "localhost"];

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("is {octets} characters long, at most {octets_max} are allowed")]
    TooLong {
        /// What was given.
        octets: usize,
        /// The bound.
        octets_max: usize,
    },
    /// A character that is no letter, digit or hyphen.
    #[error("contains {0:?}: only letters, digits and hyphens are allowed")]
    Character(char),
    /// A dot in what must be one label.
    #[error("contains a dot: it must be a single DNS label")]
    Dot,
    /// A hyphen at one of the ends.
    #[error("begins or ends with a hyphen")]
    Hyphen,
    /// A name that teal or DNS uses itself.
    #[error("is reserved")]
    Reserved,
    /// A port's name without a letter (RFC 6335 §5.1).
    #[error("has no letter: the name of a port needs at least one")]
    NoLetter,
}

/// Checks one DNS label of letters, digits and hyphens (RFC 1123 §2.1) and returns it in lower case.
fn parse_label(text: &str, octets_max: usize) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        return Err(if odd == '.' { NameError::Dot } else { NameError::Character(odd) });
    }
    if text.len() > octets_max {
        return Err(NameError::TooLong { octets: text.len(), octets_max });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Checks a name of several labels, which may have underscores, and returns it in lower case.
fn parse_whole_name(text: &str) -> Result<Arc<str>, NameError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.len() > NAME_OCTETS_MAX {
        return Err(NameError::TooLong { octets: text.len(), octets_max: NAME_OCTETS_MAX });
    }
    for label in text.split('.') {
        parse_label(&label.replace('_', "x"), LABEL_OCTETS_MAX)?;
    }
    Ok(text.to_ascii_lowercase().into())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses a name; the result is in lower case.
            ///
            /// # Errors
            /// Says what keeps the text from being such a name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Result<Arc<str>, NameError> = $check;
                check(text).map(Self)
            }

            /// The name in lower case.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(|error| serde::de::Error::custom(format!("{text:?} {error}")))
            }
        }
    };
}

name!(
    /// The name of a service: one DNS label that is not reserved.
    ServiceName,
    |text| {
        let label = parse_label(text, LABEL_OCTETS_MAX)?;
        if RESERVED_SERVICE_NAMES.contains(&&*label) { Err(NameError::Reserved) } else { Ok(label) }
    }
);
name!(
    /// The name of a color: one DNS label.
    ColorName,
    |text| parse_label(text, LABEL_OCTETS_MAX)
);
name!(
    /// The name of an app: one DNS label.
    AppName,
    |text| parse_label(text, LABEL_OCTETS_MAX)
);
name!(
    /// The name of a port, as it appears in SRV (RFC 2782): a service name of RFC 6335 §5.1.
    PortName,
    |text| {
        let label = parse_label(text, PORT_NAME_OCTETS_MAX)?;
        if label.bytes().any(|b| b.is_ascii_alphabetic()) { Ok(label) } else { Err(NameError::NoLetter) }
    }
);
name!(
    /// A DNS suffix that teal owns, without the trailing dot: `local`, `svc.internal`.
    Zone,
    |text| {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > ZONE_OCTETS_MAX {
            return Err(NameError::TooLong { octets: text.len(), octets_max: ZONE_OCTETS_MAX });
        }
        for label in text.split('.') {
            parse_label(label, LABEL_OCTETS_MAX)?;
        }
        Ok(text.to_ascii_lowercase().into())
    }
);

name!(
    /// A DNS suffix that others own, without the trailing dot. Labels may have underscores, as those of
    /// directory services do (`_msdcs.corp.example`).
    Domain,
    parse_whole_name
);
name!(
    /// The whole name of a record, without the trailing dot: `printer.local`. Labels may have underscores
    /// (RFC 8552).
    RecordName,
    parse_whole_name
);
impl Domain {
    /// What of this domain lies below `zone`, without a trailing dot: nothing for the zone itself, absent
    /// for a domain that lies elsewhere.
    pub fn below(&self, zone: &Zone) -> Option<&str> {
        let rest = self.0.strip_suffix(&*zone.0)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
    }
}

impl RecordName {
    /// Aliases that may follow each other until a name that is none.
    pub const ALIASES_MAX: usize = 8;

    /// Whether it is `domain` or lies below it.
    pub fn is_in(&self, domain: &Domain) -> bool {
        self.0.strip_suffix(&*domain.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether it lies in `zone` and is not its apex.
    pub fn is_below(&self, zone: &Zone) -> bool {
        self.0.strip_suffix(&*zone.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl Zone {
    /// Whether `other` is this zone or lies below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.strip_suffix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_lower_case() {
        assert_eq!(ServiceName::parse("ServiceA").unwrap().as_str(), "servicea");
        assert_eq!(Zone::parse("Svc.Internal.").unwrap().as_str(), "svc.internal");
    }

    #[test]
    fn what_is_no_label_is_refused_with_its_reason() {
        assert_eq!(ServiceName::parse(""), Err(NameError::Empty));
        assert_eq!(ServiceName::parse("a.b"), Err(NameError::Dot));
        assert_eq!(ServiceName::parse("a_b"), Err(NameError::Character('_')));
        assert_eq!(ServiceName::parse("-a"), Err(NameError::Hyphen));
        assert_eq!(ServiceName::parse("NS"), Err(NameError::Reserved));
        assert_eq!(
            ServiceName::parse(&"a".repeat(64)),
            Err(NameError::TooLong { octets: 64, octets_max: 63 })
        );
        assert_eq!(PortName::parse("80"), Err(NameError::NoLetter));
        assert!(ServiceName::parse(&"a".repeat(63)).is_ok());
    }

    #[test]
    fn a_domain_may_have_underscores_and_knows_what_of_it_lies_below_a_zone() {
        let domain = |text| Domain::parse(text).unwrap();
        assert_eq!(domain("_msdcs.Corp_1.example.").as_str(), "_msdcs.corp_1.example");
        assert_eq!(Domain::parse("corp..example"), Err(NameError::Empty));
        assert_eq!(Domain::parse("co rp"), Err(NameError::Character(' ')));
        let zone = Zone::parse("local").unwrap();
        assert_eq!(domain("dc.corp.local").below(&zone), Some("dc.corp"));
        assert_eq!(domain("local").below(&zone), Some(""));
        assert_eq!(domain("notlocal").below(&zone), None);
    }

    #[test]
    fn a_record_has_its_whole_name() {
        let name = |text| RecordName::parse(text).unwrap();
        assert_eq!(name("_Dmarc.Mail.local.").as_str(), "_dmarc.mail.local");
        assert!(name("a.b.local").is_below(&Zone::parse("local").unwrap()));
        assert!(!name("local").is_below(&Zone::parse("local").unwrap()));
        assert!(!name("a.notlocal").is_below(&Zone::parse("local").unwrap()));
        assert_eq!(RecordName::parse("*.local"), Err(NameError::Character('*')));
        assert_eq!(RecordName::parse("a..local"), Err(NameError::Empty));
        assert_eq!(RecordName::parse(""), Err(NameError::Empty));
    }

    #[test]
    fn a_zone_contains_itself_and_what_lies_below() {
        let zone = |text| Zone::parse(text).unwrap();
        assert!(zone("local").contains(&zone("local")));
        assert!(zone("local").contains(&zone("corp.local")));
        assert!(!zone("local").contains(&zone("notlocal")));
    }
}
