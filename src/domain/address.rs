//! Owns the message for a text that is no address (URL), in plain words.

/// Why a text is no address, from the words of the standard by which it was read: those are the only
/// place where it says so.
pub fn fault(said: &str) -> &str {
    match said {
        "relative URL without a base" | "relative URL with a cannot-be-a-base base" => {
            "it does not begin with a scheme and two slashes"
        }
        "empty host" => "it names no host",
        "invalid port number" => "its port is no number from 1 to 65535",
        "invalid IPv4 address" | "invalid IPv6 address" => "its host is no IP address",
        "invalid international domain name" | "invalid domain character" => {
            "its host is not written as the name of one"
        }
        other => other,
    }
}
