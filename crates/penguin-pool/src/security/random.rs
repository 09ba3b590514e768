//! Secrets: random numbers that nobody can foretell, from the system.

use aws_lc_rs::rand;

/// What people can tell apart and type: 32 characters, five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Random bytes.
///
/// # Errors
/// A sentence if the system gives none.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(bytes)
}

/// A password of 120 random bits, in groups that can be read out.
///
/// # Errors
/// A sentence if the system gives no random numbers.
pub fn password() -> Result<String, String> {
    let letters = bytes::<24>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let groups: Vec<String> = letters.chunks(6).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_never_the_same() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 27, "{one}");
        assert_ne!(one, other);
    }
}
