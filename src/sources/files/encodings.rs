//! Owns which encoding the text of a file is in: as its mark says, or the job file, or its first bytes.
//!
//! A text of single bytes is read as it is. One whose characters have several may hold bytes that look like delimiters
//! and quotes: it is transcoded before anybody looks for rows.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::domain::suggest;

/// Bytes of a file that a guess is made from.
pub const GUESSED_FROM: usize = 1 << 20;
/// Bytes in which zeros say that a text is UTF-16.
const SAMPLE: usize = 4 << 10;
/// Bytes that are no UTF-8 that a guess needs.
const EVIDENCE: usize = 8;
/// The word for "find out from the file".
pub const AUTO: &str = "auto";

/// How the text of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What it is in.
    pub encoding: &'static Encoding,
    /// Who says so.
    pub says: Says,
    /// Whether it is to be transcoded to UTF-8 first.
    pub transcoded: bool,
}

impl Reading {
    /// UTF-8, or no text at all.
    pub const AS_IT_IS: Self = Self { encoding: UTF_8, says: Says::Sure, transcoded: false };

    /// What must not go by without a word; `table` is that of the job file with the encoding.
    pub fn warning(&self, table: &str) -> Option<String> {
        let name = self.encoding.name();
        match self.says {
            Says::Sure | Says::Mark | Says::Zeros | Says::Told => None,
            Says::Guess => Some(format!(
                "the text is no UTF-8, and taken for {name}, which it looks like most: {table}.encoding = \"{}\" says so, \
                 or what it is",
                name.to_ascii_lowercase()
            )),
            Says::AgainstTold(told) => Some(format!(
                "its server says that the text is in {}, as many do of any text; it is taken for {name}, which it looks \
                 like most: {table}.encoding = \"{}\" says so, or what it is",
                told.name(),
                name.to_ascii_lowercase()
            )),
            Says::ToldAgainst(guess) => Some(format!(
                "the text is read as {name}, as its server says, and looks more like {}: {table}.encoding = \"{}\" says \
                 what it is",
                guess.name(),
                guess.name().to_ascii_lowercase()
            )),
            Says::Contradicted => Some(format!(
                "the text is UTF-8, and read as {name}, since {table}.encoding says so: letters beyond ASCII come out as \
                 others. Leave {table}.encoding out"
            )),
        }
    }
}

/// Who says what encoding a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The job file, or the text itself: it is UTF-8.
    Sure,
    /// The byte order mark.
    Mark,
    /// The zeros between its letters.
    Zeros,
    /// Whoever sent it.
    Told,
    /// Nobody: it is the likeliest.
    Guess,
    /// Nobody: whoever sent it says this, which servers say of any text, and it cannot be that.
    AgainstTold(&'static Encoding),
    /// Whoever sent it, and the text looks more like this.
    ToldAgainst(&'static Encoding),
    /// The job file, and the text looks like UTF-8.
    Contradicted,
}

/// Why the text of a file cannot be read: what it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// To be read after the file's name.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What a format can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readable {
    /// Whether texts of single bytes need no transcoding.
    pub single_bytes: bool,
    /// Whether what nobody says is guessed.
    pub guesses: bool,
}

/// What a job file says of the encoding.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What it is.
    pub encoding: &'static Encoding,
    /// The table that says so.
    pub table: &'a str,
    /// In these words.
    pub label: &'a str,
}

