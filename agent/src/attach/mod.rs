//! Room 1: processes in, attached probes out (dropped with the process).
