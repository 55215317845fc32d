//! Secrets that must never be found again, and the places where they are looked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sqlx::AssertSqlSafe;

use crate::app::TestApp;

/// A secret, and a part of it that is the same in JSON, in addresses and in HTML.
#[derive(Debug, Clone)]
pub struct Canary {
    /// The secret.
    pub text: String,
    /// Letters and digits of it; so many are in nothing else.
    pub core: String,
}

impl Canary {
    pub fn new(text: &str, core: &str) -> Self {
        assert!(text.contains(core) && core.len() >= 12, "{text}");
        Self { text: text.to_owned(), core: core.to_owned() }
    }

    /// How the core may be written: as it is, in small letters, in hexadecimal digits, and in base64
    /// wherever it stands in what is encoded.
    pub fn spellings(&self) -> Vec<String> {
        let hex: String = self.core.bytes().map(|byte| format!("{byte:02x}")).collect();
        let base64 = (0..3).map(|before| {
            let bytes = [&vec![0; before], self.core.as_bytes()].concat();
            let encoded = STANDARD_NO_PAD.encode(&bytes);
            // The digits at both ends are made of the neighbours, too.
            let (first, last) = (if before > 0 { before + 1 } else { 0 }, bytes.len() * 8 / 6);
            encoded[first..last].to_owned()
        });
        let plain = [self.core.clone(), self.core.to_lowercase(), hex.to_uppercase(), hex];
        plain.into_iter().chain(base64).collect()
    }
}

/// That none of the secrets is in a text.
#[track_caller]
pub fn assert_text_is_clean(canaries: &[Canary], what: &str, text: &str) {
    for spelling in canaries.iter().flat_map(Canary::spellings) {
        if let Some(at) = text.find(&spelling) {
            let from = text.floor_char_boundary(at.saturating_sub(300));
            let around: String = text[from..].chars().take(600).collect();
            panic!("{what} holds {spelling}:\n{around}");
        }
    }
}

/// Looks for the secrets in every column of every table of the database, whoever's it is.
pub async fn assert_tables_are_clean(app: &TestApp, canaries: &[Canary]) {
    let tables = app
        .texts(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables
             where table_schema not in ('pg_catalog', 'information_schema')
               and table_type = 'BASE TABLE'",
        )
        .await;
    for known in ["apalis.jobs", "public.run_tasks", "public.raw_api_data", "public.api_tokens"] {
        assert!(tables.iter().any(|table| table == known), "{known} is not in {tables:?}");
    }
    for table in tables {
        // A row as text is all its columns, bytes as hexadecimal digits.
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("select t::text from {table} t")))
                .fetch_all(&app.pool)
                .await
                .unwrap();
        for row in rows {
            assert_text_is_clean(canaries, &table, &row);
        }
    }
}

#[test]
fn a_canary_is_found_in_every_spelling() {
    let canary = Canary::new("a+q9Zx7Lk2Vb4Nm/1", "q9Zx7Lk2Vb4Nm");
    let found = |text: &str| canary.spellings().iter().any(|spelling| text.contains(spelling));
    for before in ["", "x", "xy", "xyz", "Bearer "] {
        for behind in ["", "/", "/1", "/12"] {
            let text = format!("{before}{}{behind}", canary.core);
            assert!(found(&text) && found(&text.to_lowercase()), "{text}");
            assert!(found(&STANDARD_NO_PAD.encode(&text)), "{text}");
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(found(&hex) && found(&hex.to_uppercase()), "{text}");
        }
    }
    assert!(!found("q9Zx7Lk2Vb4N"));
}
