//! Owns what is said of a header of several rows that nobody has told of, and of lines above a header; and where the rows of
//! such a header may begin.

/// The most rows of a header that is found.
pub(super) const MOST: u32 = 3;

/// At so many places a header of several rows is looked for that no name in a single line tells of.
pub(super) const MOST_TRIED: usize = 8;

/// What is said of a header of so many rows, by which so many columns more are found.
pub(super) fn note(rows: u32, more: usize) -> String {
    let columns = match more {
        1 => "one more mapped column is".to_owned(),
        more => format!("{more} more mapped columns are"),
    };
    format!(
        "the header is read as {rows} rows, since {columns} found that way: csv.header_rows = {rows} says so; \
         csv.header = true takes one row for the header"
    )
}

/// What is said of lines that stand above a header, behind those that are known.
pub(super) fn lines_above(known: u32, lines: u32) -> String {
    let skipped = known + lines;
    let (above, belong) =
        if lines == 1 { ("the line above", "belongs") } else { ("the lines above", "belong") };
    format!(
        "{above} the header with the mapped columns, in line {}, {belong} to no row: csv.skip_lines = {skipped} says so; \
         csv.header = true takes the first row for the header",
        skipped + 1
    )
}

/// What is said of headers in front of the first row, so many of them, below the header if there is one.
pub(super) fn again(headers: usize, is_below: bool) -> Option<String> {
    Some(match (headers, is_below) {
        (0, _) => return None,
        (1, false) => "the first row repeats the columns' names, and is no record".to_owned(),
        (1, true) => "the row below the header repeats it, and is no record".to_owned(),
        (_, false) => {
            format!("the first {headers} rows repeat the columns' names, and are no records")
        }
        (_, true) => format!("the {headers} rows below the header repeat it, and are no records"),
    })
}

/// Where the lines begin that may be the rows of a header above its last one, the last of them first.
pub(super) fn starts_of_lines(text: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut end = text.len();
    while end > 0 && starts.len() + 1 < MOST as usize {
        let line = &text[..end];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        end = memchr::memrchr2(b'\n', b'\r', line).map_or(0, |at| at + 1);
        starts.push(end);
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_from_behind_whatever_ends_them() {
        assert_eq!(starts_of_lines(b"a\nb\r\nc\r"), [5, 2]);
        assert_eq!(starts_of_lines(b"a\n"), [0]);
        assert_eq!(starts_of_lines(b""), [0; 0]);
    }
}
