//! Owns looking into the bytes of a page for what its header does not say: how long its longest row is, and what its values
//! become when they are unfolded.

/// What repetition levels say of the rows of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Records {
    /// Rows that begin in it.
    pub begun: u64,
    /// Values of the longest one, as far as it is in this page.
    pub longest: u64,
}

/// The rows of a page with so many values, of which these are the levels: runs, or packed groups of eight. `None` when they
/// are none.
pub(super) fn records(levels: &[u8], width: u32, values: u64) -> Option<Records> {
    let (mut found, mut open, mut left) = (Records { begun: 0, longest: 0 }, 0_u64, values);
    let mut run = |is_begin: bool, count: u64| {
        if !is_begin {
            open += count;
        } else if count > 0 {
            found.begun += count;
            found.longest = found.longest.max(open).max(u64::from(count > 1));
            open = 1;
        }
    };
    let mut rest = levels;
    while left > 0 {
        let head = varint(&mut rest)?;
        if head & 1 == 0 {
            let bytes = rest.get(..width.div_ceil(8) as usize)?;
            rest = &rest[bytes.len()..];
            let count = (head >> 1).min(left);
            if count == 0 {
                return None;
            }
            run(bytes.iter().all(|byte| *byte == 0), count);
            left -= count;
            continue;
        }
        let length = (head >> 1).checked_mul(u64::from(width))?;
        // The last group may be shorter than it says.
        let length = usize::try_from(length).ok()?.min(rest.len());
        let (groups, behind) = rest.split_at(length);
        let count = (groups.len() as u64 * 8 / u64::from(width)).min(left);
        if count == 0 {
            return None;
        }
        (0..count).for_each(|at| run(bits(groups, at * u64::from(width), width) == Some(0), 1));
        left -= count;
        rest = behind;
    }
    found.longest = found.longest.max(open);
    Some(found)
}

/// What is in a stream of numbers that are written as differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deltas {
    /// How many numbers there are.
    pub count: u64,
    /// The greatest.
    pub greatest: i32,
    /// Bytes that they take.
    pub length: usize,
}

/// Looks through such a stream of at most so many numbers; `None` when it is none.
pub(super) fn deltas(stream: &[u8], most: u64) -> Option<Deltas> {
    let mut rest = stream;
    let (block, parts) = (varint(&mut rest)?, varint(&mut rest)?);
    let (count, first) = (varint(&mut rest)?, zigzag(varint(&mut rest)?));
    let in_part = block.checked_div(parts)?;
    if count > most || in_part == 0 || !in_part.is_multiple_of(32) {
        return None;
    }
    let (mut left, mut last) = (count.saturating_sub(1), first as i32);
    let mut greatest = last;
    while left > 0 {
        let least = zigzag(varint(&mut rest)?) as i32;
        let widths = rest.get(..usize::try_from(parts).ok()?)?;
        rest = &rest[widths.len()..];
        for width in widths {
            let here = in_part.min(left);
            if here == 0 {
                break;
            }
            let width = u32::from(*width);
            if width == 0 {
                // Steps of one length, however many there are.
                let end = i128::from(last) + i128::from(least) * i128::from(here);
                greatest = greatest.max(i32::try_from(end).unwrap_or(i32::MAX));
                last = end as i32;
                left -= here;
                continue;
            }
            for at in 0..here {
                let more = bits(rest, at.checked_mul(u64::from(width))?, width)?;
                last = last.wrapping_add(least).wrapping_add(more as i32);
                greatest = greatest.max(last);
            }
            left -= here;
            let length = usize::try_from(in_part.checked_mul(u64::from(width))? / 8).ok()?;
            rest = &rest[length.min(rest.len())..];
        }
    }
    Some(Deltas { count, greatest, length: stream.len() - rest.len() })
}

/// Bits of which the least significant come first.
fn bits(bytes: &[u8], start: u64, width: u32) -> Option<u64> {
    if width > 56 {
        return None;
    }
    let from = usize::try_from(start / 8).ok()?;
    let shift = start % 8;
    let end = from + (shift as usize + width as usize).div_ceil(8);
    let mut value = [0; 8];
    let found = bytes.get(from..end)?;
    value[..found.len()].copy_from_slice(found);
    Some(u64::from_le_bytes(value) >> shift & ((1 << width) - 1))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Whether a frame of LZ4 cannot become more than so many bytes, and those that its last block leaves free.
pub(super) fn lz4_frame_fits(packed: &[u8], most: u64) -> bool {
    let [0x04, 0x22, 0x4d, 0x18, flags, sizes, rest @ ..] = packed else { return true };
    let block = 1_u64 << (8 + 2 * u32::from(sizes >> 4 & 7));
    let (has_size, has_dictionary) = (flags & 8 != 0, flags & 1 != 0);
    let head = 1 + if has_size { 8 } else { 0 } + if has_dictionary { 4 } else { 0 };
    let behind = if flags & 16 != 0 { 4 } else { 0 };
    let mut rest = rest.get(head..).unwrap_or_default();
    let mut unpacked = 0_u64;
    while let [a, b, c, d, data @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) & 0x7fff_ffff;
        if length == 0 {
            break;
        }
        unpacked += block;
        rest = data.get(length as usize + behind..).unwrap_or_default();
    }
    unpacked <= most + block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_row_is_found_in_runs_and_in_packed_levels() {
        let found = |levels: &[u8], width, values| records(levels, width, values).unwrap();
        // A run of three rows of one value, and one of seven that go on with the last.
        assert_eq!(found(&[6, 0, 14, 1], 1, 10), Records { begun: 3, longest: 8 });
        // Eight levels in one byte: 0 1 1 0 0 1 1 1, of which the page has seven.
        assert_eq!(found(&[3, 0b1110_0110], 1, 7), Records { begun: 3, longest: 3 });
        // Two bits each: 0 2 1 0 | 0 0 0 3.
        assert_eq!(found(&[3, 0b0001_1000, 0b1100_0000], 2, 8), Records { begun: 5, longest: 3 });
        // A page that begins within a row.
        assert_eq!(found(&[10, 1], 1, 5), Records { begun: 0, longest: 5 });
        let run = |values: u64| records(&[0xfe, 0xff, 0xff, 0xff, 0xf, 1], 1, values);
        assert_eq!(run(1 << 30), Some(Records { begun: 0, longest: 1 << 30 }));
        for none in [&[][..], &[6], &[0, 0], &[3]] {
            assert_eq!(records(none, 1, 3), None, "{none:?}");
        }
    }

    #[test]
    fn numbers_written_as_differences_are_counted_and_their_greatest_is_found() {
        // Blocks of 128 in 4 parts; 1, 2, 3, 4: all differences are one.
        assert_eq!(
            deltas(&[0x80, 1, 4, 4, 2, 2, 0, 0, 0, 0], 4),
            Some(Deltas { count: 4, greatest: 4, length: 10 })
        );
        // 7, 5, 9 in differences of at least -2: 0 and 6, in three bits each.
        let mut stream = vec![0x80, 1, 4, 3, 14, 3, 3, 0, 0, 0, 0b0011_0000];
        stream.extend([0; 11]);
        stream.push(99);
        assert_eq!(deltas(&stream, 3), Some(Deltas { count: 3, greatest: 9, length: 22 }));
        assert_eq!(deltas(&stream, 2), None, "more numbers than there are values");
        for none in [&[][..], &[0, 0, 1, 0], &[0x80, 1, 0, 1, 0], &[0x80, 1, 4, 9, 0, 0]] {
            assert_eq!(deltas(none, 9), None, "{none:?}");
        }
    }
}