/// How a text is read that begins so; `complete` says that this is all of it, otherwise `None` means that more bytes are
/// needed. `given` is what the job file says.
///
/// # Errors
/// When it cannot be read, or its mark says something else than the job file.
pub fn of_text(
    given: Option<Given<'_>>,
    beginning: &[u8],
    complete: bool,
    can: Readable,
) -> Result<Option<Reading>, Unreadable> {
    refuse_utf_32(beginning)?;
    let reading = |encoding: &'static Encoding, says| {
        let as_it_is = encoding == UTF_8 || can.single_bytes && is_plain(encoding);
        Ok(Some(Reading { encoding, says, transcoded: !as_it_is }))
    };
    if let Some((marked, _)) = Encoding::for_bom(beginning) {
        // What was transcoded from several bytes a character is UTF-8 now, and marked as such.
        let agrees = |given: &'static Encoding| {
            given == marked
                || marked == UTF_8 && !(can.single_bytes && is_plain(given))
                || is_utf_16(marked) && is_utf_16(given)
        };
        return match given {
            Some(Given { encoding, table, label }) if !agrees(encoding) => Err(Unreadable {
                what: format!(
                    "starts with the byte order mark of {}, but {table}.encoding says {label:?}",
                    marked.name()
                ),
                advice: format!("leave {table}.encoding out"),
            }),
            _ if marked == UTF_8 => reading(UTF_8, Says::Sure),
            _ => reading(marked, Says::Mark),
        };
    }
    if let Some(Given { encoding, .. }) = given {
        let head = &beginning[..beginning.len().min(GUESSED_FROM)];
        // No other text is that by chance.
        let is_other = encoding != UTF_8 && !is_utf_16(encoding) && looks_like_utf_8(head);
        let says = if is_other { Says::Contradicted } else { Says::Sure };
        return reading(encoding, says);
    }
    if let Some(encoding) = by_zeros(&beginning[..beginning.len().min(SAMPLE)]) {
        return reading(encoding, Says::Zeros);
    }
    let head = &beginning[..beginning.len().min(GUESSED_FROM)];
    let whole = complete && head.len() == beginning.len();
    if !can.guesses || is_utf_8(head, whole) {
        return reading(UTF_8, Says::Sure);
    }
    if !complete && beginning.len() < GUESSED_FROM {
        return Ok(None);
    }
    reading(guess(head, whole), Says::Guess)
}

/// How a text is read of which whoever sends it says what it is in; `None` where it says so itself, or is rather UTF-8 as
/// far as it is known: a few characters may be broken. ISO-8859-1 and windows-1252 are what many servers say of any text:
/// they count only as far as it looks like that.
pub fn told(charset: &'static Encoding, beginning: &[u8], complete: bool) -> Option<Reading> {
    let head = &beginning[..beginning.len().min(GUESSED_FROM)];
    let whole = complete && head.len() == beginning.len();
    let sample = &head[..head.len().min(SAMPLE)];
    let (good, bad) = characters(head, whole);
    let says_itself = Encoding::for_bom(beginning).is_some() || by_zeros(sample).is_some();
    if charset == UTF_8 || bad <= good || says_itself {
        return None;
    }
    let reading = |encoding, says| Some(Reading { encoding, says, transcoded: true });
    if charset != WINDOWS_1252 {
        return reading(charset, Says::Told);
    }
    let guess = guess(head, whole);
    match () {
        () if guess == charset => reading(charset, Says::Told),
        () if !is_latin(guess) && bad >= EVIDENCE => reading(guess, Says::AgainstTold(charset)),
        () if !is_latin(guess) || bad >= EVIDENCE => reading(charset, Says::ToldAgainst(guess)),
        () => reading(charset, Says::Told),
    }
}

/// What a text that is no UTF-8 looks like most.
fn guess(head: &[u8], whole: bool) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(head, whole);
    detector.guess(None, Utf8Detection::Deny)
}

/// Whether its letters beyond ASCII are Latin ones: such a text reads mostly well as windows-1252.
fn is_latin(encoding: &'static Encoding) -> bool {
    const LATIN: [&Encoding; 12] = [
        encoding_rs::WINDOWS_1250,
        WINDOWS_1252,
        encoding_rs::WINDOWS_1254,
        encoding_rs::WINDOWS_1257,
        encoding_rs::WINDOWS_1258,
        encoding_rs::ISO_8859_2,
        encoding_rs::ISO_8859_3,
        encoding_rs::ISO_8859_4,
        encoding_rs::ISO_8859_10,
        encoding_rs::ISO_8859_13,
        encoding_rs::ISO_8859_15,
        encoding_rs::ISO_8859_16,
    ];
    LATIN.contains(&encoding)
}

