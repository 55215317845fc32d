//! Owns finding circles of imports between the files of one top folder.
//!
//! A file is a module. What it names behind `crate::`, `super::`, `self::` or as a child of its own it
//! imports; a re-export (`pub use`) imports nothing, but leads whoever names it to where the item is.
//! Tests do not count: they may look at a module from above.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Module = Vec<String>;

/// The modules that import each other, directly or over others, as groups of paths below `src/`.
pub fn circles(sources: &[(impl AsRef<Path>, String)]) -> Vec<BTreeSet<String>> {
    let tree = Tree::new(sources);
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        tree.code.keys().map(|module| (module, tree.imports(module))).collect();
    let mut groups: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for module in imports.keys() {
        let reached = reach(&imports, module);
        let back = |other: &&Module| reach(&imports, other).contains(*module);
        let group: BTreeSet<String> = reached.iter().filter(back).map(|m| m.join("/")).collect();
        if !group.is_empty() {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// All that a module imports, directly or over others.
fn reach(imports: &BTreeMap<&Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(module) = open.pop() {
        for imported in imports.get(&module).into_iter().flatten() {
            if reached.insert(imported.clone()) {
                open.push(imported.clone());
            }
        }
    }
    reached
}

struct Tree {
    /// The code of each module, without comments and tests.
    code: BTreeMap<Module, String>,
    /// What each module passes on: the name, and the path behind it.
    passed_on: BTreeMap<Module, Vec<(String, Module)>>,
}

impl Tree {
    fn new(sources: &[(impl AsRef<Path>, String)]) -> Self {
        let code: BTreeMap<Module, String> = sources
            .iter()
            .filter(|(path, _)| !is_test(path.as_ref()))
            .map(|(path, text)| (module(path.as_ref()), code_of(text)))
            .collect();
        let passed_on = code.iter().map(|(module, text)| {
            let paths = re_exports(text).flat_map(paths_of);
            let of = |path: Module| Some((path.last()?.clone(), absolute(module, path)));
            (module.clone(), paths.filter_map(of).collect())
        });
        let passed_on = passed_on.collect();
        Self { code, passed_on }
    }

    /// The modules of the same top folder that a module names.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let text = without_re_exports(&self.code[module]);
        let children = self.code.keys().filter(|other| {
            other.split_last().is_some_and(|(_, above)| above == module.as_slice())
        });
        let children: BTreeSet<&str> =
            children.filter_map(|child| child.last()).map(String::as_str).collect();
        let mut paths = Vec::new();
        for (at, start) in path_starts(&text, &children) {
            paths.extend(paths_of(&text[at..]).map(|path| (start, path)));
        }
        let absolute = paths.into_iter().map(|(_, path)| absolute(module, path));
        let found = absolute.filter_map(|path| self.resolve(&path, 0));
        found.filter(|other| other != module && other.first() == module.first()).collect()
    }

    /// The module in which the item of a path stands.
    fn resolve(&self, path: &Module, depth: usize) -> Option<Module> {
        let known =
            (1..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]))?;
        let module = path[..known].to_vec();
        let Some(item) = path.get(known) else { return Some(module) };
        if self.code[&module].contains(&format!("mod {item};")) {
            // A file from elsewhere, which knows nothing of this folder.
            return None;
        }
        let passed_on = self.passed_on[&module].iter().find(|(name, _)| name == item);
        match passed_on {
            Some((_, path)) if depth < 8 => self.resolve(path, depth + 1).or(Some(module)),
            _ => Some(module),
        }
    }
}

fn is_test(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.iter().any(|part| *part == "tests" || *part == "tests.rs" || part.ends_with("_tests.rs"))
}

fn module(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut parts: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The text up to its tests, without comments.
fn code_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(3).position(|lines| {
        lines[0] == "#[cfg(test)]" && lines[1..].iter().any(|line| line.starts_with("mod "))
    });
    let lines = lines[..tests.unwrap_or(lines.len())].iter();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    let lines: Vec<String> = lines.map(|line| without_visibility(line)).collect();
    lines.join("\n")
}

/// Where an item may be seen is no import: `pub(in crate::sources)` becomes `pub(crate)`.
fn without_visibility(line: &str) -> String {
    match line
        .split_once("pub(in ")
        .and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    {
        Some((before, (_, rest))) => format!("{before}pub(crate){rest}"),
        None => line.to_owned(),
    }
}

/// The paths of `pub use …;`, `pub(crate) use …;` and the like.
fn re_exports(text: &str) -> impl Iterator<Item = &str> {
    statements(text)
        .filter(|statement| is_re_export(statement))
        .filter_map(|statement| statement.split_once("use ").map(|(_, path)| path))
}

