//! What kasparro ships in `jobs/`, file by file. Tests, benches and scripts work on copies of these
//! files only: whoever tries kasparro out puts further files into that folder.

use std::path::Path;

/// Job files and what they read, below `jobs/`.
pub const FILES: [&str; 13] = [
    "coingecko_api.toml",
    "products_csv.toml",
    "vendors_csv.toml",
    "data/products.csv",
    "data/vendors.csv",
    "recordings/coingecko_api/page-0001.json",
    "recordings/coingecko_api/page-0002.json",
    "recordings/coingecko_api/page-0003.json",
    "recordings/coingecko_api/page-0004.json",
    "recordings/coingecko_api/page-0005.json",
    "recordings/coingecko_api/expected.jsonl",
    "recordings/products_csv/expected.jsonl",
    "recordings/vendors_csv/expected.jsonl",
];

/// Copies what ships into another folder.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_to(folder: &Path) -> std::io::Result<()> {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    for file in FILES {
        let target = folder.join(file);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(jobs.join(file), target)?;
    }
    Ok(())
}
