//! Owns how the bytes of an answer become its body, and how large and how dense that may be.
//!
//! Must not know where the bytes come from: it is fed them as they come.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

use crate::domain::text;

/// Up to so many bytes the ratio is not checked: a short body of zeros is no bomb.
const MIN_CHECKED: u64 = 1 << 20;
/// Decompressed at a time: 4 KiB become 4 MiB at most, so a bomb is noticed before it takes more.
const CHUNK: usize = 4 << 10;

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// `rest_api.max_response_bytes`, after decompression.
    pub bytes: u64,
    /// `rest_api.max_compression_ratio`.
    pub ratio: u32,
}

/// Why bytes are no body; to be read after who answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecompressError {
    #[error("answered more than `rest_api.max_response_bytes` = {0} bytes")]
    TooLarge(u64),
    #[error(
        "answered {came} bytes that decompress to {decompressed}, more than \
         `rest_api.max_compression_ratio` = {ratio} times as many: this may be a decompression \
         bomb"
    )]
    TooDense { came: u64, decompressed: u64, ratio: u32 },
    #[error("answered in the encoding {0}, which was not asked for: only gzip is understood")]
    Encoding(String),
    #[error("answered gzip that cannot be decompressed: {0}")]
    Corrupt(io::Error),
}

impl DecompressError {
    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::TooLarge(_) => Some("ask for smaller pages, or raise it".to_owned()),
            Self::TooDense { .. } => Some("if such pages are good, raise it".to_owned()),
            Self::Encoding(_) | Self::Corrupt(_) => None,
        }
    }
}

/// A body that is growing.
#[derive(Debug)]
pub(super) struct Decompressor {
    limits: Limits,
    came: u64,
    body: Growing,
}

#[derive(Debug)]
enum Growing {
    AsItIs(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl Decompressor {
    /// Begins a body that is packed as these headers say.
    ///
    /// # Errors
    /// When it is packed otherwise than by gzip.
    pub fn new(headers: &HeaderMap, limits: Limits) -> Result<Self, DecompressError> {
        let body = match encodings(headers).as_slice() {
            [] => Growing::AsItIs(Vec::new()),
            [one] if one == "gzip" || one == "x-gzip" => {
                Growing::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
            }
            others => {
                let named = text::beginning(&others.join(", "));
                return Err(DecompressError::Encoding(named));
            }
        };
        Ok(Self { limits, came: 0, body })
    }

    /// Adds bytes as they came.
    ///
    /// # Errors
    /// When the body becomes too large or too dense, or cannot be decompressed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), DecompressError> {
        for chunk in bytes.chunks(CHUNK) {
            self.came += chunk.len() as u64;
            match &mut self.body {
                Growing::AsItIs(body) => body.extend_from_slice(chunk),
                Growing::Gzip(body) => body.write_all(chunk).map_err(DecompressError::Corrupt)?,
            }
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), DecompressError> {
        let Limits { bytes, ratio } = self.limits;
        let (came, decompressed) = (self.came, self.body_so_far().len() as u64);
        if decompressed > MIN_CHECKED && decompressed > came.saturating_mul(ratio.into()) {
            return Err(DecompressError::TooDense { came, decompressed, ratio });
        }
        if decompressed > bytes { Err(DecompressError::TooLarge(bytes)) } else { Ok(()) }
    }

    /// What can be had of a body that may be broken or too large, up to the limit of bytes.
    pub fn beginning(mut self) -> Vec<u8> {
        if let Growing::Gzip(body) = &mut self.body {
            // What cannot be decompressed is left out.
            let _ = body.flush();
        }
        let most = usize::try_from(self.limits.bytes).unwrap_or(usize::MAX);
        let mut body = self.taken();
        body.truncate(most);
        body
    }

    fn taken(self) -> Vec<u8> {
        match self.body {
            Growing::AsItIs(body) => body,
            Growing::Gzip(mut body) => std::mem::take(body.get_mut()),
        }
    }

    fn body_so_far(&self) -> &[u8] {
        match &self.body {
            Growing::AsItIs(body) => body,
            Growing::Gzip(body) => body.get_ref(),
        }
    }

    /// The body, when all bytes have come.
    ///
    /// # Errors
    /// As of [`Decompressor::feed`]; or when something is missing.
    pub fn finish(mut self) -> Result<Vec<u8>, DecompressError> {
        // No body at all is an empty one, however it would be packed.
        if self.came > 0
            && let Growing::Gzip(body) = &mut self.body
        {
            body.try_finish().map_err(DecompressError::Corrupt)?;
        }
        self.check()?;
        Ok(self.taken())
    }
}

/// What a body went through, in order.
fn encodings(headers: &HeaderMap) -> Vec<String> {
    let mut all = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        all.extend(text.split(',').map(|encoding| encoding.trim().to_owned()));
    }
    all.retain(|encoding| !matches!(encoding.as_str(), "" | "identity"));
    all
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 8 << 20, ratio: 100 };

