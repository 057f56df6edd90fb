//! The table of runtimes, as tests: `cargo xtask runtimes` prints the same. A runtime that is not on this machine is
//! skipped, and says why.

use anyhow::{ensure, Result};
use spanlet_e2e::agent::Backend;
use spanlet_e2e::runtime::named;
use spanlet_e2e::table::{self, Outcome};

macro_rules! runtimes {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(mod $test {
            use spanlet_e2e::agent::Backend::{SocketTracepoints, SysExit};

            #[test]
            fn socket_tracepoints() -> anyhow::Result<()> { super::run($name, SocketTracepoints) }
            #[test]
            fn sys_exit() -> anyhow::Result<()> { super::run($name, SysExit) }
        })*

        #[test]
        fn every_runtime_is_tested() {
            let all: Vec<_> = spanlet_e2e::runtime::all().map(|runtime| runtime.name).collect();
            assert_eq!(all, [$($name),*]);
        }
    };
}

runtimes! {
    go: "go",
    python: "python",
    node: "node",
    java: "java",
    c: "c",
    go_stripped: "go-stripped",
    go_static: "go-static",
    go_pie: "go-pie",
    go_unoptimised: "go-unoptimised",
    go_1_19: "go-1.19",
    go_1_21: "go-1.21",
    go_1_22: "go-1.22",
    go_1_23: "go-1.23",
    go_1_24: "go-1.24",
    go_1_25: "go-1.25",
    python_flask: "python-flask",
    python_gunicorn: "python-gunicorn",
    python_gunicorn_threads: "python-gunicorn-threads",
    python_uvicorn: "python-uvicorn",
    python_uvicorn_uvloop: "python-uvicorn-uvloop",
    python_aiohttp: "python-aiohttp",
    node_express: "node-express",
    node_fastify: "node-fastify",
    node_fetch: "node-fetch",
    java_virtual_threads: "java-virtual-threads",
    java_tomcat: "java-tomcat",
    rust_tokio: "rust-tokio",
    rust_tokio_current_thread: "rust-tokio-current-thread",
    cpp_httplib: "cpp-httplib",
    ruby_puma: "ruby-puma",
    nginx_proxy: "nginx-proxy",
    php_fpm: "php-fpm",
    php_server: "php-server",
    dotnet: "dotnet",
}

fn run(name: &str, backend: Backend) -> Result<()> {
    let runtime = named(name)?;
    if let Some(why) = runtime.missing() {
        println!("skipped: runtime {name}: {why}");
        return Ok(());
    }
    let mut failed = Vec::new();
    for (case, outcome) in table::run(runtime, backend)? {
        match outcome {
            Outcome::Passed => {}
            Outcome::Lacking(why) => println!("{name}/{case}: not in this runtime: {why}"),
            Outcome::Failed(why) => {
                println!("{name}/{backend}/{case}: FAILED: {why}");
                failed.push(case);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
