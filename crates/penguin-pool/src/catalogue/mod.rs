//! The stream catalogue: the read model behind browse, details, statistics and search.

mod error;
mod types;

pub use error::{CatalogueError, Result};
pub use types::{
    BrowseFilter, BrowsePage, CatalogueStream, Condition, Freshness, Hit, Lag, MAX_PAGE, Operator, Progress,
    SearchFilter, SearchPage, Statistics,
};
