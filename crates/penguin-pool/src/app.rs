//! Wiring: settings in, a served router out.
