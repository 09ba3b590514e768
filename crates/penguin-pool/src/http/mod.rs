//! The HTTP kit: extractors, the error body, documents. The only module that names aide.