/// Whether each byte is a character, and those of ASCII are what they are there.
pub fn is_plain(encoding: &'static Encoding) -> bool {
    encoding.is_single_byte() && encoding.is_ascii_compatible()
}

fn is_utf_16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

fn refuse_utf_32(beginning: &[u8]) -> Result<(), Unreadable> {
    let marked = matches!(beginning, [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..]);
    let zeros = |four: &[u8]| matches!(four, [letter, 0, 0, 0] | [0, 0, 0, letter] if letter.is_ascii_graphic());
    let head = &beginning[..beginning.len().min(64)];
    let unmarked = head.len() >= 12 && head.chunks_exact(4).all(zeros);
    match marked || unmarked {
        true => Err(Unreadable {
            what: "is UTF-32, which cannot be read".to_owned(),
            advice: "convert it first, for example with `iconv -f UTF-32 -t UTF-8`".to_owned(),
        }),
        false => Ok(()),
    }
}

/// UTF-16 without a mark: the half of its units that are ASCII, as delimiters and line ends are, have a zero, and all of
/// these are on one side.
fn by_zeros(sample: &[u8]) -> Option<&'static Encoding> {
    let units = sample.chunks_exact(2);
    let (mut first, mut second, mut all) = (0_usize, 0_usize, 0_usize);
    for unit in units {
        all += 1;
        first += usize::from(unit[0] == 0 && unit[1] != 0);
        second += usize::from(unit[1] == 0 && unit[0] != 0);
    }
    let enough = |zeros: usize| zeros >= 2 && zeros * 4 >= all;
    match (first, second) {
        (0, second) if enough(second) => Some(UTF_16LE),
        (first, 0) if enough(first) => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether a text is UTF-8, or is with a few broken characters: of these each row is set aside by itself, as are rows of
/// which there are too few to guess from. A text that is ASCII with escapes may be ISO-2022-JP.
fn is_utf_8(head: &[u8], whole: bool) -> bool {
    let (good, bad) = characters(head, whole);
    if bad == 0 && good == 0 {
        let escapes = [&b"\x1b$B"[..], b"\x1b$@"];
        return !escapes.iter().any(|escape| memchr::memmem::find(head, escape).is_some());
    }
    bad < EVIDENCE || good >= bad
}

/// Characters of several bytes that are UTF-8, and those that are none.
fn characters(head: &[u8], whole: bool) -> (usize, usize) {
    let (mut rest, mut good, mut bad) = (head, 0_usize, 0_usize);
    loop {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                good += multibyte(text);
                break;
            }
            Err(error) => {
                let (text, broken) = rest.split_at(error.valid_up_to());
                good += std::str::from_utf8(text).map_or(0, multibyte);
                match error.error_len() {
                    Some(length) => {
                        bad += 1;
                        rest = &broken[length..];
                    }
                    // It goes on behind the head.
                    None => {
                        bad += usize::from(whole);
                        break;
                    }
                }
            }
        }
    }
    (good, bad)
}

/// Whether a text has several characters of several bytes, and all are UTF-8.
fn looks_like_utf_8(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last may go on behind the head.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    multibyte(text) >= EVIDENCE
}

fn multibyte(text: &str) -> usize {
    text.bytes().filter(|byte| *byte >= 0xC0).count()
}

/// The encoding that a job file names; `None` is for "find out".
///
/// # Errors
/// What is wrong with the name, and what to do.
pub fn given(label: &str) -> Result<Option<&'static Encoding>, String> {
    if label == AUTO {
        return Ok(None);
    }
    let plain = letters(label);
    if plain.contains("utf32") || plain.contains("ucs4") {
        return Err(format!(
            "{label:?} cannot be read: convert the files to UTF-8 first, for example with `iconv -f UTF-32 -t UTF-8`"
        ));
    }
    match encoding_of(label) {
        Some(e) if e == encoding_rs::REPLACEMENT || e == encoding_rs::X_USER_DEFINED => {
            Err(format!("{label:?} cannot be read: convert the files to UTF-8 first with `iconv`"))
        }
        Some(encoding) => Ok(Some(encoding)),
        None => Err(match label_meant(label) {
            Some(meant) => format!("{label:?} is unknown; did you mean \"{meant}\"?"),
            None => format!(
                "{label:?} is unknown: use \"auto\" (UTF-8), \"windows-1252\", \"latin1\" or another WHATWG label, or \
                 convert the files to UTF-8 first with `iconv`"
            ),
        }),
    }
}

