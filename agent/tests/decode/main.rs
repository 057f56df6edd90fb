//! Room 3 as the pipeline uses it: scripted conversations in, the exchanges they make compared.

mod cases;
mod ends;
mod fastcgi;
mod kernel;
mod losses;
mod moves;
mod others;
mod properties;
mod routes;
mod tasks;
mod times;
mod tls;
mod turns;
