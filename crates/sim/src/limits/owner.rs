//! Whose a credential is: what comes before its first `+`. So one account may have any number of them.
//! Must never show a credential: an owner is named by a number.

use crate::hash::Digest;

/// Returns the account that a credential belongs to.
pub(crate) fn owner(credential: &str) -> &str {
    credential.split_once('+').map_or(credential, |(owner, _)| owner)
}

/// Makes the number of an account, as a provider would give one to its owner.
pub(crate) fn number(owner: &str) -> u64 {
    // Like the providers' own: of some digits, and never zero.
    1_000_000 + Digest::new(37).bytes(owner.as_bytes()).short() % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::{number, owner};

    #[test]
    fn credentials_of_one_account_have_one_owner() {
        assert_eq!(
            (owner("ada"), owner("ada+laptop"), owner("ada+laptop+2"), owner("")),
            ("ada", "ada", "ada", "")
        );
        assert_ne!(number("ada"), number("ben"));
    }
}
