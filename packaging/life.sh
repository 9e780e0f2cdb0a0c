#!/usr/bin/env bash
# Live the life of a server that docs/a-life.md tells, and print what is said: packaging/life.sh OLDER NEWER
# Two Debian packages, the older one of a version with fewer migrations. Needs root, debootstrap, iproute2, Node and
# npm, a checkout whose development environment is active, and Debian's archive as this machine is set up for it, or
# MIRROR. It happens in namespaces of its own: nothing listens on this machine, and nothing is left.
set -euo pipefail
older=$(realpath "$1")
newer=$(realpath "$2")
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
cd "$(dirname "$0")/.."

if [ -z "${LIFE:-}" ]; then
    # Where the published client is kept, which has to be fetched while there is a network.
    cli=$(python3 -c 'from tests.live.computer import happy_program; print(happy_program().parents[3])')
    LIFE=$(mktemp -d)
    trap 'rm -rf --one-file-system "$LIFE"' EXIT
    export LIFE CLI=$cli
    chmod 755 "$LIFE"
    if [ -n "${TREE:-}" ]; then
        cp -a "$TREE" "$LIFE/happy"
    else
        debootstrap --variant=minbase --include=python3,ca-certificates,adduser,curl "$suite" "$LIFE/happy" \
            ${MIRROR:+"$MIRROR"} >/dev/null
    fi
    cp -a "$LIFE/happy" "$LIFE/other"
    unshare --mount --uts --net --pid --fork --kill-child "$0" "$older" "$newer"
    exit
fi

mount --make-rprivate /
# Not on the loopback alone: without another network the client waits for one.
ip link set lo up
ip link add eth0 type veth peer name eth1
ip link set eth0 up
ip link set eth1 up
ip address add 192.0.2.10/24 dev eth0
ip address add 192.0.2.20/24 dev eth0
hostname happy
mount -t proc proc /proc
printf '127.0.0.1 localhost\n192.0.2.10 happy.example\n192.0.2.20 other.example\n' >"$LIFE/hosts"
mount --bind "$LIFE/hosts" /etc/hosts
mkdir -p "$LIFE/homes/ada"
mount --bind "$LIFE/homes" /home
for name in happy other; do
    # A root that is no mount point of its own lets nobody arrange mounts in it, as PostgreSQL's start does for root.
    mount --bind "$LIFE/$name" "$LIFE/$name"
    mount -t proc proc "$LIFE/$name/proc"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$LIFE/$name/dev/pts"
    cp "$LIFE/hosts" "$LIFE/$name/etc/hosts"
    echo "$name" >"$LIFE/$name/etc/hostname"
    mkdir -p "$LIFE/$name/srv/packages" "$LIFE/$name/srv/backups"
    cp "$older" "$newer" "$LIFE/$name/srv/packages/"
done
exec python3 -m tests.life "$LIFE" "$(basename "$older")" "$(basename "$newer")"
