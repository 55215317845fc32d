//! Owns the small pieces of markup that every page is made of: states, times, numbers, links.

use std::time::Duration;

use askama::filters::Safe;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::escape::escaped;
use crate::domain::run::RunStatus;

/// Markup: templates write it as it is. What it was made of is escaped.
pub(crate) type Html = Safe<String>;

/// No markup.
pub(crate) fn nothing() -> Html {
    Safe(String::new())
}

/// What a state looks like: never by its colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Something failed.
    Bad,
    /// Something needs a look.
    Warn,
    /// Under way.
    Active,
    /// Neither.
    Calm,
}

impl Tone {
    /// The class in the style sheet, and the id of its icon there.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Active => "active",
            Self::Calm => "calm",
        }
    }
}

/// A word with its shape and colour.
pub(crate) fn badge(tone: Tone, word: &str) -> Html {
    let (class, word) = (tone.class(), escaped(word));
    Safe(format!("<span class=\"badge {class}\">{}{word}</span>", icon(tone)))
}

/// The shape of a tone: a disc with a tick, an octagon with a cross, a triangle, half a disc, a ring.
pub(crate) fn icon(tone: Tone) -> String {
    let shape = match tone {
        Tone::Good => {
            "<circle cx=\"8\" cy=\"8\" r=\"7\"/><path class=\"line\" d=\"M4.6 8.2l2.4 2.4 4.4-5\"/>"
        }
        Tone::Bad => {
            "<path d=\"M5 1h6l4 4v6l-4 4H5l-4-4V5z\"/><path class=\"line\" d=\"M5.4 5.4l5.2 5.2m0-5.2l-5.2 5.2\"/>"
        }
        Tone::Warn => {
            "<path d=\"M8 1l7.4 13.6H.6z\"/><path class=\"line\" d=\"M8 5.6v4m0 1.6v1.2\"/>"
        }
        Tone::Active => {
            "<circle class=\"ring\" cx=\"8\" cy=\"8\" r=\"6.2\"/><path d=\"M8 1.8a6.2 6.2 0 0 1 0 12.4z\"/>"
        }
        Tone::Calm => "<circle class=\"ring\" cx=\"8\" cy=\"8\" r=\"6.2\"/>",
    };
    format!("<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{shape}</svg>")
}

/// The tone of a run's state.
pub(crate) fn tone_of(status: RunStatus) -> Tone {
    match status {
        RunStatus::Success | RunStatus::SuccessWithDuplicates => Tone::Good,
        RunStatus::Failed => Tone::Bad,
        RunStatus::Degraded => Tone::Warn,
        RunStatus::Running => Tone::Active,
        RunStatus::Queued | RunStatus::Cancelled => Tone::Calm,
    }
}

/// The state of a run.
pub(crate) fn status(status: RunStatus) -> Html {
    badge(tone_of(status), &status.as_str().replace('_', " "))
}

/// A time, shown by how long ago it was; its exact value is in the tooltip and for programs.
pub(crate) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Html {
    let text = match (now - at).to_std() {
        Ok(since) => format!("{} ago", duration(since)),
        Err(_) => format!("in {}", duration((at - now).to_std().unwrap_or_default())),
    };
    time(at, &text)
}

/// A time, shown as such. The page's script shows it in the reader's time zone, if that is wished.
pub(crate) fn exact(at: DateTime<Utc>) -> Html {
    let text = at.format("%Y-%m-%d %H:%M:%S").to_string();
    let exact = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Safe(format!("<time class=\"exact\" datetime=\"{exact}\">{text}</time>"))
}

fn time(at: DateTime<Utc>, text: &str) -> Html {
    let exact = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let title = at.format("%Y-%m-%d %H:%M:%S UTC");
    Safe(format!("<time datetime=\"{exact}\" title=\"{title}\">{text}</time>"))
}

/// A length of time, in its two largest units at most.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..10 => format!("{:.1} s", length.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The same of a difference of times; nothing for a negative one.
pub(crate) fn length(delta: TimeDelta) -> String {
    duration(delta.to_std().unwrap_or_default())
}

/// A number with its thousands apart.
pub(crate) fn number(number: impl Into<i64>) -> String {
    let number: i64 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many bytes.
pub(crate) fn bytes(bytes: i64) -> String {
    let size = bytes.max(0) as f64;
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", size / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", size / 1_048_576.0),
        _ => format!("{:.1} GiB", size / 1_073_741_824.0),
    }
}

/// A text as a part of an address.
pub(crate) fn part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        let texts = [0, 12, 999, 1000, 1_234_567, -1234].map(|n: i64| number(n));
        assert_eq!(texts, ["0", "12", "999", "1,000", "1,234,567", "-1,234"]);
    }

    #[test]
    fn lengths_are_short() {
        let texts =
            [0.25, 12.9, 61.0, 3700.0, 200_000.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(texts, ["250 ms", "12 s", "1 min", "1 h 1 min", "2 d"]);
    }

    #[test]
    fn a_word_in_a_badge_is_text() {
        assert!(badge(Tone::Bad, "<b>").to_string().contains("&lt;b&gt;"));
    }

    #[test]
    fn sizes_are_in_the_largest_unit_that_fits() {
        assert_eq!(
            [5, 2048, 5 << 20, 3 << 30].map(bytes),
            ["5 B", "2.0 KiB", "5.0 MiB", "3.0 GiB"]
        );
    }
}
