//! Secrets given as files: `password_file = "/run/secrets/p"` stands for the `password` in it.
//!
//! Holds at any level, in lists of tables too. Files are read after all sources are merged, so one
//! that a stronger source replaces need not exist.

use std::path::Path;

use figment::value::Dict;
use figment::value::Value;

use crate::config::key_path::KeyPath;
use crate::config::settings::Settings;
use crate::config::text_file;

impl Settings {
    /// Puts the content of each secret's file in the place of its name.
    pub(super) fn read_secret_files(&mut self, value: &mut Value, at: &KeyPath) {
        match value {
            Value::Array(_, list) => {
                for (n, entry) in list.iter_mut().enumerate() {
                    self.read_secret_files(entry, &at.child(&n.to_string()));
                }
            }
            Value::Dict(_, table) => {
                let vocabulary = self.vocabulary;
                let (files, kept) = std::mem::take(table)
                    .into_iter()
                    .partition(|(level, _)| vocabulary.secret_behind(level).is_some());
                *table = kept;
                for (level, file) in files {
                    let Some(secret) = vocabulary.secret_behind(&level) else {
                        continue;
                    };
                    if let Some(content) = self.secret_in(&file, &at.child(&level), table) {
                        table.insert(secret.to_owned(), content.into());
                    }
                }
                for (level, entry) in table {
                    self.read_secret_files(entry, &at.child(level));
                }
            }
            _ => {}
        }
    }

    /// The content of a secret's file, unless the table around it has the secret too.
    fn secret_in(&mut self, file: &Value, key: &KeyPath, table: &Dict) -> Option<String> {
        let secret = self.vocabulary.twin(key)?;
        let content = match file.as_str() {
            _ if table.contains_key(secret.last()) => {
                Err(format!("{} is given too; keep one", secret.last()))
            }
            Some(path) => read(Path::new(path)).map_err(|why| format!("{path} {why}")),
            None => Err("expected the path of a file".to_owned()),
        };
        match content {
            Ok(content) => {
                if let Some(source) = self.origins.remove(key) {
                    self.origins.insert(secret, source);
                }
                Some(content)
            }
            Err(message) => {
                self.add_fault(key, message);
                self.broken.insert(secret);
                None
            }
        }
    }
}

/// Reads a secret, less the one line break that editors and `echo` put at the end.
///
/// # Errors
/// Why it cannot be used, as words that go on from the file's path; never with content.
pub fn read(path: &Path) -> Result<String, String> {
    let mut text = text_file::read(path, BOUND).map_err(|error| error.to_string())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    match text.is_empty() {
        true => Err("is empty".to_owned()),
        false => Ok(text),
    }
}

/// Octets. Room for a private key.
const BOUND: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use crate::config::testing::Config;
    use crate::config::testing::Scene;

    fn password(scene: &Scene) -> String {
        scene.config().auth.password.unwrap().0
    }

    #[test]
    fn a_secret_is_read_from_the_file_that_any_source_names() {
        let scene = Scene::new().put("p", b"hunter2");
        assert_eq!(
            password(&scene.toml("auth.password_file = \"{folder}p\"")),
            "hunter2"
        );
        for name in ["SMTP_PASSWORD_FILE", "GATEWAY__AUTH__PASSWORD_FILE"] {
            let scene = Scene::new()
                .put("p", b"hunter2")
                .variable(name, "{folder}p");
            assert_eq!(password(&scene), "hunter2");
        }
    }

    #[test]
    fn exactly_one_line_break_at_the_end_is_dropped() {
        for (content, secret) in [
            ("p\n", "p"),
            ("p\r\n", "p"),
            ("p\n\n", "p\n"),
            (" p \n", " p "),
            ("p\r", "p\r"),
        ] {
            let scene = Scene::new().put("p", content.as_bytes());
            assert_eq!(
                password(&scene.toml("auth.password_file = \"{folder}p\"")),
                secret
            );
        }
    }

    #[test]
    fn what_a_secret_file_holds_has_no_type() {
        let scene = Scene::new()
            .put("p", b"0755\n")
            .variable("SMTP_PASSWORD_FILE", "{folder}p");
        assert_eq!(password(&scene), "0755");
    }

    #[test]
    fn files_are_read_inside_lists_of_tables_and_maps() {
        let toml = "[[auth.keys]]\nname = \"a\"\nkey_file = \"{folder}k\"\n\
                    [auth.accounts.bob]\npassword_file = \"{folder}k\"";
        let config = Scene::new().put("k", b"sesame\n").toml(toml).config();
        assert_eq!(config.auth.keys[0].key.0, "sesame");
        assert_eq!(
            config.auth.accounts["bob"].password.as_ref().unwrap().0,
            "sesame"
        );
    }

    #[test]
    fn files_are_read_inside_a_list_that_comes_in_one_variable() {
        let list = r#"[{ name = "a", key_file = "{folder}k" }]"#;
        let scene = Scene::new()
            .put("k", b"sesame\n")
            .variable("GATEWAY__AUTH__KEYS", list);
        assert_eq!(scene.config().auth.keys[0].key.0, "sesame");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_key_and_only_once() {
        let toml = "[auth]\npassword_file = \"{folder}none\"\npin_file = 5\n\
                    [[auth.keys]]\nname = \"a\"\nkey_file = \"{folder}binary\"\n\
                    [[auth.keys]]\nname = \"b\"\nkey_file = \"{folder}empty\"";
        let scene = Scene::new()
            .put("binary", b"\xff")
            .put("empty", b"\n")
            .toml(toml);
        assert_eq!(
            scene.faults(),
            [
                "gateway.toml: auth.password_file: none cannot be read: No such file or directory (os error 2)",
                "gateway.toml: auth.pin_file: expected the path of a file",
                "gateway.toml: auth.keys[0].key_file: binary is not UTF-8",
                "gateway.toml: auth.keys[1].key_file: empty is empty",
            ]
        );
    }

    #[test]
    fn one_source_may_not_give_both_forms() {
        let scene = Scene::new()
            .put("p", b"hunter2")
            .variable("SMTP_PASSWORD", "hunter3")
            .variable("GATEWAY__AUTH__PASSWORD_FILE", "{folder}p");
        assert_eq!(
            scene.faults(),
            ["GATEWAY__AUTH__PASSWORD_FILE: auth.password_file: password is given too; keep one"]
        );
    }

    #[test]
    fn a_stronger_source_replaces_the_other_form_and_its_file_need_not_exist() {
        let scene = Scene::new()
            .toml("auth.password_file = \"/nonexistent\"")
            .variable("SMTP_PASSWORD", "hunter3");
        assert_eq!(password(&scene), "hunter3");
    }

    #[test]
    fn the_origin_of_a_secret_is_the_variable_that_named_its_file() {
        let scene = Scene::new()
            .put("p", b"p")
            .variable("SMTP_PASSWORD_FILE", "{folder}p");
        let mut settings = scene.load();
        Config::take(&mut settings);
        assert_eq!(
            settings.origins.of("auth.password").unwrap().to_string(),
            "SMTP_PASSWORD_FILE"
        );
    }
}
