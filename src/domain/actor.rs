//! Owns who asked for something that is kept on record: a token, an address, a user of this machine.

use std::fmt;
use std::net::IpAddr;

use super::token::TokenId;

/// Who asked, as it is recorded and shown. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// The holder of a token of the API, by its public id and its name.
    pub fn token(id: &TokenId, name: Option<&str>) -> Self {
        match name {
            Some(name) => Self(format!("token:{id} ({name})")),
            None => Self(format!("token:{id}")),
        }
    }

    /// A client without a token.
    pub fn address(address: Option<IpAddr>) -> Self {
        match address {
            Some(address) => Self(format!("address:{}", address.to_canonical())),
            None => Self("address:unknown".to_owned()),
        }
    }

    /// A user of the command line.
    pub fn command_line(user: &str) -> Self {
        Self(format!("cli:{user}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
