#!/usr/bin/env bash
# Install, start, upgrade, remove and purge a package in a system of its own: packaging/try_deb.sh PACKAGE [NEWER]
# Needs root, debootstrap, and Debian's archive as this machine is set up for it, or MIRROR. Leaves nothing.
set -euo pipefail
package=$(realpath "$1")
newer=$(realpath "${2:-$1}")
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
root=$(mktemp -d)
# The package's user has to get in.
chmod 755 "$root"
server=

finish() {
    status=$?
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    umount "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$root"
    exit "$status"
}
trap finish EXIT

within() {
    printf '\n# %s\n' "$*"
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

ask() {
    within python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' "$1"
}

# Without systemd, as the unit starts it: in the foreground, as the package's user.
start() {
    printf '\n# happy-server &\n'
    chroot --userspec=happy:happy "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        HOST=127.0.0.1 PORT=3999 METRICS_PORT=3998 /usr/sbin/happy-server >"$root/said" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        ask http://127.0.0.1:3999/health >"$root/answer" 2>/dev/null && break
        kill -0 "$server" || { cat "$root/said"; exit 1; }
        sleep 0.1
    done
    tail -n 1 "$root/answer"
}

stop() {
    kill -TERM "$server"
    wait "$server"
    server=
    echo 'stopped with exit code 0'
}

debootstrap --variant=minbase --include=python3,ca-certificates "$suite" "$root" ${MIRROR:+"$MIRROR"} >/dev/null
rm -f "$root/etc/apt/sources.list"
for file in apt/sources.list apt/sources.list.d apt/apt.conf.d hosts resolv.conf; do
    [ ! -e "/etc/$file" ] || cp -RL "/etc/$file" "$root/etc/$(dirname "$file")/"
done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
cp "$package" "$root/tmp/"
[ "$newer" = "$package" ] || cp "$newer" "$root/tmp/"
within apt-get update -qq
within apt-get install -qq -y "/tmp/$(basename "$package")"
within ls -ld /var/lib/happy /var/log/happy /etc/happy/happy.toml
start
within happyctl status
before=$(within sha256sum /var/lib/happy/master-secret)
stop
echo '# edited by the administrator' >>"$root/etc/happy/happy.toml"
within dpkg --force-confold -i "/tmp/$(basename "$newer")"
tail -n 1 "$root/etc/happy/happy.toml"
start
[ "$before" = "$(within sha256sum /var/lib/happy/master-secret)" ]
stop
within apt-get remove -qq -y happy-server
[ ! -e "$root/opt/happy-server" ]
within apt-get purge -qq -y happy-server
[ ! -e "$root/etc/happy" ]
within ls /var/lib/happy
echo 'installed, started, upgraded, removed and purged'
