//! Health: what was measured, nothing assumed.
