//! Regular expressions over names. They run in linear time; one that begins with fixed text looks at few names.

use super::{CatalogueError, Result};
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};

/// The largest compiled expression, in bytes: enough for any name, too little to make trouble with.
const SIZE: usize = 1 << 20;

/// An expression, and the text that every name begins with that it matches.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    pub(super) prefix: String,
    /// Every name with that prefix matches: the expression need not be asked.
    pub(super) is_prefix: bool,
}

impl Pattern {
    /// # Errors
    /// [`CatalogueError::Invalid`] if it is none, or too large.
    pub(super) fn new(expression: &str) -> Result<Self> {
        let invalid = |message: String| CatalogueError::invalid("namePattern", message);
        let regex = RegexBuilder::new(expression)
            .size_limit(SIZE)
            .build()
            .map_err(|e| invalid(format!("is not a regular expression that can be used here: {e}")))?;
        let hir = regex_syntax::parse(expression)
            .map_err(|e| invalid(format!("is not a regular expression: {e}")))?;
        let (prefix, is_prefix) = prefix(&hir);
        Ok(Self { regex, prefix, is_prefix })
    }
}

fn prefix(hir: &Hir) -> (String, bool) {
    let parts: &[Hir] = match hir.kind() {
        HirKind::Concat(parts) => parts,
        _ => std::slice::from_ref(hir),
    };
    let Some((HirKind::Look(Look::Start), rest)) =
        parts.split_first().map(|(first, rest)| (first.kind(), rest))
    else {
        return (String::new(), false);
    };
    match rest.split_first() {
        Some((first, rest)) => match first.kind() {
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => (text.to_owned(), rest.is_empty()),
                Err(_) => (String::new(), false),
            },
            _ => (String::new(), false),
        },
        None => (String::new(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchored_beginning_is_a_prefix() {
        let of = |expression: &str| {
            let pattern = Pattern::new(expression).unwrap();
            (pattern.prefix, pattern.is_prefix)
        };
        assert_eq!(of("^user-"), ("user-".to_owned(), true));
        assert_eq!(of("^user-.*x$"), ("user-".to_owned(), false));
        assert_eq!(of(r"^a\.b[0-9]"), ("a.b".to_owned(), false));
        assert_eq!(of("^ab*"), ("a".to_owned(), false));
        assert_eq!(of("^(?:ab|ac)"), (String::new(), false));
        assert_eq!(of("(?i)^user"), (String::new(), false));
        assert_eq!(of("(?m)^user"), (String::new(), false));
        assert_eq!(of("user"), (String::new(), false));
        assert_eq!(of("^"), (String::new(), true));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        assert!(matches!(Pattern::new("("), Err(CatalogueError::Invalid { .. })));
        assert!(matches!(Pattern::new(r"\w{1000}{1000}"), Err(CatalogueError::Invalid { .. })));
    }
}
