//! Owns how a row is shown as it came, and where it stood.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::api::resources::lineage::Origin;

/// A row as a page shows it.
pub(crate) struct RawShown {
    /// What it was in: the address of a page, or a file.
    pub(crate) place: Option<String>,
    /// Where in it: a JSON pointer, or a line and bytes.
    pub(crate) at: Vec<String>,
    /// The row, as text.
    pub(crate) text: Option<String>,
    /// What there is to say of it.
    pub(crate) note: Option<String>,
    /// What cannot be told any more.
    pub(crate) lacks: Vec<String>,
}

impl RawShown {
    pub(crate) fn of(origin: &Origin) -> Self {
        let mut at = vec![format!("row {} of {}", origin.raw_row, origin.raw_ref)];
        let mut place = None;
        if let Some(page) = &origin.page {
            place = Some(page.url.clone());
            at.extend(page.pointer.as_ref().map(|pointer| match pointer.as_str() {
                "" => "the whole body".to_owned(),
                pointer => format!("at {pointer} of the body"),
            }));
        }
        if let Some(file) = &origin.file {
            place = Some(match &file.member {
                Some(member) => format!("{member} in {}", file.url),
                None => file.url.clone(),
            });
            at.extend(file.line.map(|line| format!("line {line}")));
            let bytes = file.byte_start.zip(file.byte_end);
            at.extend(bytes.map(|(start, end)| format!("bytes {start} to {end}")));
        }
        let (text, is_binary) = match (&origin.raw_text, &origin.raw_base64) {
            (Some(text), _) => (Some(text.clone()), false),
            (None, Some(bytes)) => (Some(STANDARD.encode(&bytes.0)), true),
            (None, None) => (None, false),
        };
        let note = match (is_binary, origin.raw_cut) {
            (false, false) => None,
            (false, true) => Some("Longer than the 16 KiB that are shown."),
            (true, false) => Some("Not UTF-8: shown as base64."),
            (true, true) => {
                Some("Not UTF-8: shown as base64, and longer than the 16 KiB that are shown.")
            }
        };
        Self { place, at, text, note: note.map(str::to_owned), lacks: origin.lacks.clone() }
    }
}
