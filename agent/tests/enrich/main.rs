//! Room 4, from outside: steps in, spans out.

mod askers;
mod contexts;
mod growth;
mod habits;
mod hands;
mod held;
mod learned;
mod lifecycle;
mod loops;
mod parents;
mod properties;
mod proxies;
mod redaction;
mod refusals;
mod relays;
mod resources;
mod semantics;
mod steps;
mod tasks;
mod threads;
mod trust;
mod turns;
mod wires;
