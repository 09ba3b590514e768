//! Filters of `$all`, evaluated by the store.

use crate::RecordedEvent;
use std::sync::Arc;

/// Which events of `$all` to let through: one question, as KurrentDB's filters ask.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// What is looked at.
    pub by: FilterBy,
    /// What it must match.
    pub matcher: Matcher,
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilterBy {
    /// The stream's name.
    StreamName,
    /// The event's type.
    EventType,
}

/// What a filter asks of a name.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// It starts with one of these (at least one).
    Prefixes(Vec<String>),
    /// It matches this expression (.NET's syntax, look-around included).
    Regex(Arc<fancy_regex::Regex>),
}

impl EventFilter {
    /// Streams whose name starts with one of these.
    pub fn stream_prefix<S: Into<String>>(prefixes: impl IntoIterator<Item = S>) -> Self {
        Self::prefixes(FilterBy::StreamName, prefixes)
    }

    /// Events whose type starts with one of these.
    pub fn event_type_prefix<S: Into<String>>(prefixes: impl IntoIterator<Item = S>) -> Self {
        Self::prefixes(FilterBy::EventType, prefixes)
    }

    fn prefixes<S: Into<String>>(by: FilterBy, prefixes: impl IntoIterator<Item = S>) -> Self {
        Self { by, matcher: Matcher::Prefixes(prefixes.into_iter().map(Into::into).collect()) }
    }

    /// Names or types that match an expression. The work for one name is bounded.
    ///
    /// # Errors
    /// [`crate::Error::InvalidArgument`] if the expression is none.
    pub fn regex(by: FilterBy, expression: &str) -> crate::Result<Self> {
        let regex = fancy_regex::RegexBuilder::new(expression)
            .backtrack_limit(10_000)
            .delegate_size_limit(1 << 20)
            .build()
            .map_err(|e| crate::Error::InvalidArgument(format!("not a regular expression: {e}")))?;
        Ok(Self { by, matcher: Matcher::Regex(Arc::new(regex)) })
    }

    /// Whether an event passes. An expression that gives up on a name (it backtracks too much) does not match it.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        let text = match self.by {
            FilterBy::StreamName => event.stream.as_str(),
            FilterBy::EventType => event.event_type.as_str(),
        };
        match &self.matcher {
            Matcher::Prefixes(prefixes) => prefixes.iter().any(|p| text.starts_with(p.as_str())),
            Matcher::Regex(regex) => regex.is_match(text).unwrap_or(false),
        }
    }
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        self.by == other.by
            && match (&self.matcher, &other.matcher) {
                (Matcher::Prefixes(a), Matcher::Prefixes(b)) => a == b,
                (Matcher::Regex(a), Matcher::Regex(b)) => a.as_str() == b.as_str(),
                _ => false,
            }
    }
}
