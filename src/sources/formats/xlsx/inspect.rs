//! Owns what is wrong with the fields of a job file for workbooks: that they are found in some other way than columns are.

use crate::job_file::Inspection;

/// What is wrong on every machine.
pub(super) fn fields(job: &mut Inspection<'_>) {
    for name in job.fields_with("from") {
        let keys = ["fields", name.as_str(), "from"];
        let message =
            "looks into JSON, and this source reads columns: write column = \"…\" instead";
        job.problem(&keys, message);
    }
}
