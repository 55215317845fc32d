//! Owns what there is to say of a page to whoever writes a job file: where lists are, what leads to further pages
//! and is not used, what the API says of its rates, and in what order the records come; and of a page that failed
//! what was asked for and what came. Pure.

mod failure;
mod next_page;
mod order;
mod page;
mod ways;

pub(super) use self::failure::{of_answer, of_request};
pub(super) use self::page::examine;