/// The label that was probably meant by one that is none.
fn label_meant(given: &str) -> Option<&'static str> {
    const LABELS: &[&str] = &[
        "utf-8",
        "utf-16",
        "utf-16le",
        "utf-16be",
        "windows-1250",
        "windows-1251",
        "windows-1252",
        "windows-1253",
        "windows-1254",
        "windows-1255",
        "windows-1256",
        "windows-1257",
        "windows-1258",
        "latin1",
        "latin2",
        "iso-8859-1",
        "iso-8859-2",
        "iso-8859-5",
        "iso-8859-7",
        "iso-8859-9",
        "iso-8859-15",
        "macintosh",
        "koi8-r",
        "koi8-u",
        "ibm866",
        "shift_jis",
        "euc-jp",
        "iso-2022-jp",
        "gb18030",
        "gbk",
        "big5",
        "euc-kr",
    ];
    let plain = given.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    // There is no label that is near, and what it means is not read.
    let codepage = plain.starts_with("cp") || plain.starts_with("ibm");
    if codepage { None } else { suggest::nearest(&plain, LABELS.iter().copied()) }
}

fn letters(label: &str) -> String {
    label.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// The encoding of a label: one of WHATWG's, or as people and other programs write them.
fn encoding_of(label: &str) -> Option<&'static Encoding> {
    if let Some(encoding) = Encoding::for_label(label.as_bytes()) {
        return Some(encoding);
    }
    let plain = letters(label);
    let meant = match plain.as_str() {
        "utf8" | "utf8sig" | "utf8bom" | "utf8mb4" | "utf8mb3" | "unicode11utf8" => "utf-8",
        "utf16" | "utf16le" | "ucs2" | "ucs2le" => "utf-16le",
        "utf16be" | "ucs2be" => "utf-16be",
        "latin1" | "l1" | "iso88591" | "ansi" | "western" | "cp28591" => "windows-1252",
        "latin2" | "iso88592" => "iso-8859-2",
        "latin9" | "latin0" | "iso885915" => "iso-8859-15",
        "macroman" | "macosroman" | "mac" => "macintosh",
        "koi8r" | "koi8" => "koi8-r",
        "koi8u" => "koi8-u",
        "cp932" | "ms932" | "windows31j" | "sjis" | "mskanji" | "shiftjis" => "shift_jis",
        "cp936" | "ms936" => "gbk",
        "cp54936" => "gb18030",
        "cp949" | "ms949" | "uhc" => "euc-kr",
        "cp950" | "ms950" => "big5",
        "cp51932" | "eucjp" => "euc-jp",
        "iso2022jp" | "jis" => "iso-2022-jp",
        plain => {
            let number = ["cp", "win", "windows", "ms", "ibm", "iso"]
                .into_iter()
                .find_map(|prefix| plain.strip_prefix(prefix))?;
            let labels = [
                format!("windows-{number}"),
                format!("ibm{number}"),
                format!("iso-{}-{}", number.get(..4)?, number.get(4..)?),
            ];
            return labels.iter().find_map(|label| Encoding::for_label(label.as_bytes()));
        }
    };
    Encoding::for_label(meant.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Readable = Readable { single_bytes: true, guesses: true };

    #[test]
    fn encodings_are_known_by_the_labels_that_people_write() {
        for (label, name) in [
            ("utf8", "UTF-8"),
            ("UTF_8", "UTF-8"),
            ("utf-8-sig", "UTF-8"),
            ("utf-16", "UTF-16LE"),
            ("UTF16-BE", "UTF-16BE"),
            ("latin-1", "windows-1252"),
            ("Latin 1", "windows-1252"),
            ("cp1252", "windows-1252"),
            ("CP-1250", "windows-1250"),
            ("win-1251", "windows-1251"),
            ("ISO8859_15", "ISO-8859-15"),
            ("cp866", "IBM866"),
            ("cp949", "EUC-KR"),
            ("cp932", "Shift_JIS"),
            ("Shift-JIS", "Shift_JIS"),
            ("sjis", "Shift_JIS"),
            ("gb18030", "gb18030"),
            ("ansi", "windows-1252"),
            ("mac-roman", "macintosh"),
        ] {
            assert_eq!(given(label).map(|e| e.map(Encoding::name)), Ok(Some(name)), "{label}");
        }
        for label in ["klingon", "cp437", "cp", "iso"] {
            assert!(given(label).is_err_and(|error| error.contains("is unknown")), "{label}");
        }
        assert!(given("utf-32").is_err_and(|error| error.contains("iconv -f UTF-32")));
        assert!(given("euc-kp").is_err_and(|error| error.contains("did you mean \"euc-kr\"")));
    }

    #[test]
    fn what_the_sender_says_counts_where_the_text_is_no_utf_8() {
        let told = |text: &[u8]| {
            told(encoding_rs::WINDOWS_1252, text, true).map(|reading| reading.encoding.name())
        };
        assert_eq!(told(b"id,name\n1,M\xfcller\n"), Some("windows-1252"));
        for text in [
            "id,name\n1,Müller\n".as_bytes(),
            b"id,name\n1,Muller\n",
            b"\xef\xbb\xbfid\n\xfc\n",
            b"\xff\xfei\0d\0",
            "1,Müller\n2,Köhler\n3,M\u{fc}".as_bytes().split_last().unwrap().1,
        ] {
            assert_eq!(told(text), None, "{text:?}");
        }
        let utf_8 = super::told(UTF_8, b"M\xfcller", true);
        assert_eq!(utf_8, None);
    }

    /// Many servers say ISO-8859-1 of any text.
    #[test]
    fn a_usual_charset_that_the_text_contradicts_is_never_taken_without_a_word() {
        let russian =
            "номер;название;цена\n1;Стол письменный;12,50\n2;Стул офисный;3,10\n3;Лампа\n";
        let japanese = "番号,名前\n1,表示能力ソフト\n2,東京都渋谷区の店\n";
        let polish = "id;nazwa\n1;Żółć gęślą jaźń\n2;Łódź, Świętokrzyska, źdźbło\n3;Wąchock\n";
        let german = "id;Straße\n1;Grüße aus Köln\n2;Über Österreich nach Zürich, schön\n";
        let greek = "α;όνομα\n1;Καλημέρα κόσμε\n2;Ελληνικά γράμματα\n";
        use encoding_rs::{SHIFT_JIS, WINDOWS_1250, WINDOWS_1251, WINDOWS_1253};
        for (text, is, taken, warns) in [
            (russian, WINDOWS_1251, WINDOWS_1251, true),
            (japanese, SHIFT_JIS, SHIFT_JIS, true),
            (greek, WINDOWS_1253, WINDOWS_1253, true),
            (polish, WINDOWS_1250, WINDOWS_1252, true),
            (german, WINDOWS_1252, WINDOWS_1252, false),
        ] {
            let (bytes, _, _) = is.encode(text);
            let reading = told(WINDOWS_1252, &bytes, true).unwrap();
            let warning = reading.warning("csv");
            assert_eq!(
                (reading.encoding.name(), warning.is_some()),
                (taken.name(), warns),
                "{text}"
            );
            // Whoever names it means it.
            assert_eq!(told(is, &bytes, true).unwrap().encoding, is, "{text}");
        }
        // Too little to take it for another.
        let (few, _, _) = WINDOWS_1251.encode("id;имя\n1;Петр\n");
        assert_eq!(told(WINDOWS_1252, &few, true).unwrap().encoding, WINDOWS_1252);
    }

    #[test]
    fn a_mark_or_the_job_file_or_the_first_bytes_say_what_a_text_is_in() {
        let utf_16 = |text: &str, be: bool| -> Vec<u8> {
            text.encode_utf16()
                .flat_map(|u| if be { u.to_be_bytes() } else { u.to_le_bytes() })
                .collect()
        };
        let table = "id;name\n1;Straße\n2;日本\n";
        let japanese = "番号,名前\n1,表示能力ソフト\n2,東京都渋谷区の店\n";
        let sjis = encoding_rs::SHIFT_JIS.encode(japanese).0;
        let iso_2022 = encoding_rs::ISO_2022_JP.encode(japanese).0;
        let german = encoding_rs::WINDOWS_1252
            .encode("id;Straße\n1;Grüße aus Köln\n2;Über Österreich nach Zürich, schön\n")
            .0;
        let marked = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
        for (text, says) in [
            (marked(&[0xFF, 0xFE], utf_16(table, false)), ("UTF-16LE", Says::Mark, true)),
            (marked(&[0xFE, 0xFF], utf_16(table, true)), ("UTF-16BE", Says::Mark, true)),
            (utf_16(table, false), ("UTF-16LE", Says::Zeros, true)),
            (utf_16(table, true), ("UTF-16BE", Says::Zeros, true)),
            (table.into(), ("UTF-8", Says::Sure, false)),
            (marked(b"\xef\xbb\xbf", table.into()), ("UTF-8", Says::Sure, false)),
            (sjis.to_vec(), ("Shift_JIS", Says::Guess, true)),
            (iso_2022.to_vec(), ("ISO-2022-JP", Says::Guess, true)),
            (german.to_vec(), ("windows-1252", Says::Guess, false)),
            // Too little to guess from.
            (b"caf\xe9\n".to_vec(), ("UTF-8", Says::Sure, false)),
            // UTF-8 with a broken character.
            ("Grüße\n".bytes().chain([0xE9, b'\n']).collect(), ("UTF-8", Says::Sure, false)),
            (b"a\0b\n".to_vec(), ("UTF-8", Says::Sure, false)),
            (Vec::new(), ("UTF-8", Says::Sure, false)),
        ] {
            let reading = of_text(None, &text, true, CSV).unwrap().unwrap();
            let found = (reading.encoding.name(), reading.says, reading.transcoded);
            assert_eq!(found, says, "{text:?}");
        }
        let utf_32: Vec<u8> = "id,name".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        for text in [marked(&[0xFF, 0xFE, 0, 0], utf_32.clone()), utf_32] {
            assert!(of_text(None, &text, true, CSV).unwrap_err().what.contains("is UTF-32"));
        }
        // More of it is needed before anything is guessed.
        assert_eq!(of_text(None, &german, false, CSV).unwrap(), None);
        let said =
            |label| Some(Given { encoding: given(label).unwrap().unwrap(), table: "csv", label });
        assert!(of_text(said("sjis"), &german, false, CSV).unwrap().unwrap().transcoded);
        let latin = said("latin1");
        let says = |label, text: &str| {
            of_text(said(label), text.as_bytes(), true, CSV).unwrap().unwrap().says
        };
        let greeting = "id;gruß\n1;Grüße aus Köln\n2;Über Österreich nach Zürich, schön\n";
        assert_eq!(says("windows-1252", greeting), Says::Contradicted);
        assert_eq!(says("sjis", greeting), Says::Contradicted);
        assert_eq!(says("windows-1252", "id;gruß\n1;ü\n"), Says::Sure, "too little of it");
        assert_eq!(says("utf-8", greeting), Says::Sure);
        let declared = of_text(said("windows-1252"), &german, true, CSV).unwrap().unwrap();
        assert_eq!(declared.says, Says::Sure);
        assert!(of_text(latin, b"\xef\xbb\xbfid", true, CSV).is_err());
        let jsonl = Readable { single_bytes: false, guesses: false };
        assert!(of_text(latin, b"{}", true, jsonl).unwrap().unwrap().transcoded);
        assert_eq!(of_text(None, &german, false, jsonl).unwrap().unwrap().encoding, UTF_8);
    }
}
