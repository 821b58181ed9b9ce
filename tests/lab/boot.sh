#!/bin/bash
# Boot one Debian machine, with systemd as its PID 1, in a network namespace: boot.sh ROOT STATE NAME
#
# ROOT is its file system and stays untouched (an overlay in STATE takes what the machine writes), NAME that of the
# network namespace and of the machine. Runs until the machine is off; machine.py starts and ends it. The machine
# lives in cgroups named NAME, so that one write to cgroup.kill ends all of it.
set -euo pipefail
root=$1 state=$2 name=$3

# Two machines must not share a cgroup: nspawn makes one named "payload" below its own. With the hybrid hierarchy,
# systemd looks for a place in its own old one, too.
join() {
    mkdir -p "$1/$name"
    echo 0 >"$1/$name/cgroup.procs"
}
unified=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
named=$(awk '$3 == "cgroup" && $4 ~ /name=systemd/ {print $2; exit}' /proc/mounts)
join "$unified"
[ -z "$named" ] || join "$named"

export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network # the machine is the owner of its network's sysctls
export SYSTEMD_SECCOMP=0                       # nspawn's own filter would stand before those of the units under test
# In a mount namespace of its own, so the overlay vanishes with the last process. Status 133 asks for a reboot.
exec unshare --mount --propagation private bash -euc '
    root=$1 state=$2 name=$3
    mount -t tmpfs -o mode=755 machine "$state"
    mkdir "$state"/upper "$state"/work "$state"/root
    mount -t overlay -o "lowerdir=$root,upperdir=$state/upper,workdir=$state/work" machine "$state/root"
    status=133
    while [ $status = 133 ]; do
        status=0
        systemd-nspawn --quiet --boot --directory="$state/root" --machine="$name" --register=no --keep-unit \
            --network-namespace-path="/run/netns/$name" --resolv-conf=off --timezone=off --link-journal=no \
            --console=read-only --kill-signal=SIGRTMIN+4 \
            --capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON,CAP_IPC_LOCK,CAP_SYSLOG || status=$?
    done
    exit $status' boot "$root" "$state" "$name"
