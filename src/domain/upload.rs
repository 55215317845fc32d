//! What became of an uploaded file.

use super::string_enum::string_enum;

string_enum! {
    /// What became of an uploaded file.
    UploadOutcome ("upload outcome") {
        /// There was none of that name.
        New = "new",
        /// It has replaced another one.
        Replaced = "replaced",
        /// It was there already, byte for byte.
        Unchanged = "unchanged",
    }
}
