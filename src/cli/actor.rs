//! Owns who runs the command, for the records of what was done.

use crate::domain::actor::Actor;

/// The user that this process belongs to.
pub(super) fn actor() -> Actor {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map_or_else(|| nix::unistd::getuid().to_string(), |user| user.name);
    Actor::command_line(&user)
}
