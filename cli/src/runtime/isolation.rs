//! Entering and making namespaces. Only for processes with a single thread: the kernel refuses others.

use std::fs::{self, File};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::process::ProcessRef;
use super::record::Isolation;
use crate::command::{CommandError, FAILED, LACKING, NOT_UP};

/// Makes a user namespace in which the caller is root and nobody else exists. Only one id can be mapped without
/// the help of privileged programs, which is why nothing here tells processes apart by user.
///
/// # Errors
/// Says what forbids it and what to do.
pub fn new_user_namespace() -> Result<(), CommandError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| user_namespaces_forbidden(&error.to_string()))?;
    map_ids(&format!("0 {uid} 1"), &format!("0 {gid} 1"))
        .map_err(|error| user_namespaces_forbidden(&error.to_string()))
}

/// Leaves the mesh's user namespace for one inside it, where the process is the ordinary user `uid` again: it has no
/// power over its own network, and so cannot switch interception off.
///
/// # Errors
/// When the system refuses.
pub fn become_ordinary(uid: u32, gid: u32) -> Result<(), CommandError> {
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::new(FAILED, format!("cannot make the application's user namespace: {error}"))
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| failed(&error))?;
    map_ids(&format!("{uid} 0 1"), &format!("{gid} 0 1")).map_err(|error| failed(&error))
}

fn map_ids(users: &str, groups: &str) -> std::io::Result<()> {
    // Group ids may be mapped only by one who cannot drop groups that deny access (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", groups)?;
    fs::write("/proc/self/uid_map", users)
}

/// Makes a new network namespace.
///
/// # Errors
/// Says what forbids it and what to do.
pub fn new_network(isolation: Isolation) -> Result<(), CommandError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| match isolation {
        Isolation::Root => CommandError::new(
            LACKING,
            format!("root may not make network namespaces here: {error}"),
        )
        .hint(
            "in a container, start it with --privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN; or run \
                 without interception: `weft up --explicit`",
        ),
        Isolation::User | Isolation::Explicit => user_namespaces_forbidden(&error.to_string()),
    })
}

/// Why user namespaces do not work here, as far as the system says, and the ways out.
fn user_namespaces_forbidden(error: &str) -> CommandError {
    let setting =
        |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).map(|it| it.trim().to_owned()).ok();
    let is = |name: &str, value: &str| setting(name).as_deref() == Some(value);
    let (why, cure) = if is("kernel/unprivileged_userns_clone", "0") {
        ("kernel.unprivileged_userns_clone is 0", Some("sudo sysctl -w kernel.unprivileged_userns_clone=1"))
    } else if is("user/max_user_namespaces", "0") {
        ("user.max_user_namespaces is 0", Some("sudo sysctl -w user.max_user_namespaces=10000"))
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        (
            "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
            Some("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        )
    } else {
        ("the system refuses, as containers and seccomp filters do", None)
    };
    let cure = cure.map(|it| format!("allow them: {it}\n  ")).unwrap_or_default();
    CommandError::new(LACKING, format!("this user may not use user namespaces: {why} ({error})"))
        .hint(format!("{cure}or run `weft` as root\n  or run without interception: `weft up --explicit`"))
}

/// Why setting up a network inside a fresh user namespace failed: AppArmor lets one be made, and then refuses all.
#[must_use]
pub fn explain(isolation: Isolation, error: CommandError) -> CommandError {
    let denied =
        error.message.contains("Operation not permitted") || error.message.contains("Permission denied");
    if isolation == Isolation::User && denied { user_namespaces_forbidden(&error.message) } else { error }
}

/// Enters the user and network namespace that `holder` keeps open.
///
/// # Errors
/// When the holder is gone, or belongs to someone else.
pub fn enter_mesh(holder: &ProcessRef, isolation: Isolation) -> Result<(), CommandError> {
    let open = |kind: &str| {
        File::open(format!("/proc/{}/ns/{kind}", holder.pid)).map_err(|error| {
            CommandError::new(NOT_UP, format!("cannot open the mesh's {kind} namespace: {error}"))
                .hint("was the mesh started by another user? `weft up` starts one of your own")
        })
    };
    let network = open("net")?;
    if isolation == Isolation::User {
        enter(&open("user")?, CloneFlags::CLONE_NEWUSER)?;
    }
    if !holder.alive() {
        return Err(CommandError::new(NOT_UP, "the mesh ended just now").hint("start it with `weft up`"));
    }
    enter(&network, CloneFlags::CLONE_NEWNET)
}

/// Enters one namespace.
///
/// # Errors
/// When the system refuses.
pub fn enter<Fd: AsFd>(namespace: &Fd, kind: CloneFlags) -> Result<(), CommandError> {
    setns(namespace.as_fd(), kind).map_err(|error: Errno| {
        CommandError::new(FAILED, format!("cannot enter a namespace of the mesh: {error}"))
    })
}
