//! Owns what a kind of source sees of a job file to report what is wrong with it.

use serde::de::DeserializeOwned;

use super::document::Document;
use super::error::Problem;

/// A kind of source, as far as job files go.
pub trait KindRules {
    /// The value of `kind`, and the name of the table with the parameters.
    fn name(&self) -> &str;

    /// Whether it reads files, and takes the table that says where they are.
    fn reads_files(&self) -> bool;

    /// Says what is wrong with the parameters and the fields, wherever the source will be read.
    fn inspect(&self, job: &mut Inspection<'_>);
}

/// A kind of which only the name is known.
impl KindRules for &str {
    fn name(&self) -> &str {
        self
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn inspect(&self, _: &mut Inspection<'_>) {}
}

/// A job file under inspection.
pub struct Inspection<'a> {
    document: &'a Document<'a>,
    kind: &'a str,
    /// What keeps the job file from being used.
    pub(super) problems: Vec<Problem>,
    /// What may be meant, but hardly is.
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(document: &'a Document<'a>, kind: &'a str) -> Self {
        Self { document, kind, problems: Vec::new(), warnings: Vec::new() }
    }

    /// The parameters of the kind; what is wrong with their types is reported. `None` when they cannot be
    /// read, even without what is wrong.
    pub fn params<P: DeserializeOwned>(&mut self) -> Option<P> {
        self.document.read(&[self.kind], &mut self.problems)
    }

    /// The table of this name, or what `P` is without a word, where there is none; what is wrong with
    /// its types is said. `None` when it cannot be read, even without what is wrong.
    pub fn table<P: DeserializeOwned + Default>(&mut self, name: &str) -> Option<P> {
        match self.document.has(&[name]) {
            true => self.document.read(&[name], &mut self.problems),
            false => Some(P::default()),
        }
    }

    /// Whether there is anything where `keys` lead to.
    pub fn has(&self, keys: &[&str]) -> bool {
        self.document.has(keys)
    }

    /// Whether the last of the keys is there under another name, which was said already.
    pub fn is_misspelt(&self, keys: &[&str]) -> bool {
        let Some((key, table)) = keys.split_last() else { return false };
        let meant = format!("; did you mean `{key}`?");
        let within = |problem: &Problem| {
            problem.keys.len() == keys.len() && problem.keys.iter().zip(table).all(|(a, b)| a == b)
        };
        self.problems.iter().any(|problem| within(problem) && problem.message.ends_with(&meant))
    }

    /// Says what is wrong with the value that `keys` lead to, numbers being places in lists; unless
    /// something is known to be wrong there.
    pub fn problem(&mut self, keys: &[&str], message: impl Into<String>) {
        let known =
            |problem: &Problem| problem.keys.iter().zip(keys).all(|(one, other)| one == other);
        if self.problems.iter().any(known) {
            return;
        }
        self.problems.push(self.document.problem_at(keys, message));
    }

    /// Says what is odd about the value that `keys` lead to.
    pub fn warning(&mut self, keys: &[&str], message: impl Into<String>) {
        self.warnings.push(self.document.problem_at(keys, message));
    }

    /// The names of the fields whose tables have that key, in the order of the file.
    pub fn fields_with(&self, key: &str) -> Vec<String> {
        let mut names = self.document.keys(&["fields"]);
        names.retain(|name| self.document.has(&["fields", name, key]));
        names
    }

    /// The names of the fields whose tables have none of the keys.
    pub fn fields_without(&self, keys: &[&str]) -> Vec<String> {
        let mut names = self.document.keys(&["fields"]);
        names.retain(|name| !keys.iter().any(|key| self.document.has(&["fields", name, key])));
        names
    }

    /// The text that `keys` lead to.
    pub fn text(&self, keys: &[&str]) -> Option<&'a str> {
        self.document.text_at(keys)
    }
}
