//! The attack classes of the field, each against the running gateway. The ids are those of the
//! project's threat list.

mod smuggling;
mod t01_smuggling;
mod t02_smuggling_out;
mod t03_added_octets;
mod t04_starttls_injection;
mod t05_auth_state;
mod t06_auth_parsing;
mod t07_injection;
mod t08_address_differentials;
mod t09_sender_spoofing;
mod t10_bdat;
mod t12_mime_bombs;
mod t14_proxy_header;
mod t15_cross_protocol;
mod t17_look_ups;
mod t18_paths;
mod t19_hostile_apis;
mod t21_eight_bit;
mod t26_time;
mod t29_tls;
mod t30_supply_chain;
