//! Owns how the bytes of an answer become its body, and how large and how dense that may be.
//!
//! Must not know where the bytes come from: it is fed them as they come.

use std::io::{self, Read, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use ruzstd::decoding::StreamingDecoder;

use crate::domain::text;

/// Up to so many bytes the ratio is not checked: a short body of zeros is no bomb.
const MIN_CHECKED: u64 = 1 << 20;
/// Decompressed at a time: 4 KiB become 4 MiB at most, so a bomb is noticed before it takes more.
const CHUNK: usize = 4 << 10;
/// The encodings that are understood, as requests name them.
pub(super) const ACCEPTED: &str = "gzip, br, zstd";
/// The largest window of zstd, which is memory besides the body: what RFC 9659 allows in HTTP.
const MAX_WINDOW: u64 = 8 << 20;
/// What gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// What a frame of zstd begins with.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

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
    #[error("answered in the encoding {0}, which was not asked for: {ACCEPTED} are understood")]
    Encoding(String),
    #[error("answered {0} that cannot be decompressed: {1}")]
    Corrupt(&'static str, io::Error),
}

impl DecompressError {
    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::TooLarge(_) => Some("ask for smaller pages, or raise it".to_owned()),
            Self::TooDense { .. } => Some("if such pages are good, raise it".to_owned()),
            Self::Encoding(_) | Self::Corrupt(..) => None,
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
    /// No header says that it is packed.
    AsItIs(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Brotli(Box<Brotli>),
    /// Unpacked when all of it is there.
    Zstd(Vec<u8>),
}

/// Has no `Debug` of its own.
struct Brotli(DecompressorWriter<Vec<u8>>);

impl std::fmt::Debug for Brotli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Brotli")
    }
}

impl Growing {
    fn gzip() -> Self {
        Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
    }

