//! Tenants: who owns sources, and what the holder of one of their tokens may do. The token itself is never here.

use serde::{Deserialize, Serialize};

use crate::job::words;

/// What the holder of a token may do; each role may do what the ones after it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Manages sources, schedules and tokens.
    Admin,
    /// Starts and stops syncs.
    Operator,
    /// Looks.
    Viewer,
}

words!(Role { Admin => "admin", Operator => "operator", Viewer => "viewer" });

impl Role {
    /// Says whether the holder may do what `needed` may.
    #[must_use]
    pub fn may(self, needed: Self) -> bool {
        let power = |role| match role {
            Self::Admin => 2,
            Self::Operator => 1,
            Self::Viewer => 0,
        };
        power(self) >= power(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{Admin, Operator, Viewer};

    #[test]
    fn a_role_may_do_what_lesser_ones_may() {
        let cases =
            [(Admin, [true, true, true]), (Operator, [false, true, true]), (Viewer, [false, false, true])];
        for (role, may) in cases {
            assert_eq!([Admin, Operator, Viewer].map(|needed| role.may(needed)), may, "{role}");
        }
    }
}
