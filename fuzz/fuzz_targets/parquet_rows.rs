//! Any bytes as a file of Parquet: rows, each a line of JSON, or an error; and no more memory than the limit says.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

use kasparro_fuzz::sources::files::format::RowFormat;
use kasparro_fuzz::sources::formats::parquet::{Parquet, ParquetParams};
use libfuzzer_sys::fuzz_target;

/// Bytes that reading a file may take: what the reader says, and a row of 64 MiB in a text that grew for it.
const MOST: usize = (120 + 2 * 64 + 8) << 20;
/// Bytes of lines that are looked at.
const LOOKED_AT: u64 = 1 << 20;

#[global_allocator]
static MEMORY: Counted = Counted { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };

/// Counts what is allocated.
struct Counted {
    now: AtomicUsize,
    most: AtomicUsize,
}

// SAFETY: the allocator of the system does everything.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

fuzz_target!(
    // The reader's panics are caught, and are no failures; those of this target are.
    init: std::panic::set_hook(Box::new(|panic| {
        if panic.location().is_some_and(|at| at.file().ends_with("parquet_rows.rs")) {
            eprintln!("{panic}");
        }
    })),
    |input: &[u8]| {
        let before = MEMORY.now.load(Ordering::Relaxed);
        MEMORY.most.store(before, Ordering::Relaxed);
        let format = Parquet::new(ParquetParams::default(), Vec::new()).expect("parameters");
        let file = Box::new(Cursor::new(input.to_vec()));
        let mut text = Vec::new();
        let read = format.content("f.parquet", file, 1 << 20).and_then(|rows| {
            rows.take(LOOKED_AT).read_to_end(&mut text)
        });
        let most = MEMORY.most.load(Ordering::Relaxed) - before;
        assert!(most <= MOST, "{most} bytes were allocated at once");
        if read.is_err() || text.len() as u64 == LOOKED_AT {
            return;
        }
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line)
                .expect("an object");
        }
    }
);
