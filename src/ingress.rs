//! The doors that mail comes in through. They know `submission` and `auth`, and no way out.

pub mod smtp;