    fn compressed(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn decompressor(encoding: &str, limits: Limits) -> Decompressor {
        let headers = [(CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect();
        Decompressor::new(&headers, limits).unwrap()
    }

    /// Feeds the bytes in pieces of that size.
    fn decompressed(
        encoding: &str,
        limits: Limits,
        bytes: &[u8],
        piece: usize,
    ) -> Result<Vec<u8>, DecompressError> {
        let mut decompressor = decompressor(encoding, limits);
        for piece in bytes.chunks(piece) {
            decompressor.feed(piece)?;
        }
        decompressor.finish()
    }

    #[test]
    fn a_body_is_the_same_compressed_and_in_pieces_of_any_size() {
        let body: Vec<u8> = (0..10_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for piece in [1, 7, 4096, 1 << 20] {
            assert_eq!(decompressed("identity", LIMITS, &body, piece).unwrap(), body);
            for name in ["gzip", "x-gzip", "GZIP"] {
                assert_eq!(decompressed(name, LIMITS, &compressed(&body), piece).unwrap(), body);
            }
        }
        let two = [compressed(b"[1,"), compressed(b"2]")].concat();
        assert_eq!(decompressed("gzip", LIMITS, &two, 3).unwrap(), b"[1,2]");
        assert_eq!(decompressed("gzip", LIMITS, b"", 1).unwrap(), b"");
    }

    #[test]
    fn a_bomb_is_refused_by_its_density_long_before_its_size() {
        let bomb = compressed(&vec![b' '; 16 << 20]);
        let mut decompressor = decompressor("gzip", Limits { bytes: 16 << 20, ratio: 100 });
        let error = decompressor.feed(&bomb).unwrap_err();
        assert!(matches!(error, DecompressError::TooDense { .. }), "{error}");
        assert!(
            decompressor.body_so_far().len() <= 5 << 20,
            "{}",
            decompressor.body_so_far().len()
        );
        let generous = Limits { bytes: 16 << 20, ratio: 2000 };
        assert_eq!(decompressed("gzip", generous, &bomb, 1 << 16).unwrap().len(), 16 << 20);
    }

    #[test]
    fn a_short_body_may_be_as_dense_as_it_likes() {
        let body = vec![b' '; 1 << 20];
        assert_eq!(decompressed("gzip", LIMITS, &compressed(&body), 4096).unwrap(), body);
    }

    #[test]
    fn the_size_counts_after_decompression() {
        let body: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_be_bytes()).collect();
        let small = Limits { bytes: 1 << 16, ratio: 100 };
        let compressed = compressed(&body);
        assert!(compressed.len() < 1 << 16);
        for (encoding, bytes) in [("gzip", &compressed), ("identity", &body)] {
            let error = decompressed(encoding, small, bytes, 4096).unwrap_err();
            assert!(matches!(error, DecompressError::TooLarge(_)), "{error}");
        }
    }

    #[test]
    fn what_is_cut_or_no_gzip_is_corrupt() {
        let compressed = compressed(b"[1,2,3,4,5]");
        for cut in 1..compressed.len() {
            let error = decompressed("gzip", LIMITS, &compressed[..cut], 5).unwrap_err();
            assert!(matches!(error, DecompressError::Corrupt(_)), "{cut}: {error}");
        }
        let error = decompressed("gzip", LIMITS, b"[1,2,3,4,5,6,7,8,9]", 5).unwrap_err();
        assert!(matches!(error, DecompressError::Corrupt(_)), "{error}");
    }

    #[test]
    fn the_beginning_is_what_can_be_had_and_no_more_than_the_limit() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let compressed = compressed(&text);
        let limits = Limits { bytes: 1000, ratio: 100 };
        for (encoding, bytes) in
            [("identity", &text[..]), ("gzip", &compressed[..compressed.len() / 2])]
        {
            let mut decompressor = decompressor(encoding, limits);
            assert!(decompressor.feed(bytes).is_err(), "{encoding}");
            assert_eq!(decompressor.beginning(), text[..1000], "{encoding}");
        }
        let mut short = decompressor("gzip", limits);
        short.feed(&super::tests::compressed(b"no such coin")).unwrap();
        assert_eq!(short.beginning(), b"no such coin");
    }

    #[test]
    fn other_encodings_are_named() {
        for encoding in ["br", "gzip, gzip", "deflate"] {
            let headers = [(CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect();
            let error = Decompressor::new(&headers, LIMITS).unwrap_err().to_string();
            assert!(error.contains(encoding), "{error}");
        }
    }
}
