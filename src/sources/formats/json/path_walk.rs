//! Owns where in a document one is on the way to the rows, and what it means that the way ends.

use super::selector::Step;
use crate::domain::text::{self, quoted};

/// Keys that a message shows.
const SHOWN: usize = 8;

/// What a value is that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A row.
    Row,
    /// The list whose elements are rows.
    List,
    /// A list or object on the way to it.
    Way,
    /// Nothing of interest.
    Other,
}

/// A list or object on the way that is open.
#[derive(Debug, Default)]
struct Frame {
    /// The number of the element that comes.
    element: u64,
    /// The key that comes, if it is the one that is looked for.
    is_key: bool,
    /// Whether that key was there.
    had_key: bool,
}

/// What was met where a step was to be taken.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    /// Values at which the step was tried.
    tried: bool,
    /// Whether it was found anywhere.
    taken: bool,
    /// An empty list, or null: there nothing is missing.
    empty: bool,
}

/// Where one is.
#[derive(Debug)]
pub(super) struct Walk {
    selector: String,
    steps: Vec<Step>,
    wants_list: bool,
    /// The lists and objects on the way that are open, from the outermost.
    frames: Vec<Frame>,
    /// How deep the list of rows is that is open.
    list: Option<usize>,
    met: Vec<Met>,
    found: bool,
    /// The keys of the document, if it is an object, for messages.
    keys: Vec<String>,
    /// Whether the document is an object and should be a list.
    elsewhere: bool,
}

impl Walk {
    pub fn new(selector: &str, steps: Vec<Step>, wants_list: bool) -> Self {
        Self {
            selector: selector.to_owned(),
            met: vec![Met::default(); steps.len()],
            steps,
            wants_list,
            frames: Vec::new(),
            list: None,
            found: false,
            keys: Vec::new(),
            elsewhere: false,
        }
    }

    /// Whether the keys of the object that is open at this depth are of interest.
    pub fn wants_key(&self, depth: usize) -> bool {
        self.frames.len() == depth
    }

    /// A key of an object on the way.
    pub fn key(&mut self, key: String) -> Result<(), String> {
        let step = self.frames.len().checked_sub(1).and_then(|at| self.steps.get(at));
        if let (Some(step), Some(frame)) = (step, self.frames.last_mut()) {
            frame.is_key = matches!(step, Step::Key(wanted) if *wanted == key);
            if frame.is_key && frame.had_key {
                let key = quoted(&key);
                return Err(format!(
                    "the key {key} is there twice: it is unknown which value counts"
                ));
            }
            frame.had_key |= frame.is_key;
        }
        if self.frames.len() == 1 && self.keys.len() <= SHOWN {
            self.keys.push(key);
        }
        Ok(())
    }

    /// A value begins with this byte, within so many lists and objects.
    pub fn begins(&mut self, byte: u8, depth: usize) -> Result<Role, String> {
        if self.list.is_some() {
            return Ok(if self.list == Some(depth) { Role::Row } else { Role::Other });
        }
        if self.elsewhere || self.frames.len() != depth {
            return Ok(Role::Other);
        }
        if depth > 0 && !self.takes_step(depth - 1) {
            return Ok(Role::Other);
        }
        match self.steps.get(depth) {
            Some(_) => Ok(self.on_the_way(byte, depth)),
            None => self.target(byte, depth),
        }
    }

    /// Whether the step out of the frame at this depth leads to the value that begins.
    fn takes_step(&mut self, at: usize) -> bool {
        let (Some(frame), Some(step)) = (self.frames.get_mut(at), self.steps.get(at)) else {
            return false;
        };
        let number = frame.element;
        frame.element += 1;
        let taken = match step {
            Step::Key(_) => frame.is_key,
            Step::Element(wanted) => number == *wanted,
            Step::All => true,
        };
        self.met[at].taken |= taken;
        taken
    }

