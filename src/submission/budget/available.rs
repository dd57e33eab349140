//! How much memory this process may use: the limit of its control group, of version 1 or 2, or of
//! one around it; else what the machine has.
//!
//! Inside a container the path in `/proc/self/cgroup` is often that of the host, while what is
//! mounted is the container's own group: so every level of the path is tried, up to the mount.

use std::fs;
use std::path::Path;

/// Octets, or nothing where the system does not say. `root` is `/`, save in tests.
pub(super) fn octets(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(group);
    let limits = groups.filter_map(|group| group.limit(root));
    limits.chain(machine(root)).min()
}

/// A control group that this process is in.
struct Group<'a> {
    /// Where the groups of its kind are mounted.
    mount: &'static str,
    path: &'a Path,
    /// The file with the limit.
    file: &'static str,
}

/// What a line of `/proc/self/cgroup` says about memory.
fn group(line: &str) -> Option<Group<'_>> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        list if list.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    Some(Group {
        mount,
        path: Path::new(path),
        file,
    })
}

impl Group<'_> {
    /// The narrowest limit of this group and those around it.
    fn limit(&self, root: &Path) -> Option<u64> {
        let mount = root.join(self.mount);
        let levels = self.path.ancestors();
        let limits = levels.filter_map(|level| {
            let level = level.strip_prefix("/").unwrap_or(level);
            let text = fs::read_to_string(mount.join(level).join(self.file)).ok()?;
            // `max` is no limit, nor is the number that version 1 has for none, which is beyond any
            // machine.
            text.trim().parse().ok()
        });
        limits.min()
    }
}

fn machine(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The octets that a machine with these files gives.
    fn found(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        octets(root.path())
    }

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:        1000000 kB\nMemFree: 1 kB\n",
    );

    #[test]
    fn the_limit_of_a_group_of_either_version_is_found() {
        let two = [
            MACHINE,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
        ];
        assert_eq!(found(&two), Some(256 << 20));
        let one = [
            MACHINE,
            (
                "proc/self/cgroup",
                "9:name=systemd:/\n4:cpu,memory:/a/b\n0::/\n",
            ),
            (
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "67108864\n",
            ),
        ];
        assert_eq!(found(&one), Some(64 << 20));
    }

    #[test]
    fn the_path_may_be_that_of_the_host() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "4:memory:/kubepods/pod1/c1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
        ];
        assert_eq!(found(&files), Some(64 << 20));
    }

    #[test]
    fn the_narrowest_of_the_groups_around_counts() {
        let files = [
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("sys/fs/cgroup/pod/container/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.max", "2000\n"),
        ];
        assert_eq!(found(&files), Some(1000));
    }

    #[test]
    fn without_a_limit_it_is_what_the_machine_has() {
        let machine = Some(1_024_000_000);
        assert_eq!(found(&[MACHINE]), machine);
        let none = [
            MACHINE,
            ("proc/self/cgroup", "4:memory:/\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(found(&none), machine);
        assert_eq!(found(&[]), None);
    }
}
