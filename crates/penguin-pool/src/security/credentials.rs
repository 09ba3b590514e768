//! What a call says of its caller, before anybody believed it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::SecretString;

/// The longest login name, password, token or key that is looked at, in bytes. Longer ones are nobody's.
const LONGEST: usize = 16 << 10;

/// Credentials as they came. Their secrets are never printed.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// None at all.
    #[default]
    None,
    /// A login name and a password.
    Basic {
        /// The login name.
        login: String,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Bearer(SecretString),
    /// An API key.
    ApiKey(SecretString),
    /// Something that is none of these, or more than one of them.
    Unreadable,
}

impl Credentials {
    /// From the values of the headers `authorization` and `x-api-key`.
    #[must_use]
    pub fn from_headers<'a>(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let key = |value: &[u8]| secret(std::str::from_utf8(value).ok()?.trim()).map(Self::ApiKey);
        let said = authorization.into_iter().map(Self::from_authorization);
        let mut said = said.chain(api_key.into_iter().map(|value| key(value).unwrap_or(Self::Unreadable)));
        match (said.next(), said.next()) {
            (None, _) => Self::None,
            (Some(one), None) => one,
            // Which of two is meant is not for a guess.
            _ => Self::Unreadable,
        }
    }

    fn from_authorization(value: &[u8]) -> Self {
        Self::parse(value).unwrap_or(Self::Unreadable)
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = secrecy::zeroize::Zeroizing::new(STANDARD.decode(rest).ok()?);
            let (login, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
            return Self::basic(login, password);
        }
        match secret(rest)? {
            token if scheme.eq_ignore_ascii_case("bearer") => Some(Self::Bearer(token)),
            key if scheme.eq_ignore_ascii_case("apikey") => Some(Self::ApiKey(key)),
            _ => None,
        }
    }

    /// A login name and a password; nothing if either is longer than any that there is.
    #[must_use]
    pub fn basic(login: &str, password: &str) -> Option<Self> {
        let short = login.len() <= LONGEST && password.len() <= LONGEST;
        short.then(|| Self::Basic { login: login.to_owned(), password: password.into() })
    }

    /// A token or an API key: whichever it looks like.
    #[must_use]
    pub fn token(text: &str) -> Self {
        match secret(text.trim()) {
            Some(key) if text.trim().starts_with(super::api_key::PREFIX) => Self::ApiKey(key),
            Some(token) => Self::Bearer(token),
            None => Self::Unreadable,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn are_missing(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// A token is one word.
fn secret(text: &str) -> Option<SecretString> {
    let word = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic());
    word.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn read(authorization: &[&[u8]], api_key: &[&[u8]]) -> Credentials {
        Credentials::from_headers(authorization.iter().copied(), api_key.iter().copied())
    }

    #[test]
    fn every_scheme_is_read_and_nothing_is_guessed() {
        assert!(read(&[], &[]).are_missing());
        match read(&[b"basic YWRtaW46Y2hhbmdlOml0"], &[]) {
            Credentials::Basic { login, password } => {
                assert_eq!((&*login, password.expose_secret()), ("admin", "change:it"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(read(&[b"Bearer a.b.c"], &[]), Credentials::Bearer(_)));
        assert!(matches!(read(&[b"ApiKey pp_1_2"], &[]), Credentials::ApiKey(_)));
        assert!(matches!(read(&[], &[b"pp_1_2"]), Credentials::ApiKey(_)));
        for bad in
            [&b"Basic ???"[..], b"Digest x", b"Basic", b"\xff\xff", b"Basic YQ==", b"Bearer a b", b"Bearer "]
        {
            assert!(matches!(read(&[bad], &[]), Credentials::Unreadable), "{bad:?}");
        }
        assert!(matches!(read(&[b"Bearer a", b"Bearer a"], &[]), Credentials::Unreadable));
        assert!(matches!(read(&[b"Bearer a"], &[b"pp_1_2"]), Credentials::Unreadable));
        let long = [b"Bearer ".to_vec(), vec![b'a'; LONGEST + 1]].concat();
        assert!(matches!(read(&[&long], &[]), Credentials::Unreadable));
    }

    #[test]
    fn secrets_are_not_printed() {
        for credentials in [
            Credentials::basic("bob", "hunter2").unwrap(),
            Credentials::token("hunter2"),
            Credentials::token("pp_hunter2"),
        ] {
            assert!(!format!("{credentials:?}").contains("hunter2"));
        }
    }
}
