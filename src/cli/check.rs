//! Shows the settings in force. What is wrong with them was told while they were loaded.

use std::io;

use crate::cli::tell;
use crate::config::Loaded;

pub(super) fn run(loaded: &Loaded) {
    let Loaded { config, origins } = loaded;
    tell(&mut io::stdout(), config.describe(origins).trim_end());
}
