//! The stream catalogue: the read model behind browse, details, statistics and search.
