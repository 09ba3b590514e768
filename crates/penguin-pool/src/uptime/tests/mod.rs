//! The feature as a whole, on a store in memory and on time that tests move: nothing here waits for real.

mod bed;
mod instances;
mod outage;
mod snapshots;
mod watching;
