//! Owns walking through what Parquet writes in Thrift's compact protocol, without making anything of it.

/// Structures in structures that are passed over.
const MOST_DEEP: usize = 64;

/// Why a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end within it.
    Cut,
    /// It is none.
    Damaged,
}

/// What a field holds, of what matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// A whole number.
    Number(i64),
    /// Whether something is so.
    Truth(bool),
    /// A list of structures, as many as that, each to be walked through.
    Structs(u64),
    /// A structure, to be walked through.
    Struct,
    /// Anything else, which was passed over.
    Other,
}

/// Bytes that are walked through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'b> {
    rest: &'b [u8],
}

impl<'b> Walk<'b> {
    /// Begins with a structure.
    pub fn of(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Walks through a structure. `visit` sees each field; it walks through a structure in it, or a list of these, or answers
    /// false, and they are passed over.
    pub fn structure(
        &mut self,
        mut visit: impl FnMut(i64, Held, &mut Self) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            match kind {
                1 | 2 => {
                    visit(id, Held::Truth(kind == 1), self)?;
                }
                4..=6 => {
                    let number = self.number()?;
                    visit(id, Held::Number(number), self)?;
                }
                9 => {
                    let (length, element) = self.list()?;
                    let walked = element == 12 && visit(id, Held::Structs(length), self)?;
                    if !walked {
                        self.pass_elements(length, element, 0)?;
                    }
                }
                12 => {
                    if !visit(id, Held::Struct, self)? {
                        self.pass(12, 0)?;
                    }
                }
                kind => {
                    self.pass(kind, 0)?;
                    visit(id, Held::Other, self)?;
                }
            }
        }
        Ok(())
    }

    /// The kind of the next field; `None` behind the last.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, Stop> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *id = match head >> 4 {
            0 => self.number()?,
            more => id.saturating_add(i64::from(more)),
        };
        // Others would be shortened by whoever reads it.
        if i16::try_from(*id).is_err() {
            return Err(Stop::Damaged);
        }
        Ok(Some(head & 0x0f))
    }

    fn list(&mut self) -> Result<(u64, u8), Stop> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            length => u64::from(length),
        };
        Ok((length, head & 0x0f))
    }

    fn pass(&mut self, kind: u8, deep: usize) -> Result<(), Stop> {
        if deep > MOST_DEEP {
            return Err(Stop::Damaged);
        }
        match kind {
            1 | 2 => Ok(()),
            3 => self.take(1),
            4..=6 => self.varint().map(drop),
            7 => self.take(8),
            8 => {
                let length = self.varint()?;
                self.take(length)
            }
            9 | 10 => {
                let (length, element) = self.list()?;
                self.pass_elements(length, element, deep)
            }
            11 => {
                let length = self.varint()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..length {
                    self.pass_element(kinds >> 4, deep)?;
                    self.pass_element(kinds & 0x0f, deep)?;
                }
                Ok(())
            }
            12 => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.pass(kind, deep + 1)?;
                }
                Ok(())
            }
            13 => self.take(16),
            _ => Err(Stop::Damaged),
        }
    }

    fn pass_elements(&mut self, length: u64, kind: u8, deep: usize) -> Result<(), Stop> {
        (0..length).try_for_each(|_| self.pass_element(kind, deep))
    }

    /// In lists and maps a truth value takes a byte, in structures none.
    fn pass_element(&mut self, kind: u8, deep: usize) -> Result<(), Stop> {
        match kind {
            1 | 2 => self.take(1),
            kind => self.pass(kind, deep + 1),
        }
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Damaged)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (first, rest) = self.rest.split_first().ok_or(Stop::Cut)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, length: u64) -> Result<(), Stop> {
        let length = usize::try_from(length).map_err(|_| Stop::Cut)?;
        self.rest = self.rest.get(length..).ok_or(Stop::Cut)?;
        Ok(())
    }
}
