# Written by Ashore from templates/systemd/room.sh.j2: edit that, not this. [seal 81919f36e588]
# /run/APP/RELEASE, where a running release has its socket and its temporary files: room.sh make|offer|remove APP RELEASE
# [MEGABYTES]. The unit of a release calls it as root, outside of the app's box.
# room.sh retire APP RELEASE SECONDS [COMMAND…] stops a release that visitors' streams keep running after a switch, once
# nobody is connected to it, or after the seconds. COMMAND: what a command in the network of its own begins with.
set -eu
umask 022
verb=$1 app=$2 release=$3 megabytes=${4:-} seconds=${4:-}
room=/run/$app/$release

remove() {
    umount -q -l "$room/tmp" 2>/dev/null || true
    umount -q -l "$room" 2>/dev/null || true
    rm -rf "$room"
}

# Each start is told of in the journal that all share: one that ends again and again must not fill it with that. The first
# four starts within a minute follow each other at once, those after them ten seconds later.
slow_down() {
    starts=/run/ashore/starts-$app now=$(date +%s)
    mkdir -p -m 700 /run/ashore
    echo "$release $now" >>"$starts"
    tail -n 20 "$starts" >"$starts.new"
    mv -f "$starts.new" "$starts"
    if [ "$(awk -v release="$release" -v since=$((now - 60)) '$1 == release && $2 > since' "$starts" | wc -l)" -gt 4 ]; then
        echo "$app@$release has started more than four times within a minute: the next start is in 10 s"
        sleep 10
    fi
}

since_boot() {
    cut -d. -f1 /proc/uptime  # the clock may be set meanwhile
}

is_used() {
    { ss -Hxa; [ $# = 0 ] || "$@" ss -Hxa; } | awk -v room="$room/" 'index($5, room) == 1 && ($2 == "ESTAB" || $3 > 0) { used = 1 } END { exit !used }'
}

case $verb in
make)
    slow_down
    # Two file systems with an end: the app can fill neither /run nor what others have in /tmp and /dev/shm.
    remove
    mkdir -p "$room"
    mount -t tmpfs -o size=1M,nr_inodes=64,mode=750,nosuid,nodev,noexec ashore "$room"
    chgrp "$app" "$room"  # which Nginx is a member of
    mkdir -m 700 "$room/own"
    chown "$app:$app" "$room/own"
    mkdir "$room/tmp"
    mount -t tmpfs -o "size=${megabytes}M,nr_inodes=50k,mode=711,nosuid,nodev" ashore "$room/tmp"
    mkdir -m 1777 "$room/tmp/tmp" "$room/tmp/var" "$room/tmp/shm"
    ;;
offer)
    # A runner that does not tell systemd when it is ready makes its socket later. The time for that is the unit's
    # TimeoutStartSec=. What is no socket is none of a runner's, and is refused below.
    until [ -e "$room/own/http.sock" ] || [ -L "$room/own/http.sock" ]; do
        kill -0 "${MAINPID:-}" 2>/dev/null || { echo "$app@$release ended before it had a socket" >&2; exit 1; }
        sleep 0.02
    done
    # Nginx meets the socket by a name in a directory of root's. What the app has put there in its own directory counts
    # only if it is a socket that it made itself, not a link to somebody else's.
    cd "$room"
    rm -f .http.sock
    ln -P own/http.sock .http.sock
    if [ -L .http.sock ] || [ ! -S .http.sock ] || [ "$(stat -c %U .http.sock)" != "$app" ]; then
        echo "$room/own/http.sock is not a socket of $app" >&2
        exit 1
    fi
    chmod 660 .http.sock
    mv -fT .http.sock http.sock
    ;;
remove)
    # What was started before a stop that was wanted is no part of a crash loop.
    if [ "${SERVICE_RESULT:-}" = success ] && [ -e "/run/ashore/starts-$app" ]; then
        sed -i "/^$release /d" "/run/ashore/starts-$app"
    fi
    remove
    ;;
retire)
    shift 4
    ends=$(($(since_boot) + seconds))
    while [ "$(since_boot)" -lt "$ends" ] && is_used "$@"; do
        sleep 1
    done
    # A rollback may have made it the current one again.
    if [ "$(readlink "/srv/$app/current")" != "releases/$release" ]; then
        systemctl stop "$app@$release.service"
        systemctl reset-failed "$app@$release.service" 2>/dev/null || true
    fi
    ;;
esac
