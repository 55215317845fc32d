//! Owns what a login sends: JSON or a form of a job file, in which secrets are named and never written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::authorize::SecretKey;
use crate::job_file::setting::{Secret, SecretText};
use crate::sources::SourceError;

/// What the names of values have that hold secrets.
const SUSPICIOUS: &[&str] = &["password", "passwd", "secret", "token", "apikey"];

/// The fields of a login.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(transparent)]
pub struct LoginBody(#[schemars(with = "BTreeMap<String, Value>")] BTreeMap<String, Entry>);

/// A value of a login.
#[derive(Debug, Clone)]
enum Entry {
    /// Kept elsewhere: `{ env = "X" }` or `{ file = "…" }`.
    Secret(Secret),
    Table(BTreeMap<String, Entry>),
    List(Vec<Entry>),
    Plain(Value),
}

impl LoginBody {
    /// The fields with their values; each secret is told with its key.
    ///
    /// # Errors
    /// When a secret cannot be read, or cannot be told.
    pub fn resolve(
        &self,
        at: &str,
        base_dir: &Path,
        tell: &mut dyn FnMut(&SecretText, &str) -> Result<(), SourceError>,
    ) -> Result<Map<String, Value>, SourceError> {
        let mut fields = Map::new();
        for (name, entry) in &self.0 {
            let value = entry.resolve(&format!("{at}.{name}"), base_dir, tell)?;
            fields.insert(name.clone(), value);
        }
        Ok(fields)
    }

    /// The secrets, with their keys below the table `at`.
    pub fn secrets(&self, at: &str) -> Vec<SecretKey<'_>> {
        let mut secrets = Vec::new();
        for (name, entry) in &self.0 {
            entry.secrets(&format!("{at}.{name}"), &mut secrets);
        }
        secrets
    }

    /// What describes it without a secret, for the name of the token.
    pub fn described(&self) -> String {
        format!("{:?}", self.0)
    }

    /// The first value that looks like a secret that was written out.
    pub fn suspicious(&self) -> Option<&str> {
        suspicious(&self.0)
    }

    /// Whether there is something that a form cannot hold.
    pub fn is_nested(&self) -> bool {
        self.0.values().any(|entry| matches!(entry, Entry::Table(_) | Entry::List(_)))
    }
}

fn suspicious(fields: &BTreeMap<String, Entry>) -> Option<&str> {
    fields.iter().find_map(|(name, entry)| match entry {
        Entry::Table(fields) => suspicious(fields),
        Entry::Plain(Value::String(text)) if !text.is_empty() => {
            let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            let letters = letters.to_ascii_lowercase();
            SUSPICIOUS.iter().any(|word| letters.contains(word)).then_some(name.as_str())
        }
        Entry::Plain(_) | Entry::Secret(_) | Entry::List(_) => None,
    })
}

impl Entry {
    /// `value` as a job file has it. A table of one text under `env` or `file` is a secret.
    fn of(value: Value) -> Self {
        match value {
            Value::Object(fields) => {
                let only = (fields.len() == 1).then(|| fields.iter().next()).flatten();
                match only.map(|(name, value)| (name.as_str(), value)) {
                    Some(("env", Value::String(env))) => {
                        Self::Secret(Secret::Env { env: env.clone() })
                    }
                    Some(("file", Value::String(file))) => {
                        Self::Secret(Secret::File { file: file.into() })
                    }
                    _ => Self::Table(
                        fields.into_iter().map(|(name, value)| (name, Self::of(value))).collect(),
                    ),
                }
            }
            Value::Array(items) => Self::List(items.into_iter().map(Self::of).collect()),
            plain => Self::Plain(plain),
        }
    }

    fn resolve(
        &self,
        at: &str,
        base_dir: &Path,
        tell: &mut dyn FnMut(&SecretText, &str) -> Result<(), SourceError>,
    ) -> Result<Value, SourceError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Secret(secret) => {
                let text = secret.resolve(at, base_dir)?;
                tell(&text, at)?;
                text.expose().into()
            }
            Self::Table(fields) => {
                let mut table = Map::new();
                for (name, entry) in fields {
                    let value = entry.resolve(&format!("{at}.{name}"), base_dir, tell)?;
                    table.insert(name.clone(), value);
                }
                table.into()
            }
            Self::List(items) => {
                let items = items.iter().map(|item| item.resolve(at, base_dir, tell));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
        })
    }

    fn secrets<'a>(&'a self, at: &str, found: &mut Vec<SecretKey<'a>>) {
        match self {
            Self::Plain(_) => {}
            Self::Secret(secret) => {
                let key = Cow::Owned(at.to_owned());
                found.push(SecretKey { key, secret, optional: false });
            }
            Self::Table(fields) => {
                for (name, entry) in fields {
                    entry.secrets(&format!("{at}.{name}"), found);
                }
            }
            Self::List(items) => items.iter().for_each(|item| item.secrets(at, found)),
        }
    }
}

impl<'de> Deserialize<'de> for LoginBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<String, Value>::deserialize(deserializer)?;
        Ok(Self(fields.into_iter().map(|(name, value)| (name, Entry::of(value))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_named_at_any_depth_and_told_when_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "s3cr3t\n").unwrap();
        let body: LoginBody = toml::from_str(
            "user = \"me\"\nn = 1\nauth = { password = { file = \"pw\" }, kind = \"x\" }\nenvs = { env = 1 }",
        )
        .unwrap();
        let mut told = Vec::new();
        let mut tell = |text: &SecretText, key: &str| {
            told.push(format!("{key}={}", text.expose()));
            Ok(())
        };
        let fields = body.resolve("auth.json", folder.path(), &mut tell).unwrap();
        let expected = json!({
            "user": "me", "n": 1, "auth": { "password": "s3cr3t", "kind": "x" }, "envs": { "env": 1 },
        });
        assert_eq!(Value::Object(fields), expected);
        assert_eq!(told, ["auth.json.auth.password=s3cr3t"]);
        let keys: Vec<_> =
            body.secrets("json").iter().map(|key| key.key.clone().into_owned()).collect();
        assert_eq!(keys, ["json.auth.password"]);
        assert!(!body.described().contains("s3cr3t") && body.is_nested());
        assert_eq!(body.suspicious(), None);
    }

    #[test]
    fn a_password_that_is_written_out_is_noticed() {
        for line in ["Pass_Word = \"x\"", "a = { api-key = \"x\" }", "client_secret = \"x\""] {
            let body: LoginBody = toml::from_str(line).unwrap();
            assert!(body.suspicious().is_some(), "{line}");
        }
    }
}
