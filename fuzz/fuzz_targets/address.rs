#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| smtp_gateway_fuzz::address::check(octets));
