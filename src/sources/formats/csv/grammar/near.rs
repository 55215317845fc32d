//! Owns finding a byte that is likely to be near.

use memchr::memchr;

/// `memchr` for bytes that are likely to be near: the quotes of JSON within quotes are a few bytes
/// apart, where calling it costs more than looking.
/// Source: Mycroft's test for a zero byte, in Anderson, "Bit Twiddling Hacks".
pub(super) fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    if let Some(near) = text.first_chunk() {
        let zero_where_equal = u64::from_le_bytes(*near) ^ (ONES * u64::from(byte));
        let found = zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & HIGHS;
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr(byte, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_bytes_is_found_near_and_far() {
        for length in 0..40 {
            for at in 0..length {
                let mut text = vec![b'"' + 1; length];
                text[at] = b'"';
                assert_eq!(find(b'"', &text), Some(at));
                text[at..].fill(b'"');
                assert_eq!(find(b'"', &text), Some(at));
            }
            assert_eq!(find(b'"', &vec![0xa2; length]), None);
        }
    }
}