    /// What a body is packed with that begins like this, whatever headers say.
    fn of_beginning(body: &[u8]) -> Option<Self> {
        match body {
            body if body.starts_with(GZIP) => Some(Self::gzip()),
            body if body.starts_with(ZSTD) => Some(Self::Zstd(Vec::new())),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::AsItIs(_) => "text",
            Self::Gzip(_) => "gzip",
            Self::Brotli(_) => "brotli",
            Self::Zstd(_) => "zstd",
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DecompressError> {
        let name = self.name();
        let written = match self {
            Self::AsItIs(body) | Self::Zstd(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Self::Gzip(body) => body.write_all(bytes),
            Self::Brotli(body) => body.0.write_all(bytes),
        };
        written.map_err(|error| DecompressError::Corrupt(name, error))
    }

    /// The bytes that are held so far: those of zstd are still packed.
    fn so_far(&self) -> &[u8] {
        match self {
            Self::AsItIs(body) | Self::Zstd(body) => body,
            Self::Gzip(body) => body.get_ref(),
            Self::Brotli(body) => body.0.get_ref(),
        }
    }

    fn taken(self) -> Vec<u8> {
        match self {
            Self::AsItIs(body) | Self::Zstd(body) => body,
            Self::Gzip(mut body) => std::mem::take(body.get_mut()),
            Self::Brotli(mut body) => std::mem::take(body.0.get_mut()),
        }
    }
}

impl Decompressor {
    /// Begins a body that is packed as these headers say.
    ///
    /// # Errors
    /// When it is packed by something else than was asked for.
    pub fn new(headers: &HeaderMap, limits: Limits) -> Result<Self, DecompressError> {
        let body = match encodings(headers).as_slice() {
            [] => Growing::AsItIs(Vec::new()),
            [one] if one == "gzip" || one == "x-gzip" => Growing::gzip(),
            [one] if one == "br" => {
                Growing::Brotli(Box::new(Brotli(DecompressorWriter::new(Vec::new(), CHUNK))))
            }
            [one] if one == "zstd" => Growing::Zstd(Vec::new()),
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
            self.body.write(chunk)?;
            self.unpack_without_header()?;
            self.check(self.body.so_far().len())?;
        }
        Ok(())
    }

    /// A body that no header says to be packed, and that is: JSON never begins so.
    fn unpack_without_header(&mut self) -> Result<(), DecompressError> {
        let Growing::AsItIs(body) = &self.body else { return Ok(()) };
        // Only its beginning tells, once there is enough of it.
        let is_beginning = body.len() >= ZSTD.len() && body.len() < ZSTD.len() + CHUNK;
        let Some(packed) = Growing::of_beginning(body).filter(|_| is_beginning) else {
            return Ok(());
        };
        let came = std::mem::replace(&mut self.body, packed).taken();
        self.body.write(&came)
    }

    fn check(&self, decompressed: usize) -> Result<(), DecompressError> {
        let Limits { bytes, ratio } = self.limits;
        let (came, decompressed) = (self.came, decompressed as u64);
        if decompressed > MIN_CHECKED && decompressed > came.saturating_mul(ratio.into()) {
            return Err(DecompressError::TooDense { came, decompressed, ratio });
        }
        if decompressed > bytes { Err(DecompressError::TooLarge(bytes)) } else { Ok(()) }
    }

    /// What can be had of a body that may be broken or too large, up to the limit of bytes.
    pub fn beginning(mut self) -> Vec<u8> {
        let mut body = match &mut self.body {
            Growing::Zstd(packed) => {
                let packed = std::mem::take(packed);
                let mut body = Vec::new();
                // What cannot be decompressed is left out.
                let _ = self.unzstd(&packed, &mut body);
                body
            }
            Growing::Gzip(body) => {
                let _ = body.flush();
                self.body.taken()
            }
            Growing::AsItIs(_) | Growing::Brotli(_) => self.body.taken(),
        };
        body.truncate(usize::try_from(self.limits.bytes).unwrap_or(usize::MAX));
        body
    }

    /// The body, when all bytes have come.
    ///
    /// # Errors
    /// As of [`Decompressor::feed`]; or when something is missing.
    pub fn finish(mut self) -> Result<Vec<u8>, DecompressError> {
        // No body at all is an empty one, however it would be packed.
        if self.came == 0 {
            return Ok(Vec::new());
        }
        let was_packed = !matches!(self.body, Growing::AsItIs(_));
        self.end()?;
        let body = self.body.taken();
        // A packed file that was packed once more on its way.
        let Some(packed) = Growing::of_beginning(&body).filter(|_| was_packed) else {
            return Ok(body);
        };
        let mut inner = Self { limits: self.limits, came: self.came, body: packed };
        for chunk in body.chunks(CHUNK) {
            inner.body.write(chunk)?;
            inner.check(inner.body.so_far().len())?;
        }
        inner.end()?;
        Ok(inner.body.taken())
    }

    /// Unpacks what is left when all bytes have come.
    fn end(&mut self) -> Result<(), DecompressError> {
        let name = self.body.name();
        let ended = match &mut self.body {
            Growing::Gzip(body) => body.try_finish(),
            Growing::Brotli(body) => body.0.close(),
            Growing::AsItIs(_) => Ok(()),
            Growing::Zstd(packed) => {
                let (packed, mut body) = (std::mem::take(packed), Vec::new());
                self.unzstd(&packed, &mut body)?;
                self.body = Growing::AsItIs(body);
                Ok(())
            }
        };
        ended.map_err(|error| DecompressError::Corrupt(name, error))?;
        self.check(self.body.so_far().len())
    }

    /// Unpacks all frames of zstd.
    fn unzstd(&self, mut packed: &[u8], body: &mut Vec<u8>) -> Result<(), DecompressError> {
        let corrupt = |error: String| DecompressError::Corrupt("zstd", io::Error::other(error));
        let mut piece = vec![0; CHUNK];
        while !packed.is_empty() {
            let mut frame = StreamingDecoder::new_with_max_window_size(&mut packed, MAX_WINDOW)
                .map_err(|error| corrupt(error.to_string()))?;
            loop {
                let read = frame.read(&mut piece).map_err(|error| corrupt(error.to_string()))?;
                if read == 0 {
                    break;
                }
                body.extend_from_slice(&piece[..read]);
                self.check(body.len())?;
            }
            let frame = frame.into_frame_decoder();
            let sum = frame.get_checksum_from_data();
            if sum.is_some() && sum != frame.get_calculated_checksum() {
                return Err(corrupt("its checksum is another".to_owned()));
            }
        }
        Ok(())
    }
}

/// What a body went through, in order.
pub(super) fn encodings(headers: &HeaderMap) -> Vec<String> {
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
            let zstd = ruzstd::encoding::compress_to_vec(
                body.as_slice(),
                ruzstd::encoding::CompressionLevel::Fastest,
            );
            // By what it begins with, too.
            for name in ["zstd", "identity"] {
                assert_eq!(decompressed(name, LIMITS, &zstd, piece).unwrap(), body);
                assert!(decompressed(name, LIMITS, &zstd[..zstd.len() - 9], piece).is_err());
            }
            for name in ["gzip", "x-gzip", "GZIP", "identity"] {
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
            decompressor.body.so_far().len() <= 5 << 20,
            "{}",
            decompressor.body.so_far().len()
        );
        let generous = Limits { bytes: 16 << 20, ratio: 2000 };
        assert_eq!(decompressed("gzip", generous, &bomb, 1 << 16).unwrap().len(), 16 << 20);
    }

    /// 16 MiB of spaces, by the reference encoder.
    const BROTLI_BOMB: &[u8] =
        b"\xcb\xff\xff\x3f\xf8\x25\x40\xe2\xb1\x40\x20\xf7\xfe\x2f\xff\xff\xff\xf0\x4b\x00\xc4\x61\x11\x80\xee\xfd\x1f";
    /// [`PACKED_TEXT`], by the reference encoder.
    const BROTLI: &[u8] =
        b"\x0b\x1a\x80\x5b\x7b\x22\x69\x64\x22\x3a\x31\x2c\x22\x6e\x61\x6d\x65\x22\x3a\x22\x5a\xc3\xbc\x72\x69\x63\x68\x22\x7d\x2c\x7b\x22\x69\x64\x22\x3a\x32\x2c\x22\x6e\x61\x6d\x65\x22\x3a\x22\x5a\xc3\xbc\x72\x69\x63\x68\x22\x7d\x5d\x03";
    const PACKED_TEXT: &str = r#"[{"id":1,"name":"Zürich"},{"id":2,"name":"Zürich"}]"#;

    #[test]
    fn brotli_is_unpacked_whole_or_not_at_all() {
        for piece in [1, 7, 4096] {
            let body = decompressed("br", LIMITS, BROTLI, piece).unwrap();
            assert_eq!(body, PACKED_TEXT.as_bytes());
            for cut in 1..BROTLI.len() {
                assert!(decompressed("br", LIMITS, &BROTLI[..cut], piece).is_err(), "{cut}");
            }
            let more = [BROTLI, b"more"].concat();
            assert!(decompressed("br", LIMITS, &more, piece).is_err());
        }
        let error = decompressed("br", LIMITS, BROTLI_BOMB, 7).unwrap_err();
        assert!(matches!(error, DecompressError::TooDense { .. }), "{error}");
    }

    #[test]
    fn limits_hold_for_zstd_and_for_what_no_header_says_is_packed() {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let bomb = ruzstd::encoding::compress_to_vec(vec![b' '; 16 << 20].as_slice(), level);
        for encoding in ["zstd", "identity"] {
            let error = decompressed(encoding, LIMITS, &bomb, 1 << 16).unwrap_err();
            assert!(matches!(error, DecompressError::TooDense { .. }), "{error}");
        }
        let bomb = compressed(&vec![b' '; 16 << 20]);
        let error = decompressed("identity", LIMITS, &bomb, 1 << 16).unwrap_err();
        assert!(matches!(error, DecompressError::TooDense { .. }), "{error}");
        // Packed twice, as a file that was packed and sent packed.
        let twice = compressed(&bomb);
        let error = decompressed("gzip", LIMITS, &twice, 1 << 16).unwrap_err();
        assert!(matches!(error, DecompressError::TooDense { .. }), "{error}");
        let twice = compressed(&compressed(b"[1,2]"));
        assert_eq!(decompressed("gzip", LIMITS, &twice, 7).unwrap(), b"[1,2]");
        let two_frames =
            [b"[1,", &b"2]"[..]].map(|part| ruzstd::encoding::compress_to_vec(part, level));
        assert_eq!(decompressed("zstd", LIMITS, &two_frames.concat(), 5).unwrap(), b"[1,2]");
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
            assert!(matches!(error, DecompressError::Corrupt(..)), "{cut}: {error}");
        }
        let error = decompressed("gzip", LIMITS, b"[1,2,3,4,5,6,7,8,9]", 5).unwrap_err();
        assert!(matches!(error, DecompressError::Corrupt(..)), "{error}");
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
        for encoding in ["compress", "gzip, gzip", "deflate"] {
            let headers = [(CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect();
            let error = Decompressor::new(&headers, LIMITS).unwrap_err().to_string();
            assert!(error.contains(encoding), "{error}");
        }
    }
}
