//! Where an event stands in what a group follows.

use event_store::{Position, ResolvedEvent, Revision};
use std::fmt;

/// A revision in a group's stream, or a position in `$all`. Those of one group are all of one kind, and ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a stream.
    Revision(Revision),
    /// In `$all`.
    Position(Position),
}

impl Place {
    /// Where an event stands: the link, if one led to it. Nothing for an event that is not there at all.
    pub(crate) fn of(event: &ResolvedEvent, in_all: bool) -> Option<Self> {
        let original = event.original()?;
        Some(if in_all { Self::Position(original.position) } else { Self::Revision(original.revision) })
    }

    /// From the text that [`fmt::Display`] gives, which is KurrentDB's. Nothing for what is no place.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(revision) = text.parse() {
            return Some(Self::Revision(revision));
        }
        let (commit, prepare) = text.split_once('/')?;
        let commit: u64 = commit.strip_prefix("C:")?.parse().ok()?;
        let _: u64 = prepare.strip_prefix("P:")?.parse().ok()?;
        Some(Self::Position(Position::from_raw(commit)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(revision) => revision.fmt(f),
            Self::Position(position) => write!(f, "C:{position}/P:{position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back_from_their_text() {
        for place in [Place::Revision(0), Place::Revision(7), Place::Position(Position::from_raw(12))] {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for bad in ["", "-1", "C:-1/P:-1", "C:1", "C:x/P:1", "1/2"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
