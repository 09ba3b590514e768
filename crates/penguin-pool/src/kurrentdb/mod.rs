//! `/kurrentdb/*`: the KurrentDB node's own HTTP interface, passed through.