    fn on_the_way(&mut self, byte: u8, depth: usize) -> Role {
        let met = &mut self.met[depth];
        met.tried = true;
        let fits = match self.steps[depth] {
            Step::Key(_) => byte == b'{',
            Step::Element(_) => byte == b'[',
            Step::All => matches!(byte, b'[' | b'{'),
        };
        met.empty |= match self.steps[depth] {
            Step::Key(_) => false,
            Step::Element(_) => matches!(byte, b'[' | b'n'),
            Step::All => matches!(byte, b'[' | b'{' | b'n'),
        };
        if depth == 0 && byte == b'{' && !fits {
            self.elsewhere = true;
            return Role::Way;
        }
        if fits { Role::Way } else { Role::Other }
    }

    /// The value that the way leads to.
    fn target(&mut self, byte: u8, depth: usize) -> Result<Role, String> {
        self.found = true;
        match byte {
            // Several values are rows, whatever they are, if they are not lists of rows.
            _ if !self.wants_list && self.steps.last() == Some(&Step::All) => Ok(Role::Row),
            b'[' => Ok(Role::List),
            b'n' => Ok(Role::Other),
            b'{' if !self.wants_list => Ok(Role::Row),
            b'{' if depth == 0 => {
                self.elsewhere = true;
                Ok(Role::Way)
            }
            _ => {
                let is = match byte {
                    b'{' => "an object",
                    b'"' => "a text",
                    _ => "a number or word",
                };
                Err(format!(
                    "`json.data_selector` = `{}` expects a list, and there is {is}",
                    self.selector
                ))
            }
        }
    }

    /// A list or object was opened, which makes so many.
    pub fn opened(&mut self, role: Role, depth: usize) {
        match role {
            Role::Way => self.frames.push(Frame::default()),
            Role::List => self.list = Some(depth),
            Role::Row | Role::Other => {}
        }
    }

    /// The innermost of so many lists and objects is closed.
    pub fn closed(&mut self, depth: usize) {
        if self.list == Some(depth) {
            self.list = None;
        }
        if self.frames.len() == depth {
            self.frames.pop();
        }
    }

    /// The document has ended.
    ///
    /// # Errors
    /// When no rows are where they should be: that is no empty list.
    pub fn ended(&self) -> Result<(), String> {
        let selector = &self.selector;
        if self.elsewhere {
            let shown = self.object();
            return Err(format!(
                "`json.data_selector` = `{selector}` expects a list, and the document is {shown}: name the list in it, such \
                 as `$.{}[*]`",
                self.keys.first().map_or("items", String::as_str)
            ));
        }
        let is_gone = |(met, step): (&Met, &Step)| match step {
            Step::Key(_) => met.tried && !met.taken,
            Step::Element(_) | Step::All => met.tried && !met.taken && !met.empty,
        };
        let Some(at) = self.met.iter().zip(&self.steps).position(is_gone) else { return Ok(()) };
        let way: String = self.steps[..=at].iter().map(written).collect();
        Err(format!(
            "`json.data_selector` = `{selector}` finds nothing, since `${way}` leads nowhere: the document is {}",
            self.object()
        ))
    }

    /// The document in a few words.
    fn object(&self) -> String {
        if self.keys.is_empty() {
            return "a list, a value or an empty object".to_owned();
        }
        let shown: Vec<_> = self
            .keys
            .iter()
            .take(SHOWN)
            .map(|key| format!("`{}`", text::cut(key, text::MAX_QUOTED)))
            .collect();
        let more = if self.keys.len() > SHOWN { ", …" } else { "" };
        format!("an object with {}{more}", shown.join(", "))
    }
}

fn written(step: &Step) -> String {
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    match step {
        Step::Key(name) if is_name(name) => format!(".{name}"),
        Step::Key(name) => format!("['{name}']"),
        Step::Element(number) => format!("[{number}]"),
        Step::All => "[*]".to_owned(),
    }
}