fn without_re_exports(text: &str) -> String {
    let kept: Vec<&str> = statements(text).filter(|statement| !is_re_export(statement)).collect();
    kept.join(";")
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(';')
}

fn is_re_export(statement: &str) -> bool {
    let last = statement.rfind("\npub").map_or(statement, |at| &statement[at + 1..]);
    let rest = last.trim_start().strip_prefix("pub");
    let rest = rest.map(|rest| match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map_or("", |(_, rest)| rest),
        None => rest,
    });
    rest.is_some_and(|rest| rest.trim_start().starts_with("use "))
}

/// Where paths begin that lead to modules of the crate.
fn path_starts<'c>(text: &str, children: &BTreeSet<&'c str>) -> Vec<(usize, &'c str)> {
    let mut starts = Vec::new();
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices("::") {
        let begin =
            text[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |b| b + 1);
        let name = &text[begin..at];
        let within = begin >= 2 && &bytes[begin - 2..begin] == b"::";
        let known = matches!(name, "crate" | "super" | "self") || children.contains(name);
        if known && !within {
            starts.push((begin, ""));
        }
    }
    starts
}

/// The paths that a text begins with: `a::{b, c::d}` are two.
fn paths_of(text: &str) -> impl Iterator<Item = Module> + use<> {
    let mut found = Vec::new();
    let mut rest = text;
    tree(&mut rest, Vec::new(), &mut found);
    found.into_iter()
}

fn tree(rest: &mut &str, mut above: Module, found: &mut Vec<Module>) {
    loop {
        *rest = rest.trim_start();
        if let Some(list) = rest.strip_prefix('{') {
            *rest = list;
            loop {
                *rest = rest.trim_start();
                if let Some(end) = rest.strip_prefix('}') {
                    *rest = end;
                    return;
                }
                let before = rest.len();
                tree(rest, above.clone(), found);
                *rest = rest.trim_start();
                *rest = rest.strip_prefix(',').unwrap_or(rest);
                if rest.len() == before {
                    return;
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        *rest = &rest[end..];
        if name.is_empty() {
            *rest = rest.strip_prefix('*').unwrap_or(rest);
            found.push(above);
            return;
        }
        // `{self, …}` is the module itself.
        if name != "self" || above.is_empty() {
            above.push(name.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(next) => *rest = next,
            None => {
                let renamed = rest.trim_start().strip_prefix("as ");
                if let Some(renamed) = renamed {
                    let end = renamed.find(|c: char| !c.is_alphanumeric() && c != '_');
                    *rest = &renamed[end.unwrap_or(renamed.len())..];
                }
                found.push(above);
                return;
            }
        }
    }
}

/// A path from the root of the crate.
fn absolute(module: &Module, path: Module) -> Module {
    let mut whole = module.clone();
    let mut rest = path.into_iter().peekable();
    match rest.peek().map(String::as_str) {
        Some("crate") => {
            rest.next();
            whole.clear();
        }
        Some("self") => {
            rest.next();
        }
        _ => {}
    }
    while rest.next_if(|part| part == "super").is_some() {
        whole.pop();
    }
    whole.extend(rest);
    whole
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let circle = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(p, t)| (Path::new(p), (*t).to_owned())).collect();
        let names = |group: BTreeSet<String>| group.into_iter().collect::<Vec<_>>().join(" ");
        circles(&files).into_iter().map(names).collect::<Vec<_>>()
    };
    let found = ["a/b a/c"];
    assert_eq!(circle(&[("a/b.rs", "use super::c::X;"), ("a/c.rs", "use crate::a::b::Y;")]), found);
    assert_eq!(
        circle(&[("a/b.rs", "use crate::{a::{c}, d};"), ("a/c.rs", "fn f() { super::b::g() }")]),
        found
    );
    let passed_on = ("a/mod.rs", "mod b;\nmod c;\npub use b::{X, Y as Z};");
    assert_eq!(
        circle(&[passed_on, ("a/b.rs", "use super::c;"), ("a/c.rs", "use super::X;")]),
        found
    );
    assert_eq!(
        circle(&[("a/mod.rs", "mod b;\nfn f() { b::g() }"), ("a/b.rs", "use super::f;")]),
        ["a a/b"]
    );
    let tests = "fn g() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::c;\n}\n";
    assert!(circle(&[("a/b.rs", tests), ("a/c.rs", "use super::b::g;")]).is_empty());
    assert!(circle(&[passed_on, ("a/b.rs", ""), ("a/c.rs", "use super::X;")]).is_empty());
}
