//! What this process shows to itself: by it the checks of its own listeners are told from strangers' requests.

use super::random;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};

/// A secret that this process made up, and tells nobody but itself. Cloning shares it.
///
/// It opens no door that is not open to everybody: whoever shows it is only not held to what strangers' share of something
/// is, so that strangers do not decide whether the service finds itself well.
#[derive(Debug, Clone)]
pub struct OwnPass(SecretString);

impl OwnPass {
    /// The header that it is shown in.
    pub const HEADER: &'static str = "x-penguin-pool-check";

    /// A new one.
    ///
    /// # Errors
    /// A sentence if the system gives no random numbers.
    pub fn new() -> Result<Self, String> {
        random::password().map(|secret| Self(secret.into()))
    }

    /// The header's value.
    #[must_use]
    pub fn show(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether this is the header's value.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        verify_slices_are_equal(shown, self.show().as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_again_and_nothing_else_is() {
        let pass = OwnPass::new().unwrap();
        assert!(pass.is(pass.show().as_bytes()));
        assert!(!pass.is(OwnPass::new().unwrap().show().as_bytes()));
        assert!(!pass.is(b""));
        assert!(!format!("{pass:?}").contains(pass.show()));
    }
}
