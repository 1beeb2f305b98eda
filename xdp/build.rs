//! Compiles the C part of the capture by DPDK, if the feature `dpdk` asks for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "dpdk")]
    dpdk();
}

#[cfg(feature = "dpdk")]
fn dpdk() {
    const SHIM: &str = "src/dpdk/sys/shim.c";
    println!("cargo::rerun-if-changed={SHIM}");
    let found = pkg_config::Config::new().atleast_version("22.11").probe("libdpdk");
    let library = match found {
        Ok(library) => library,
        Err(error) => {
            println!(
                "cargo::error=the feature `dpdk` needs DPDK 22.11 or later with its headers; on Debian: apt-get install libdpdk-dev"
            );
            error.to_string().lines().for_each(|line| println!("cargo::error={line}"));
            std::process::exit(1);
        }
    };
    let mut build = cc::Build::new();
    build.file(SHIM).includes(&library.include_paths).define("_GNU_SOURCE", None);
    // Headers rely on both, and the library above has lost them.
    build.flag("-include").flag("rte_config.h");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        build.flag("-march=corei7");
    }
    build.warnings(true).extra_warnings(false).compile("wt_dpdk");
}
